"""The ids of names that were looked up, kept in the user's state folder between runs, and for one run.

Only what was found is kept, with when that was: that a name is not there is true at one moment only. An entry that is
older than a run accepts is looked up again. What a run has once used stays with it, whatever other runs learn.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from batcher.core.lookups import Ids

_log = logging.getLogger(__name__)
_NAME = "names.sqlite"
_AT_ONCE = 500
"""Names per statement; SQLite's oldest limit of parameters is 999."""
_TABLES = """
CREATE TABLE IF NOT EXISTS kept.names (
    target TEXT NOT NULL, attribute TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (target, attribute, name)
) WITHOUT ROWID;
CREATE TABLE main.used (attribute TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (attribute, name)) WITHOUT ROWID;
CREATE TABLE main.refused (attribute TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (attribute, name)) WITHOUT ROWID;
CREATE TABLE main.listed (attribute TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (attribute, id)) WITHOUT ROWID;
CREATE TABLE main.seen (attribute TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (attribute, name, id)) WITHOUT ROWID;
"""
_BUSY_SECONDS = 30.0


class NameCache:
    """The names of one target. Blocking.

    `used` is what this run relies on, `refused` are names that have no id for it, `seen` is what it was told.
    """

    def __init__(self, folder: Path | None, target: str, max_age: float, now: Callable[[], float]) -> None:
        """Open the cache.

        Args:
            folder: The state folder; None to keep nothing for other runs.
            target: What distinguishes the target from others.
            max_age: How many seconds an entry of another run is relied on.
            now: Returns UTC seconds.

        """
        self._target = target
        self._max_age = max_age
        self._now = now
        # An empty name is a temporary database on disk: memory does not grow with the number of names.
        self._connection = sqlite3.connect("", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._attach(folder)

    def __repr__(self) -> str:
        return f"<NameCache of {self._target}>"

    def close(self) -> None:
        """Close it; what was only for this run is gone."""
        self._connection.close()

    def known(self, attribute: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of these names (in compared form) that this run has used, or another one has found lately."""
        now, found = self._now(), self.used(attribute, names)
        missing = [name for name in names if name not in found]
        kept = self._ids(
            "SELECT name, id FROM kept.names"
            " WHERE target = ? AND attribute = ? AND at > ? AND at <= ? AND name IN ({})",
            (self._target, attribute, now - self._max_age, now),
            missing,
        )
        return found | {name: next(iter(ids)) for name, ids in kept.items()}

    def used(self, attribute: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of these names (in compared form) that this run has used."""
        found = self._ids("SELECT name, id FROM used WHERE attribute = ? AND name IN ({})", (attribute,), names)
        return {name: next(iter(ids)) for name, ids in found.items()}

    def use(self, attribute: str, ids: Mapping[str, str]) -> int:
        """From now on this run relies on these; returns how many of the names are new to it."""
        before = self._connection.total_changes
        self._connection.executemany(
            "INSERT OR IGNORE INTO used VALUES (?, ?, ?)", ((attribute, name, found) for name, found in ids.items())
        )
        return self._connection.total_changes - before

    def refuse(self, attribute: str, names: Iterable[str]) -> None:
        """From now on these names (in compared form) have no id for this run: it has asked, and does not ask again."""
        self._connection.executemany("INSERT OR IGNORE INTO refused VALUES (?, ?)", ((attribute, n) for n in names))

    def refused(self, attribute: str, names: Sequence[str]) -> list[str]:
        """Those of these names that this run has refused."""
        query = "SELECT name, name FROM refused WHERE attribute = ? AND name IN ({})"
        return list(self._ids(query, (attribute,), names))

    def learn(self, attribute: str, entries: Iterable[tuple[str, str]], *, is_list: bool) -> int:
        """The target has told these names (in compared form) and ids.

        Returns how many of the ids were not in an earlier part of its list, if this is a part of it (`is_list`).
        """
        pairs = [(attribute, name, found) for name, found in entries]
        before = self._connection.total_changes
        if is_list:
            self._connection.executemany(
                "INSERT OR IGNORE INTO listed VALUES (?, ?)", ((attribute, found) for _, _, found in pairs)
            )
        new = self._connection.total_changes - before if is_list else 0
        self._connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", pairs)
        return new

    def keep(self, attribute: str, ids: Mapping[str, str]) -> None:
        """These were established: other runs may rely on them for a while."""
        rows = [(self._target, attribute, name, found, self._now()) for name, found in ids.items()]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back
                self._connection.executemany("INSERT OR REPLACE INTO kept.names VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.DatabaseError as error:
            _log.warning("names that were looked up are not kept for other runs: %s", error)

    def forget(self, attribute: str, names: Iterable[str]) -> None:
        """Other runs are to look these up again."""
        rows = [(self._target, attribute, name) for name in names]
        try:
            self._connection.executemany("DELETE FROM kept.names WHERE target = ? AND attribute = ? AND name = ?", rows)
        except sqlite3.DatabaseError as error:
            _log.warning("names that may be out of date are kept for other runs: %s", error)

    def told(self, attribute: str, names: Sequence[str]) -> Ids:
        """The ids that the target has told this run for these names."""
        return self._ids("SELECT name, id FROM seen WHERE attribute = ? AND name IN ({})", (attribute,), names)

    def all_told(self, attribute: str) -> list[tuple[str, str]]:
        """All names (in compared form) that the target has told this run, and their ids."""
        query = "SELECT name, id FROM seen WHERE attribute = ? AND name != ''"
        return list(self._connection.execute(query, (attribute,)))

    def all_kept(self, attribute: str) -> list[tuple[str, str]]:
        """All names (in compared form) that any run has looked up lately, and their ids."""
        query = "SELECT name, id FROM kept.names WHERE target = ? AND attribute = ? AND at > ?"
        return list(self._connection.execute(query, (self._target, attribute, self._now() - self._max_age)))

    def any_told(self, attribute: str) -> str | None:
        """Some name (in compared form) that the target has told this run."""
        query = "SELECT name FROM seen WHERE attribute = ? AND name != '' LIMIT 1"
        row = self._connection.execute(query, (attribute,)).fetchone()
        return None if row is None else str(row[0])

    def _ids(self, query: str, fixed: tuple[object, ...], names: Sequence[str]) -> Ids:
        found: Ids = {}
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            for name, known in self._connection.execute(query.format(marks), (*fixed, *part)):
                found.setdefault(name, set()).add(known)
        return found

    def _attach(self, folder: Path | None) -> None:
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = folder / _NAME
                path.touch(mode=0o600)
                self._connection.execute("ATTACH ? AS kept", (str(path),))
                self._connection.execute("PRAGMA kept.journal_mode = WAL")
            else:
                self._connection.execute("ATTACH '' AS kept")
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.DatabaseError) as error:
            _log.warning("names that are looked up are not kept for other runs: %s: %s", folder, error)
            self._connection.close()
            self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._attach(None)
