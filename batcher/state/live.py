"""Who is in which group at the target, as it was read: instead of a snapshot, or beside what a state knows.

The tables: `live` (pairs that were read), `read` and `unreadable` (groups). Nothing is concluded for other groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from batcher.core.keys import Key
from batcher.state.incoming import incoming
from batcher.state.pairs import prepare
from batcher.state.store import Known, StateStore, Wish

PAIR_NOW = "pair_now"
"""The view of what a state knows, once it has taken over what was read."""
_KNOWN_NOW = f"""CASE WHEN d.is_there IS NULL THEN known WHEN d.is_there THEN {Known.IN:d}::UTINYINT
    ELSE {Known.OUT:d}::UTINYINT END"""


@dataclass(frozen=True, slots=True)
class GroupDrift:
    """What others have changed in a group since it was last known."""

    group: Key
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Drift:
    """What others have changed in all groups that were read."""

    gained: int = 0
    lost: int = 0
    known: int = 0
    """How many memberships of these groups were known."""
    groups: Sequence[GroupDrift] = field(default=())
    """The groups, those with the most changes first."""


def known_groups(store: StateStore) -> list[Key]:
    """The groups that a state knows of, in a fixed order."""
    rows = store.connection.execute('SELECT "group" FROM named UNION SELECT "group" FROM pair ORDER BY 1').fetchall()
    return [group for (group,) in rows]


def load_live(
    store: StateStore, batches: pa.RecordBatchReader, groups: Sequence[Key], form: str, unread: Sequence[Key] = ()
) -> None:
    """Load what was read: batches with `user` and `group`, the groups, and those that could not be read.

    `form` is `id` or `name`, as in the state.

    Raises:
        InputError: When the state identifies users and groups in another form.

    """
    prepare(store, (form, form))
    connection, kind = store.connection, batches.schema.field("group").type
    for table, columns in (("live", '"user", "group"'), ("read", '"group"'), ("unreadable", '"group"')):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {columns} FROM pair LIMIT 0")
    for query, rows in (
        ('INSERT INTO live SELECT DISTINCT "user", "group" FROM incoming', batches),
        ("INSERT INTO read SELECT * FROM incoming", pa.table({"group": pa.array(groups, kind)})),
        ("INSERT INTO unreadable SELECT * FROM incoming", pa.table({"group": pa.array(unread, kind)})),
    ):
        with incoming(connection, rows):
            connection.execute(query)


def as_snapshot(store: StateStore) -> None:
    """What was read is the snapshot that a feed is compared with."""
    store.connection.execute(
        f'CREATE OR REPLACE TEMP TABLE snapshot AS SELECT "user", "group", {Known.IN:d}::UTINYINT AS known FROM live'
    )


def find_drift(store: StateStore) -> Drift:
    """What differs from what the state knows for certain; the state stays as it is, `pair_now` is what it will be."""
    run = store.connection.execute
    run(
        f"""CREATE OR REPLACE TEMP TABLE drifted AS SELECT * FROM
        (SELECT "user", "group", before, is_there IS NOT NULL AS is_there FROM
        (SELECT "user", "group", known AS before FROM pair SEMI JOIN read USING ("group")) FULL JOIN
        (SELECT "user", "group", true AS is_there FROM live SEMI JOIN read USING ("group")) USING ("user", "group"))
        WHERE (is_there AND before IS DISTINCT FROM {Known.IN:d}) OR (NOT is_there AND before <> {Known.OUT:d})"""
    )
    run(
        f"""CREATE OR REPLACE TEMP VIEW {PAIR_NOW} AS SELECT "user", "group", {_KNOWN_NOW} AS known, wish, run
        FROM pair LEFT JOIN drifted AS d USING ("user", "group") UNION ALL
        SELECT "user", "group", {Known.IN:d}::UTINYINT, {Wish.NONE:d}::UTINYINT, 0 FROM drifted WHERE before IS NULL"""
    )
    rows = run(
        f"""SELECT "group", count(*) FILTER (is_there AND coalesce(before, {Known.OUT:d}) = {Known.OUT:d}),
        count(*) FILTER (NOT is_there AND before = {Known.IN:d}) FROM drifted GROUP BY "group" """
    ).fetchall()
    groups = [GroupDrift(*row) for row in rows if row[1] or row[2]]
    known = run(f'SELECT count(*) FROM pair SEMI JOIN read USING ("group") WHERE known = {Known.IN:d}').fetchone()
    order = sorted(groups, key=lambda one: (-one.gained - one.lost, str(one.group)))
    return Drift(sum(g.gained for g in groups), sum(g.lost for g in groups), int((known or (0,))[0]), order)


def take_over(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """From now on the state knows what was read, within the caller's transaction.

    `number` is that of a run that begins now: others changed these pairs after the run before it, so that an undo of
    that one leaves them out.
    """
    connection.execute(
        f"""UPDATE pair SET known = CASE WHEN is_there THEN {Known.IN:d} ELSE {Known.OUT:d} END, run = ?
        FROM drifted AS d WHERE pair."user" = d."user" AND pair."group" = d."group" """,
        (number,),
    )
    connection.execute(
        f"""INSERT INTO pair SELECT "user", "group", {Known.IN:d}, {Wish.NONE:d}, ? FROM drifted
        WHERE before IS NULL""",
        (number,),
    )
    connection.execute("DELETE FROM drifted")


def refresh(store: StateStore) -> Drift:
    """From now on the state knows what was read; returns what differs from what it knew for certain."""
    drift = find_drift(store)
    connection = store.connection
    (changes,) = connection.execute("SELECT count(*) FROM drifted").fetchone() or (0,)
    if changes:
        connection.begin()
        (number,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM run").fetchone() or (1,)
        take_over(connection, int(number))
        store.touched()
        connection.commit()
    return drift


def uncertain(store: StateStore) -> int:
    """How many pairs a state is uncertain about."""
    (count,) = store.connection.execute(
        "SELECT count(*) FROM pair WHERE known = ?", (int(Known.UNCERTAIN),)
    ).fetchone() or (0,)
    return int(count)
