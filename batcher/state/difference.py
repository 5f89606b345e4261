"""What is to be sent so that the target becomes what a feed says, and what the guardrails want to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcher.core.guardrails import Feed, GroupLoss
from batcher.core.model import Key
from batcher.state.pairs import Loaded
from batcher.state.store import Known, StateStore, Wish

_HEADS = {"id": ("user_id", "group_id"), "name": ("user_name", "group_name")}


@dataclass(frozen=True, slots=True)
class Scope:
    """Of whose memberships the feed is master: patterns; none is every user, and every group that feeds have named."""

    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of what is to be sent, for people."""

    groups: list[tuple[Key, int, int]]
    """The groups with the most changes: additions, removals."""
    adds: list[tuple[Key, Key]]
    removals: list[tuple[Key, Key]]


class Difference:
    """Between the table `feed` and what the state holds. The tables `adds` and `removals` are what is to be sent."""

    def __init__(self, store: StateStore, scope: Scope, *, adds: bool = True, removals: bool = True) -> None:
        self._connection = store.connection
        self._store = store
        self._compare(scope)
        self._pairs = self._desired()
        if not adds:
            self._connection.execute("DELETE FROM adds")
        if not removals:
            self._connection.execute("DELETE FROM removals")

    def _compare(self, scope: Scope) -> None:
        run = self._connection.execute
        run('CREATE OR REPLACE TEMP TABLE feed_group AS SELECT DISTINCT "group" FROM feed')
        run(
            f"""CREATE OR REPLACE TEMP TABLE adds AS SELECT DISTINCT "user", "group" FROM feed
            ANTI JOIN (SELECT "user", "group" FROM pair WHERE known = {Known.IN:d}) USING ("user", "group")"""
        )
        run(
            f"""CREATE OR REPLACE TEMP TABLE gone AS SELECT "user", "group", known, wish FROM pair
            ANTI JOIN feed USING ("user", "group") WHERE known <> {Known.OUT:d} OR wish = {Wish.IN:d}"""
        )
        self._in_scope, self._patterns = _condition(scope)
        run(
            f"""CREATE OR REPLACE TEMP TABLE removals AS SELECT "user", "group", wish FROM gone
            WHERE known <> {Known.OUT:d} AND {self._in_scope}""",
            self._patterns,
        )

    def counts(self) -> tuple[int, int]:
        """Additions and removals."""
        return self._number("SELECT count(*) FROM adds"), self._number("SELECT count(*) FROM removals")

    def figures(self, loaded: Loaded) -> Feed:
        """What the guardrails judge. What an earlier feed asked for, and is still to come, was judged then."""
        adds, removals = self.counts()
        asked = self._number(
            f"""SELECT count(*) FROM adds SEMI JOIN (SELECT "user", "group" FROM pair
            WHERE wish = {Wish.IN:d} AND known <> {Known.IN:d}) USING ("user", "group")"""
        )
        asked_out = self._number(f"SELECT count(*) FROM removals WHERE wish = {Wish.OUT:d}")
        in_force = f"(known <> {Known.OUT:d} OR wish = {Wish.IN:d}) AND wish <> {Wish.OUT:d}"
        named = '"group" IN (SELECT "group" FROM named UNION ALL SELECT "group" FROM feed_group)'
        return Feed(
            lines=loaded.rows,
            rejected=loaded.rejected,
            pairs=self._pairs,
            last_pairs=self._number(f"SELECT count(*) FROM pair WHERE wish = {Wish.IN:d}"),
            additions=adds - asked,
            additions_to=self._number(
                f"SELECT count(*) FROM pair WHERE {in_force} AND (({self._in_scope}) OR {named})", self._patterns
            ),
            removals=removals - asked_out,
            removals_from=self._number(
                f"SELECT count(*) FROM pair WHERE {in_force} AND {self._in_scope}", self._patterns
            ),
            groups=self._losses(in_force),
        )

    def _desired(self) -> int:
        """The pairs of the feed, each once: those that are in already, and those that are to be added."""
        was_in = self._number(f"SELECT count(*) FROM pair WHERE known = {Known.IN:d}")
        gone = self._number(f"SELECT count(*) FROM gone WHERE known = {Known.IN:d}")
        return was_in - gone + self._number("SELECT count(*) FROM adds")

    def _losses(self, in_force: str) -> list[GroupLoss]:
        """What each group is to lose, the worst first; only a hundred of them are ever told."""
        rows = self._connection.execute(
            f"""SELECT "group", lost, members FROM
            (SELECT "group", count(*) AS lost FROM removals WHERE wish <> {Wish.OUT:d} GROUP BY "group") JOIN
            (SELECT "group", count(*) AS members FROM pair WHERE {in_force} GROUP BY "group") USING ("group")
            ORDER BY lost / members DESC, members DESC, "group" """
        )
        return [GroupLoss(group, lost, members) for group, lost, members in rows.fetchall()]

    def sample(self, count: int) -> Sample:
        """The largest groups and some pairs, always the same ones."""
        run = self._connection.execute
        groups = run(
            """SELECT "group", sum(1 - out)::BIGINT, sum(out)::BIGINT FROM
            (SELECT "group", 0 AS out FROM adds UNION ALL SELECT "group", 1 AS out FROM removals)
            GROUP BY "group" ORDER BY count(*) DESC, "group" LIMIT ?""",
            (count,),
        ).fetchall()
        some = 'SELECT "user", "group" FROM {} ORDER BY "group", "user" LIMIT ?'
        return Sample(groups, *(run(some.format(table), (count,)).fetchall() for table in ("adds", "removals")))

    def write(self, adds: Path, removals: Path) -> None:
        """As files of changes, readable by their owner only, users together so that they pack well."""
        user, group = self._store.facts()["forms"].split(",")
        heads = f'"user" AS {_HEADS[user][0]}, "group" AS {_HEADS[group][1]}'
        for path, table, op in ((adds, "adds", "add"), (removals, "removals", "remove")):
            path.touch(mode=0o600)
            self._connection.execute(
                f"""COPY (SELECT '{op}' AS op, {heads} FROM {table} ORDER BY "user", "group")
                TO '{str(path).replace("'", "''")}' (FORMAT csv, HEADER true)"""
            )

    def accept(self, run: str, ledger: Path) -> int:
        """The feed passed the guardrails, and what differs is about to be sent; gives the run's number."""
        connection = self._connection
        connection.begin()
        number = self._store.begin_run(run, ledger)
        connection.execute(
            f"""UPDATE pair SET wish = {Wish.IN:d} FROM feed WHERE pair.wish <> {Wish.IN:d}
            AND pair."user" = feed."user" AND pair."group" = feed."group" """
        )
        connection.execute(
            f"""INSERT INTO pair SELECT DISTINCT "user", "group", {Known.OUT:d}, {Wish.IN:d}, 0 FROM feed
            ANTI JOIN pair USING ("user", "group")"""
        )
        connection.execute(
            f"""UPDATE pair SET wish = {Wish.NONE:d} FROM gone
            WHERE pair."user" = gone."user" AND pair."group" = gone."group" """
        )
        connection.execute(
            f"""UPDATE pair SET wish = {Wish.OUT:d} FROM removals
            WHERE pair."user" = removals."user" AND pair."group" = removals."group" """
        )
        connection.execute('INSERT INTO named SELECT "group" FROM feed_group ANTI JOIN named USING ("group")')
        self._store.touched()
        connection.commit()
        return number

    def _number(self, query: str, values: Sequence[Any] = ()) -> int:
        (number,) = self._connection.execute(query, values).fetchone() or (0,)
        return int(number)


def _condition(scope: Scope) -> tuple[str, list[str]]:
    """A condition on the columns `user` and `group`, and the patterns that stand in it."""
    parts: list[str] = []
    values: list[str] = []
    if scope.groups:
        parts.append(" OR ".join('"group"::VARCHAR GLOB ?' for _ in scope.groups))
        values += scope.groups
    else:
        parts.append('"group" IN (SELECT "group" FROM named UNION ALL SELECT "group" FROM feed_group)')
    if scope.users:
        parts.append(" OR ".join('"user"::VARCHAR GLOB ?' for _ in scope.users))
        values += scope.users
    return " AND ".join(f"({part})" for part in parts), values
