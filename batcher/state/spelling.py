"""Pairs of a feed and of what is known that look alike: found by their names, and kept from hurting anybody.

What looks alike is decided in `core.look_alikes`, which DuckDB calls for whole columns. Tables: `look_alike_user` and
`look_alike_group` have each name that is not the only one of its looks, `held` the pairs that are in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

from batcher.core.look_alikes import Names, fold
from batcher.core.model import Key
from batcher.state.store import Known, StateStore

_SIDES = ("user", "group")


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A pair that would be sent, and another one for which the target may take it."""

    user: Key
    group: Key
    other_user: Key
    other_group: Key

    def __str__(self) -> str:
        return (
            f"{self.user!r} in {self.group!r} looks like {self.other_user!r} in {self.other_group!r}: whether the"
            " target takes them for the same is not known; target.names says it (folded or exact)"
        )


class Spelling:
    """What is done about names that look alike, between the table `feed` and a table of what is known."""

    def __init__(self, store: StateStore, known: str, names: Names) -> None:
        self._connection = store.connection
        self._names = names
        self.named = [
            side for side, form in zip(_SIDES, store.facts()["forms"].split(","), strict=True) if form == "name"
        ]
        """The sides of pairs that are names."""
        if self.named:
            teach(self._connection)
        for side in _SIDES:
            self._find(side, known, is_looked_for=side in self.named and names is not Names.EXACT)
        self._has_look_alikes = any(
            self._connection.execute(f"SELECT 1 FROM look_alike_{side} LIMIT 1").fetchone() for side in _SIDES
        )
        if names is Names.FOLDED and self._has_look_alikes:
            for side in self.named:
                self._spell_as_known(side, known)

    def hold(self) -> bool:
        """Fill `held`, once `merged` is there: pairs of a feed, and others like them that are, or may be, in.

        Where look-alikes are one name, only the removal of such others is in question. Gives whether there are any.
        """
        if not self._has_look_alikes:
            return False
        self._connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE held AS SELECT "user", "group", fed, of_user, of_group FROM
            (SELECT m."user", m."group", fed, known, coalesce(u.folded, m."user"::VARCHAR) AS of_user,
            coalesce(g.folded, m."group"::VARCHAR) AS of_group FROM merged AS m
            LEFT JOIN look_alike_user AS u ON m."user"::VARCHAR = u.name
            LEFT JOIN look_alike_group AS g ON m."group"::VARCHAR = g.name
            WHERE u.name IS NOT NULL OR g.name IS NOT NULL)
            WINDOW w AS (PARTITION BY of_user, of_group)
            QUALIFY bool_or(fed) OVER w AND bool_or(NOT fed AND known <> {Known.OUT:d}) OVER w"""
        )
        if self._names is Names.FOLDED:
            self._connection.execute("DELETE FROM held WHERE fed")
        return True

    def found(self, most: int) -> tuple[int, Sequence[LookAlike]]:
        """How many pairs were to be sent and are held, and some of them; none where look-alikes are one name."""
        if self._names is not Names.UNSURE or not self._has_look_alikes:
            return 0, []
        asked = f"""FROM held AS h JOIN merged AS m USING ("user", "group") WHERE
            (h.fed AND m.known <> {Known.IN:d}) OR (NOT h.fed AND m.known <> {Known.OUT:d})"""
        (count,) = self._connection.execute(f"SELECT count(*) {asked}").fetchone() or (0,)
        rows = self._connection.execute(
            f"""SELECT "user", "group", any_value(o_user), any_value(o_group) FROM
            (SELECT h."user", h."group", o."user" AS o_user, o."group" AS o_group
            FROM (SELECT h.* {asked}) AS h JOIN held AS o
            ON o.of_user = h.of_user AND o.of_group = h.of_group AND o.fed <> h.fed)
            GROUP BY "user", "group" ORDER BY "group", "user" LIMIT ?""",
            (most,),
        )
        return int(count), [LookAlike(*row) for row in rows.fetchall()]

    def unlike(self, table: str) -> str:
        """A condition that a user looks like none of a table's."""
        if "user" in self.named:
            return f'fold("user") NOT IN (SELECT fold("user") FROM {table})'
        return f'"user"::VARCHAR NOT IN (FROM {table})'

    def _find(self, side: str, known: str, *, is_looked_for: bool) -> None:
        table = f"CREATE OR REPLACE TEMP TABLE look_alike_{side} AS"
        if not is_looked_for:
            self._connection.execute(f"{table} SELECT '' AS name, '' AS folded LIMIT 0")
            return
        self._connection.execute(
            f"""{table} SELECT name, folded FROM (SELECT name, fold(name) AS folded FROM
            (SELECT DISTINCT "{side}" AS name FROM feed UNION SELECT DISTINCT "{side}" FROM {known}))
            QUALIFY count(*) OVER (PARTITION BY folded) > 1"""
        )

    def _spell_as_known(self, side: str, known: str) -> None:
        """Have the feed name everybody as what is known does, best of all somebody who is in."""
        self._connection.execute(
            f"""UPDATE feed SET "{side}" = spelled.best FROM (SELECT l.name, best FROM look_alike_{side} AS l JOIN
            (SELECT folded, coalesce(min(l.name) FILTER (k.known = {Known.IN:d}),
            min(l.name) FILTER (k.known IS NOT NULL), min(l.name)) AS best
            FROM look_alike_{side} AS l LEFT JOIN {known} AS k ON k."{side}" = l.name
            GROUP BY folded) USING (folded)) AS spelled WHERE feed."{side}" = spelled.name"""
        )


def teach(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a connection know `fold`; once is enough."""
    if not connection.execute("SELECT 1 FROM duckdb_functions() WHERE function_name = 'fold'").fetchone():
        connection.create_function("fold", _folded, ["VARCHAR"], "VARCHAR", type=PythonUDFType.ARROW)


def _folded(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    return fold(names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names)
