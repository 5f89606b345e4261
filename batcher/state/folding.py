"""What ledgers tell, brought into the state: only settled outcomes make a pair in or out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from batcher.core.model import REJECTED_ROW, Action, Status
from batcher.ledger.reader import LedgerReader
from batcher.state.pairs import Stretch, load
from batcher.state.store import Known, KnownRun, StateStore, Wish

_GONE = -2
"""How much was taken in of a ledger that is not there."""


def fold(store: StateStore, run: KnownRun) -> None:
    """Take in what the ledger of a run tells.

    A change that is applied or unchanged makes its pair in or out; one that failed changes nothing. What is unknown,
    and what was opened for sending and has no outcome, may have taken effect: its pair is uncertain. Where the ledger
    is gone, so is every pair that the run was to change.

    Raises:
        LedgerError: When the ledger is damaged.

    """
    connection = store.connection
    progress = run.settled
    if is_own(run):
        with LedgerReader(run.ledger) as reader:
            progress = reader.progress()
            if progress == run.settled:
                return
            load(store, "news", outcomes(reader))
    elif run.settled == _GONE:
        return
    else:
        progress = _GONE
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE news AS SELECT "user", "group", {Known.UNCERTAIN:d}::UTINYINT AS known
            FROM pair WHERE (wish = {Wish.IN:d} AND known <> {Known.IN:d})
            OR (wish = {Wish.OUT:d} AND known <> {Known.OUT:d})"""
        )
    connection.begin()
    connection.execute(
        """UPDATE pair SET known = news.known, run = ? FROM news
        WHERE pair."user" = news."user" AND pair."group" = news."group" """,
        (run.number,),
    )
    connection.execute(
        f"""INSERT INTO pair SELECT "user", "group", known, {Wish.NONE:d}, ? FROM news
        ANTI JOIN pair USING ("user", "group")""",
        (run.number,),
    )
    connection.execute("UPDATE run SET settled = ? WHERE number = ?", (progress, run.number))
    store.touched()
    connection.commit()


def is_own(run: KnownRun) -> bool:
    """Whether the ledger is there, and still the run's."""
    if not run.ledger.is_file():
        return False
    with LedgerReader(run.ledger) as reader:
        return reader.facts().get("run") == run.run


def outcomes(reader: LedgerReader) -> Iterator[Stretch]:
    """What a ledger tells of each pair; rows that say nothing of it are below 0."""
    for state in reader.windows():
        columns, status = state.window.columns, state.status
        is_settled = (status == Status.APPLIED) | (status == Status.UNCHANGED)
        outcome = np.where(columns.action == Action.ADD, Known.IN, Known.OUT)
        known = np.where(is_settled, outcome, -1)
        known[(status == Status.UNKNOWN) | (status == Status.PENDING)] = Known.UNCERTAIN
        known[columns.action == REJECTED_ROW] = -1
        yield columns, known.astype(np.int8)
