"""The changes that bring the target in line with a feed, and the figures that the guardrails judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcher.core.guardrails import Feed, GroupLoss
from batcher.core.keys import Key
from batcher.core.look_alikes import Names
from batcher.core.patterns import Patterns
from batcher.state.holding import written_privately
from batcher.state.live import PAIR_NOW, take_over
from batcher.state.scope import EVERYTHING, Permitted, Scope
from batcher.state.spelling import Spelling
from batcher.state.store import Known, StateStore, Wish

_IN_FORCE = f"((known <> {Known.OUT:d} OR wish = {Wish.IN:d}) AND wish <> {Wish.OUT:d})"
"""Current memberships: pairs that are in, may be in, or were asked for and are still to be added."""
_ASKED = f'SELECT "user", "group" FROM {{}} WHERE wish = {Wish.IN:d} AND known <> {Known.IN:d}'
"""Pairs of a table that an earlier feed asked for and that are not known to be in."""
_NEWLY_NAMED = 'SELECT "group" FROM feed_group ANTI JOIN named USING ("group")'
"""The groups that the feed names, and no feed before it has named."""
_MOST_GROUPS = 100_000
_FETCHED = 10_000
_FED, _IS_KNOWN = 16, 32
"""Bits above the two of `Known` and the two of `Wish`."""


@dataclass(frozen=True, slots=True)
class PairSample:
    """A sample of the changes to be sent, to show to people."""

    groups: list[tuple[Key, int, int]]
    """The groups with the most changes (at most 100,000), with their additions and removals."""
    adds: list[tuple[Key, Key]]
    removals: list[tuple[Key, Key]]


class Difference:
    """The tables `adds` and `removals`: what is to be sent, compared with the table `pair` or its substitute."""

    _known = "pair"
    _in_scope = "true"
    """Condition: pairs that may be removed."""
    _also = "false"
    """Condition: further pairs that count as current memberships when additions are judged."""
    _pairs = "NULL"
    """Expression: how many pairs the feed names."""

    def __init__(self, store: StateStore) -> None:
        self._connection = store.connection
        self._store = store

    def counts(self) -> tuple[int, int]:
        """The numbers of additions and removals."""
        return self._number("SELECT count(*) FROM adds"), self._number("SELECT count(*) FROM removals")

    def figures(self) -> Feed:
        """The figures for the guardrails, without pending changes of earlier feeds, which were judged then."""
        adds, removals = self.counts()
        asked_out = self._number(f"SELECT count(*) FROM removals WHERE wish = {Wish.OUT:d}")
        asked = self._number(
            f'SELECT count(*) FROM adds SEMI JOIN ({_ASKED.format(self._known)}) USING ("user", "group")'
        )
        row = self._connection.execute(
            f"""SELECT count(*) FILTER ({_IN_FORCE} AND {self._in_scope}),
            count(*) FILTER ({_IN_FORCE} AND ({self._in_scope} OR {self._also})), {self._pairs} FROM {self._known}"""
        ).fetchone() or (0, 0, 0)
        removals_from, additions_to, pairs = row
        last_pairs = int(self._store.facts()["last_pairs"])
        return Feed(
            lines=0,
            rejected=0,
            pairs=last_pairs if pairs is None else pairs,
            last_pairs=last_pairs,
            additions=adds - asked,
            additions_to=additions_to,
            removals=removals - asked_out,
            removals_from=removals_from,
            groups=self._losses(),
        )

    def _losses(self) -> list[GroupLoss]:
        """How many members each group would lose, the greatest loss first."""
        rows = self._connection.execute(
            f"""SELECT "group", lost, members FROM
            (SELECT "group", count(*) AS lost FROM removals WHERE wish <> {Wish.OUT:d} GROUP BY "group") JOIN
            (SELECT "group", count(*) AS members FROM {self._known} WHERE {_IN_FORCE} GROUP BY "group") USING ("group")
            ORDER BY lost / members DESC, members DESC, "group" """
        )
        return [GroupLoss(group, lost, members) for group, lost, members in rows.fetchall()]

    def newly_named(self) -> list[Key]:
        """The groups that a feed names and no feed before has named. Call it before `accept`."""
        return []

    def touched(self, label: str) -> Iterator[list[Key]]:
        """The users or the groups (by `label`) that the changes touch."""
        yield from self._distinct(
            f"""SELECT DISTINCT "{label}" FROM (SELECT "{label}" FROM adds UNION ALL SELECT "{label}" FROM removals)"""
        )

    def _distinct(self, query: str) -> Iterator[list[Key]]:
        """The keys that a query returns, page by page; the caller may run other queries in between."""
        run = self._connection.execute
        run(f"CREATE OR REPLACE TEMP TABLE distinct_key AS {query}")
        for start in range(0, self._number("SELECT count(*) FROM distinct_key"), _FETCHED):
            page = run("FROM distinct_key WHERE rowid >= ? AND rowid < ?", (start, start + _FETCHED))
            yield [key for (key,) in page.fetchall()]

    def sample(self, count: int) -> PairSample:
        """The groups with the most changes and some pairs; deterministic."""
        run = self._connection.execute
        groups = run(
            """SELECT "group", sum(1 - out)::BIGINT, sum(out)::BIGINT FROM
            (SELECT "group", 0 AS out FROM adds UNION ALL SELECT "group", 1 AS out FROM removals)
            GROUP BY "group" ORDER BY count(*) DESC, "group" LIMIT ?""",
            (_MOST_GROUPS,),
        ).fetchall()
        some = 'SELECT "user", "group" FROM {} ORDER BY "group", "user" LIMIT ?'
        return PairSample(groups, *(run(some.format(table), (count,)).fetchall() for table in ("adds", "removals")))

    def write(self, adds: Path, removals: Path) -> None:
        """Write files of changes, readable by their owner only, sorted by user so that they pack well."""
        user, group = self._store.facts()["forms"].split(",")
        heads = f'"user" AS user_{user}, "group" AS group_{group}'
        for path, table, op in ((adds, "adds", "add"), (removals, "removals", "remove")):
            with written_privately(path) as file:
                self._connection.execute(
                    f"""COPY (SELECT '{op}' AS op, {heads} FROM {table} ORDER BY "user", "group")
                    TO {file} (FORMAT csv, HEADER true)"""
                )

    def accept(self, run: str, ledger: Path) -> int:
        """The changes passed the guardrails and are about to be sent; returns the run's number."""
        connection = self._connection
        connection.begin()
        number = self._store.begin_run(run, ledger)
        self._take_over(number)
        connection.execute(
            f"""INSERT INTO doubt SELECT "user", "group", ? FROM pair SEMI JOIN
            (SELECT "user", "group" FROM adds UNION ALL SELECT "user", "group" FROM removals) USING ("user", "group")
            WHERE known = {Known.UNCERTAIN:d}""",
            (number,),
        )
        self._wish()
        self._store.touched()
        connection.commit()
        return number

    def _take_over(self, number: int) -> None:
        """Take over what else was found out, before the run with this number begins."""

    def _wish(self) -> None:
        """Remember what is asked for, so that it is not judged again if it does not succeed at once."""
        self._set_wish("adds", Wish.IN)
        self._set_wish("removals", Wish.OUT)

    def _set_wish(self, table: str, wish: Wish) -> None:
        self._connection.execute(
            f"""UPDATE pair SET wish = {wish:d} FROM {table} AS t
            WHERE pair.wish <> {wish:d} AND pair."user" = t."user" AND pair."group" = t."group" """
        )

    def _number(self, query: str) -> int:
        (number,) = self._connection.execute(query).fetchone() or (0,)
        return int(number)


class FeedDifference(Difference):
    """The difference between the table `feed` and what is known: the state, or a loaded `snapshot`.

    The table `merged` has each pair of both once: what is known (`known`), what the last feed asked for (`wish`),
    whether it is in the feed (`fed`), and whether it is in the state (`is_known`). Users in the table `unread`, whom
    invalid lines of the feed are about, lose nothing; if it is not known whom such lines are about (`holds_removals`),
    nobody loses anything. Pairs that look alike are held back (`spelling`).
    """

    _known = "merged"
    _pairs = "count(*) FILTER (fed)"

    def __init__(
        self,
        store: StateStore,
        scope: Scope,
        permitted: Permitted = EVERYTHING,
        *,
        is_passing: bool = False,
        is_live: bool = False,
        names: Names = Names.EXACT,
    ) -> None:
        """With `is_live` the target was read, see `live`."""
        super().__init__(store)
        self._is_live = is_live
        known = "snapshot" if is_passing else PAIR_NOW if is_live else "pair"
        self.spelling = Spelling(store, known, names)
        self._merge(known, "0" if is_passing else "(wish << 2)")
        self._free = 'merged ANTI JOIN held USING ("user", "group")' if self.spelling.hold() else "merged"
        self._in_scope = self._condition(scope)
        unread = self.spelling.unlike("unread") if permitted.has_unread else "true"
        is_added = f"{permitted.adds} AND fed AND known <> {Known.IN:d}"
        is_removed = f"{permitted.removals} AND NOT fed AND known <> {Known.OUT:d} AND {self._in_scope} AND {unread}"
        if is_live:
            is_removed += ' AND "group" NOT IN (FROM unreadable)'
        run = self._connection.execute
        run(f'CREATE OR REPLACE TEMP TABLE adds AS SELECT "user", "group" FROM {self._free} WHERE {is_added}')
        run(
            f"""CREATE OR REPLACE TEMP TABLE removals AS
            SELECT "user", "group", wish FROM {self._free} WHERE {is_removed}"""
        )
        self.held_removals = self._number("SELECT count(*) FROM removals") if permitted.holds_removals else 0
        """Removals that are held back."""
        if permitted.holds_removals:
            run("DELETE FROM removals")
        self._adds_too = permitted.adds

    def _merge(self, known: str, wish: str) -> None:
        """Create `merged`. One byte per pair is aggregated, since every further column would cost as much again."""
        run = self._connection.execute
        run(
            f"""CREATE OR REPLACE TEMP TABLE marked AS SELECT "user", "group", bit_or(mark) AS mark FROM
            (SELECT "user", "group", ({_IS_KNOWN} | {wish} | known)::UTINYINT AS mark FROM {known} UNION ALL
            SELECT "user", "group", {_FED}::UTINYINT FROM feed) GROUP BY "user", "group" """
        )
        run(
            f"""CREATE OR REPLACE TEMP VIEW merged AS SELECT "user", "group", (mark & 3) AS known,
            (mark >> 2) & 3 AS wish, (mark & {_FED}) <> 0 AS fed, (mark & {_IS_KNOWN}) <> 0 AS is_known FROM marked"""
        )
        run('CREATE OR REPLACE TEMP TABLE feed_group AS SELECT DISTINCT "group" FROM merged WHERE fed')

    def _condition(self, scope: Scope) -> str:
        """The condition for pairs that the feed governs."""
        self._also = self.spelling.is_named()
        groups = self._also if not scope.groups else self._matching("group", scope.groups)
        return f"({groups} AND {self._matching('user', scope.users)})" if scope.users else groups

    def _matching(self, column: str, patterns: Sequence[str]) -> str:
        """The condition that a user or a group matches patterns, which are interpreted in one place (`Patterns`)."""
        meant = Patterns(patterns, folds=self.spelling.folds)
        run = self._connection.execute
        run(f'CREATE OR REPLACE TEMP TABLE meant_{column} AS SELECT "{column}" FROM pair LIMIT 0')
        for keys in self._distinct(f'SELECT DISTINCT "{column}" FROM merged'):
            found = list(meant.among(keys))
            if found:
                run(f"INSERT INTO meant_{column} SELECT unnest(?)", (found,))
        return f'"{column}" IN (FROM meant_{column})'

    def _take_over(self, number: int) -> None:
        if self._is_live:
            take_over(self._connection, number)

    def _wish(self) -> None:
        is_asked = f"fed AND ({self._adds_too} OR known = {Known.IN:d})"
        fed = f'(SELECT "user", "group" FROM {self._free} WHERE {is_asked} AND wish <> {Wish.IN:d})'
        gone = f'(SELECT "user", "group" FROM merged WHERE NOT fed AND wish = {Wish.IN:d})'
        self._set_wish(fed, Wish.IN)
        self._connection.execute(
            f"""INSERT INTO pair SELECT "user", "group", {Known.OUT:d}, {Wish.IN:d}, 0 FROM {self._free}
            WHERE {is_asked} AND NOT is_known"""
        )
        self._set_wish(gone, Wish.NONE)
        self._set_wish("removals", Wish.OUT)
        self._store.set_fact("last_pairs", str(self._number("SELECT count(*) FROM merged WHERE fed")))
        self._connection.execute(f"INSERT INTO named {_NEWLY_NAMED}")

    def newly_named(self) -> list[Key]:
        """See `Difference`."""
        return [group for page in self._distinct(_NEWLY_NAMED) for group in page]


class GivenDifference(Difference):
    """The changes in the table `given`, so that the state takes part in runs of plain changes, too."""

    def __init__(self, store: StateStore) -> None:
        super().__init__(store)
        run = self._connection.execute
        run(f'CREATE OR REPLACE TEMP TABLE adds AS SELECT "user", "group" FROM given WHERE known = {Known.IN:d}')
        run(
            f"""CREATE OR REPLACE TEMP TABLE removals AS SELECT "user", "group", coalesce(wish, {Wish.NONE:d}) AS wish
            FROM given LEFT JOIN pair USING ("user", "group") WHERE given.known = {Known.OUT:d}"""
        )
