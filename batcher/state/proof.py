"""What a ledger says that the target has, compared with what was read there.

The tables: `told` (each change that says something), `said` (the last word on each pair), `live` (pairs that were
read), `read` and `unread` (groups). A pair is *missing* if it was added and is not there, *unexpected* if it was
removed and is there, and *ambiguous* if its outcome is not known, or if its group could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pyarrow as pa

from batcher.core.id_forms import DIGITS, STRANGE, UUID
from batcher.core.keys import Key
from batcher.core.reading import Unread
from batcher.core.vectors import Ints, Mask
from batcher.ledger.reader import LedgerReader
from batcher.state.folding import outcomes
from batcher.state.holding import written_privately
from batcher.state.incoming import incoming
from batcher.state.pairs import load
from batcher.state.store import Known, StateStore

_AT_ONCE = 100_000
"""Rows at a time, so that memory does not grow with what is not so."""

_FORM = f"""1 << CASE WHEN regexp_full_match("user", '{UUID}') THEN 0
    WHEN regexp_full_match("user", '{DIGITS}') THEN 1 ELSE 2 END"""
"""As `forms_of`."""
_STRANGERS = f"""WITH mine AS (SELECT "group", bit_or({_FORM}) AS forms FROM said GROUP BY 1),
    theirs AS (SELECT "group", bit_or({_FORM}) AS forms FROM live GROUP BY 1),
    alike AS (SELECT DISTINCT said."group" FROM said JOIN live
        ON said."user" = live."user" AND said."group" = live."group")
    SELECT "group" FROM mine JOIN theirs USING ("group") WHERE mine.forms & theirs.forms = 0
    AND "group" NOT IN (SELECT "group" FROM alike)"""
"""Groups of which no listed member is written like any user that was sent, let alone is one."""


class Discrepancy(Enum):
    """What is found of a pair that is not proven."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class UnprovenPair:
    """A pair that is not as the ledger says, or of which that cannot be told."""

    finding: Discrepancy
    user: Key
    group: Key
    source: int
    """The number of the input."""
    line: int
    is_there: bool | None
    """Whether the target has it; None if its group was not read."""


class Claims:
    """What one ledger says of pairs; a view of tables in a store, which must be empty."""

    def __init__(self, store: StateStore, reader: LedgerReader, since: int = 0) -> None:
        """Load it, or what was settled after the settlement with the number `since`.

        Raises:
            LedgerError: When the ledger is damaged.
            InputError: When it has ids and names, which cannot be compared with what is read.

        """
        self._connection = store.connection
        load(store, "told", outcomes(reader, since), is_ordered=True)
        run = self._connection.execute
        run(
            """CREATE TEMP TABLE said AS SELECT "user", "group", arg_max(known, stretch) AS known,
            arg_max(source, stretch) AS source, arg_max(line, stretch) AS line, arg_max(place, stretch) AS place,
            max(stretch) AS stretch FROM told GROUP BY "user", "group" """
        )
        run("DROP TABLE told")
        kinds = [kind for _, kind, *_ in run("DESCRIBE said").fetchall()[:2]]
        self.user_type, self.group_type = (pa.int64() if kind == "BIGINT" else pa.string() for kind in kinds)
        """The types of users and of groups."""
        run('CREATE TEMP TABLE live AS SELECT "user", "group" FROM said LIMIT 0')
        run('CREATE TEMP TABLE read AS SELECT "group" FROM said LIMIT 0')
        run("CREATE TEMP TABLE unread AS SELECT \"group\", '' AS reason FROM said LIMIT 0")

    def groups(self) -> list[Key]:
        """The groups that changes have touched, in a fixed order."""
        rows = self._connection.execute('SELECT DISTINCT "group" FROM said ORDER BY 1').fetchall()
        return [group for (group,) in rows]

    def add(self, batches: pa.RecordBatchReader, groups: Sequence[Key], unread: Sequence[Unread]) -> None:
        """Load what was read: batches with `user` and `group`, the groups that were read, and those that were not."""
        run = self._connection.execute
        reasons = pa.array([one.reason for one in unread], pa.string())
        for query, rows in (
            ('INSERT INTO live SELECT "user", "group" FROM incoming', batches),
            ("INSERT INTO read SELECT * FROM incoming", pa.table({"group": pa.array(groups, self.group_type)})),
            (
                "INSERT INTO unread SELECT * FROM incoming",
                pa.table({"group": pa.array([one.group for one in unread], self.group_type), "reason": reasons}),
            ),
        ):
            with incoming(self._connection, rows):
                run(query)
        if pa.types.is_string(self.user_type):
            run(f"INSERT INTO unread SELECT \"group\", '{STRANGE}' FROM ({_STRANGERS})")
        run(
            f"""CREATE OR REPLACE TEMP TABLE judged AS SELECT said.*,
            CASE WHEN unread."group" IS NULL THEN live."user" IS NOT NULL END AS is_there, CASE
            WHEN unread."group" IS NOT NULL OR known = {Known.UNCERTAIN:d} THEN '{Discrepancy.AMBIGUOUS.value}'
            WHEN known = {Known.IN:d} AND live."user" IS NULL THEN '{Discrepancy.MISSING.value}'
            WHEN known = {Known.OUT:d} AND live."user" IS NOT NULL THEN '{Discrepancy.UNEXPECTED.value}' END AS finding
            FROM said LEFT JOIN (SELECT DISTINCT * FROM live) AS live
            ON said."user" = live."user" AND said."group" = live."group"
            LEFT JOIN unread ON said."group" = unread."group"
            WHERE said."group" IN (SELECT "group" FROM read UNION ALL SELECT "group" FROM unread)"""
        )

    def unread(self) -> list[Unread]:
        """The groups of which nothing can be said, and why."""
        rows = self._connection.execute('SELECT "group", reason FROM unread ORDER BY 1').fetchall()
        return [Unread(group, reason) for group, reason in rows]

    def counts(self) -> dict[str, int]:
        """How many pairs were compared (`pairs`), and how many there are of each finding."""
        rows = self._connection.execute("SELECT finding, count(*) FROM judged GROUP BY finding").fetchall()
        found = {finding.value: 0 for finding in Discrepancy} | {name: count for name, count in rows if name}
        (unread,) = self._connection.execute("SELECT count(*) FROM judged WHERE is_there IS NULL").fetchone() or (0,)
        return {"pairs": sum(count for _, count in rows), "unread_pairs": int(unread)} | found

    def faulty_groups(self) -> int:
        """How many groups have a pair that is missing or unexpected."""
        query = 'SELECT count(DISTINCT "group") FROM judged WHERE finding IN (?, ?)'
        faulty = (Discrepancy.MISSING.value, Discrepancy.UNEXPECTED.value)
        (count,) = self._connection.execute(query, faulty).fetchone() or (0,)
        return int(count)

    def differences(self, most: int) -> list[UnprovenPair]:
        """The first pairs that are not proven, in the order of the input; at most so many."""
        rows = self._connection.execute(
            """SELECT finding, "user", "group", source, line, is_there FROM judged WHERE finding IS NOT NULL
            ORDER BY source, line, "user", "group" LIMIT ?""",
            (most,),
        )
        return [UnprovenPair(Discrepancy(kind), *found) for kind, *found in rows.fetchall()]

    def write_differences(self, path: Path, sources: Sequence[str]) -> None:
        """Write all of them as CSV; `sources` are the names of the inputs."""
        names = pa.table({"source": pa.array(range(len(sources)), pa.int32()), "name": pa.array(sources, pa.string())})
        with written_privately(path) as file, incoming(self._connection, names):
            self._connection.execute(
                f"""COPY (SELECT finding, "user", "group", name AS source, line, is_there FROM judged
                LEFT JOIN incoming USING (source) WHERE finding IS NOT NULL
                ORDER BY judged.source, line, "user", "group") TO {file} (FORMAT csv, HEADER true)"""
            )

    def disproven(self) -> Iterator[tuple[int, Ints, Mask]]:
        """The rows that are not as the ledger says, or of which it did not know, if their group was read.

        Gives the number of their window (from 0), their places in it, and whether their pairs are at the target.
        """
        rows = self._connection.execute(
            "SELECT stretch - 1, place, is_there FROM judged WHERE finding IS NOT NULL AND is_there IS NOT NULL"
            " ORDER BY stretch, place"
        )
        while stretch := rows.fetchmany(_AT_ONCE):
            windows, places, there = (np.array(column) for column in zip(*stretch, strict=True))
            for window in np.unique(windows):
                mine = windows == window
                yield int(window), places[mine], there[mine].astype(bool)
