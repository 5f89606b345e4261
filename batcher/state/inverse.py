"""The changes that undo a ledger: the inverse of what it applied, except for pairs that were changed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batcher.core.errors import InputError
from batcher.core.look_alikes import Names
from batcher.ledger.reader import LedgerReader
from batcher.state.folding import outcomes
from batcher.state.holding import written_privately
from batcher.state.pairs import load
from batcher.state.spelling import mark_later, mark_twins
from batcher.state.store import Known, StateStore

_UNCERTAIN, _DOUBTFUL, _LATER, _TWIN, _NOTHING = (
    "its outcome is not known",
    "it was uncertain before the run",
    "it was changed since",
    "what looks like it was changed otherwise, or is in",
    "it was added and removed within the run",
)


@dataclass(frozen=True, slots=True)
class Inverse:
    """How much can be undone, and how many pairs are left out for which reason."""

    applied: int
    adds: int
    removals: int
    left_out: dict[str, int]
    unlike: list[Path]
    """Later ledgers that identify users or groups in another form (ids or names)."""


def invert(
    store: StateStore, ledger: Path, later: Sequence[Path], *, number: int | None, names: Names = Names.EXACT
) -> Inverse:
    """Create the tables `adds`, `removals` and `left_out`.

    Args:
        store: The state, or a temporary one.
        ledger: The ledger whose run is to be undone.
        later: Ledgers of runs that started after it.
        number: The run's number in the state; None if the state does not know the run.
        names: How the target treats names that look alike; names that may be the same count as the same.

    """
    run = store.connection.execute
    unlike: list[Path] = []
    with LedgerReader(ledger) as reader, reader.at_one_moment():
        load(store, "told", outcomes(reader), is_ordered=True)
    run(
        f"""CREATE OR REPLACE TEMP TABLE mine AS SELECT "user", "group", arg_min(known, stretch) AS first,
        arg_max(known, stretch) AS last, bool_or(known = {Known.UNCERTAIN:d}) AS is_uncertain,
        false AS is_later, false AS is_doubtful, false AS is_twin
        FROM told GROUP BY ALL"""
    )
    for other in later:
        try:
            with LedgerReader(other) as reader, reader.at_one_moment():
                load(store, "others", outcomes(reader))
        except InputError:  # ids here, names there: they cannot be matched
            unlike.append(other)
            continue
        run(
            """UPDATE mine SET is_later = true FROM others
            WHERE mine."user" = others."user" AND mine."group" = others."group" """
        )
        if names is not Names.EXACT:
            mark_later(store)
    if names is not Names.EXACT:
        mark_twins(store)
    if number is not None:
        run(
            """UPDATE mine SET is_later = true FROM pair WHERE mine."user" = pair."user"
            AND mine."group" = pair."group" AND (pair.run > ? OR pair.known <> mine.last)""",
            (number,),
        )
        run(
            """UPDATE mine SET is_doubtful = true FROM doubt
            WHERE mine."user" = doubt."user" AND mine."group" = doubt."group" AND doubt.run = ?""",
            (number,),
        )
    run(
        f"""CREATE OR REPLACE TEMP TABLE left_out AS SELECT "user", "group", CASE WHEN is_uncertain THEN '{_UNCERTAIN}'
        WHEN is_doubtful THEN '{_DOUBTFUL}' WHEN is_later THEN '{_LATER}' WHEN is_twin THEN '{_TWIN}'
        ELSE '{_NOTHING}' END AS reason
        FROM mine WHERE is_uncertain OR is_doubtful OR is_later OR is_twin OR first <> last"""
    )
    for table, last in (("adds", Known.OUT), ("removals", Known.IN)):
        run(
            f"""CREATE OR REPLACE TEMP TABLE {table} AS SELECT "user", "group", 0 AS wish FROM mine
            WHERE last = {last:d} AND first = last AND NOT (is_uncertain OR is_doubtful OR is_later OR is_twin)"""
        )
    left_out = run("SELECT reason, count(*) FROM left_out GROUP BY reason ORDER BY reason").fetchall()
    applied, adds, removals = (_count(store, table) for table in ("mine", "adds", "removals"))
    return Inverse(applied, adds, removals, dict(left_out), unlike)


def _count(store: StateStore, table: str) -> int:
    (count,) = store.connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(count)


def write_left_out(store: StateStore, path: Path) -> None:
    """Write the left-out pairs as CSV: user, group, reason."""
    with written_privately(path) as file:
        store.connection.execute(
            f"""COPY (SELECT * FROM left_out ORDER BY "user", "group") TO {file} (FORMAT csv, HEADER true)"""
        )
