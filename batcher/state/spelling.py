"""Look-alike pairs of a feed and of what is known: found by their names, and kept from doing harm.

What looks alike is decided in `core.look_alikes`, which DuckDB calls for whole columns. Tables: `look_alike_user` and
`look_alike_group` have each name that has a look-alike, `held` the pairs that are held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from duckdb.func import PythonUDFType

from batcher.core.keys import Key
from batcher.core.look_alikes import Names
from batcher.core.text_folding import fold
from batcher.state.store import Known, StateStore

_SIDES = ("user", "group")


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A pair that would be sent, and another one that the target may treat as the same."""

    user: Key
    group: Key
    other_user: Key
    other_group: Key

    def __str__(self) -> str:
        return (
            f"{self.user!r} in {self.group!r} looks like {self.other_user!r} in {self.other_group!r}: it is not"
            " known whether the target treats them as the same; set target.names (folded or exact)"
        )


class Spelling:
    """Handles names that look alike, between the table `feed` and a table of what is known."""

    def __init__(self, store: StateStore, known: str, names: Names) -> None:
        self._connection = store.connection
        self._names = names
        self.named = _named_sides(store)
        """The sides of pairs (user, group) that hold names."""
        self._has_look_alikes = names is not Names.EXACT and _look_for_twins(store, "feed", known)
        if names is Names.FOLDED and self._has_look_alikes:
            for side in self.named:
                self._spell_as_known(side, known)

    def hold(self) -> bool:
        """Fill `held`, once `merged` exists, with differing pairs that are not sent. Returns whether there may be any.

        If it is not known how the target treats look-alikes, these are additions of somebody who is in under another
        spelling, and removals of somebody whom the feed spells differently. If look-alikes are one name, these are also
        repeated removals of the same one, since the outcome applies to all of them (`spread`).
        """
        if not self._has_look_alikes:
            return False
        is_in, may_be_in = f"known = {Known.IN:d}", f"known <> {Known.OUT:d}"
        is_held = {
            Names.UNSURE: f"""(fed AND bool_or(NOT fed AND {is_in}) OVER w)
            OR (NOT fed AND {may_be_in} AND bool_or(fed) OVER w)""",
            Names.FOLDED: f"""(fed AND NOT {is_in} AND bool_or({is_in}) OVER w)
            OR (NOT fed AND (bool_or(fed) OVER w OR ({may_be_in} AND row_number() OVER first > 1)))""",
        }[self._names]
        self._connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE held AS SELECT "user", "group", fed, of_user, of_group
            FROM ({_with_looks("merged", "fed, known")})
            WINDOW w AS (PARTITION BY of_user, of_group),
            first AS (PARTITION BY of_user, of_group ORDER BY {is_in} DESC, {may_be_in} DESC, "user", "group")
            QUALIFY {is_held}"""
        )
        return True

    def found(self, most: int) -> tuple[int, Sequence[LookAlike]]:
        """How many pairs to be sent are held back, and some of them; none if look-alikes are one name."""
        if self._names is not Names.UNSURE or not self._has_look_alikes:
            return 0, []
        pairs = f"""(SELECT h."user", h."group", any_value(o."user") AS other_user, any_value(o."group") AS other_group
            FROM held AS h JOIN merged AS m USING ("user", "group")
            JOIN held AS o ON o.of_user = h.of_user AND o.of_group = h.of_group AND o.fed <> h.fed
            WHERE (h.fed AND m.known <> {Known.IN:d}) OR (NOT h.fed AND m.known <> {Known.OUT:d})
            GROUP BY h."user", h."group")"""
        (count,) = self._connection.execute(f"SELECT count(*) FROM {pairs}").fetchone() or (0,)
        rows = self._connection.execute(f'FROM {pairs} ORDER BY "group", "user" LIMIT ?', (most,))
        return int(count), [LookAlike(*row) for row in rows.fetchall()]

    def is_named(self) -> str:
        """The condition that this feed or an earlier one names the group."""
        named = '(SELECT "group" FROM named UNION ALL SELECT "group" FROM feed_group)'
        if self._names is Names.FOLDED and "group" in self.named:
            return f'fold("group") IN (SELECT fold("group") FROM {named})'
        return f'("group" IN {named})'

    @property
    def folds(self) -> bool:
        """Whether look-alikes count as one name."""
        return self._names is Names.FOLDED

    def unlike(self, table: str) -> str:
        """The condition that a user looks like no user in a table."""
        if "user" in self.named:
            return f'fold("user") NOT IN (SELECT fold("user") FROM {table})'
        return f'"user"::VARCHAR NOT IN (FROM {table})'

    def _spell_as_known(self, side: str, known: str) -> None:
        """Change the feed's spellings to the known ones, preferably to one that is in."""
        self._connection.execute(
            f"""UPDATE feed SET "{side}" = spelled.best FROM (SELECT l.name, best FROM look_alike_{side} AS l JOIN
            (SELECT folded, coalesce(min(l.name) FILTER (k.known = {Known.IN:d}),
            min(l.name) FILTER (k.known IS NOT NULL), min(l.name)) AS best
            FROM look_alike_{side} AS l LEFT JOIN {known} AS k ON k."{side}" = l.name
            GROUP BY folded) USING (folded)) AS spelled WHERE feed."{side}" = spelled.name"""
        )


def spread(store: StateStore, names: Names, run: int) -> None:
    """Apply what the table `news` says about pairs to their look-alikes in the state, too.

    If look-alikes are one name, the outcome applies to each of them. If that is not known, somebody who was removed
    under one spelling may no longer be in under another, so that pair becomes uncertain.
    """
    if names is Names.EXACT or not _look_for_twins(store, "news", "pair"):
        return
    store.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE outcome AS SELECT of_user, of_group,
        CASE WHEN min(known) = max(known) THEN min(known) ELSE {Known.UNCERTAIN:d} END AS known
        FROM ({_with_looks("news", "known")}) GROUP BY of_user, of_group"""
    )
    known, only = "outcome.known", "true"
    if names is Names.UNSURE:
        known, only = f"{Known.UNCERTAIN:d}", f"pair.known = {Known.IN:d} AND outcome.known <> {Known.IN:d}"
        only += ' AND NOT EXISTS (FROM news WHERE news."user" = pair."user" AND news."group" = pair."group")'
    store.connection.execute(
        f"""UPDATE pair SET known = {known}, run = ? FROM ({_with_looks("pair", "known")}) AS twin JOIN outcome
        USING (of_user, of_group) WHERE twin."user" = pair."user" AND twin."group" = pair."group" AND {only}""",
        (run,),
    )


def mark_later(store: StateStore) -> None:
    """Mark the pairs of the table `mine` that look like a pair of the table `others`: they were changed since."""
    if _look_for_twins(store, "mine", "others"):
        store.connection.execute(
            f"""UPDATE mine SET is_later = true FROM ({_with_looks("mine", "last")}) AS my
            JOIN ({_with_looks("others", "known")}) AS other USING (of_user, of_group)
            WHERE mine."user" = my."user" AND mine."group" = my."group" """
        )


def mark_twins(store: StateStore) -> None:
    """Mark the pairs of `mine` whose look-alikes ended differently, or would be lost if they were removed again."""
    if not _look_for_twins(store, "mine", "pair"):
        return
    run = store.connection.execute
    run(
        f"""UPDATE mine SET is_twin = true FROM (SELECT * FROM ({_with_looks("mine", "last")})
        WINDOW w AS (PARTITION BY of_user, of_group) QUALIFY min(last) OVER w <> max(last) OVER w) AS my
        WHERE mine."user" = my."user" AND mine."group" = my."group" """
    )
    run(
        f"""UPDATE mine SET is_twin = true FROM ({_with_looks("mine", "last")}) AS my
        JOIN ({_with_looks("pair", "known")} ) AS other USING (of_user, of_group)
        WHERE mine."user" = my."user" AND mine."group" = my."group" AND my.last = {Known.IN:d}
        AND other.known <> {Known.OUT:d}
        AND NOT EXISTS (FROM mine AS m WHERE m."user" = other."user" AND m."group" = other."group")"""
    )


def _named_sides(store: StateStore) -> list[str]:
    forms = store.facts()["forms"].split(",")
    return [side for side, form in zip(_SIDES, forms, strict=True) if form == "name"]


def _look_for_twins(store: StateStore, one: str, other: str) -> bool:
    """Fill `look_alike_user` and `look_alike_group` from two tables of pairs; returns whether there are any."""
    run, named = store.connection.execute, _named_sides(store)
    if not named:
        return False
    _teach(store)
    for side in _SIDES:
        each = f'SELECT DISTINCT "{side}" AS name FROM {one} UNION SELECT DISTINCT "{side}" FROM {other}'
        found = f"""SELECT name, folded FROM (SELECT name, fold(name) AS folded FROM ({each}))
            QUALIFY count(*) OVER (PARTITION BY folded) > 1"""
        nothing = "SELECT '' AS name, '' AS folded LIMIT 0"
        run(f"CREATE OR REPLACE TEMP TABLE look_alike_{side} AS {found if side in named else nothing}")
    return any(run(f"SELECT 1 FROM look_alike_{side} LIMIT 1").fetchone() for side in _SIDES)


def _with_looks(table: str, columns: str) -> str:
    """A query for the pairs of a table whose user or group has a look-alike, with the folded names."""
    return f"""SELECT m."user", m."group", {columns}, coalesce(u.folded, m."user"::VARCHAR) AS of_user,
        coalesce(g.folded, m."group"::VARCHAR) AS of_group FROM {table} AS m
        LEFT JOIN look_alike_user AS u ON m."user"::VARCHAR = u.name
        LEFT JOIN look_alike_group AS g ON m."group"::VARCHAR = g.name
        WHERE u.name IS NOT NULL OR g.name IS NOT NULL"""


def _teach(store: StateStore) -> None:
    """Register the function `fold` in a store, once."""
    if not store.knows_fold:
        store.connection.create_function("fold", _folded, ["VARCHAR"], "VARCHAR", type=PythonUDFType.ARROW)
        store.knows_fold = True


def _folded(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    return fold(names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names)
