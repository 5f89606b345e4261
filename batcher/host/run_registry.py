"""The run registry: the runs of this host, in one small file per target in the user's state folder.

It shows which runs worked on the same target, in which order (by number, since clocks can be set), which of them may
still have requests that arrive, and which state each of them used. So `resume` and `retry` learn of newer runs, whose
changes they could overwrite; every run waits for requests that another one has lost; and a state that was restored from
a backup is recognised as older than the runs that used it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias, TypeVar

from batcher.core.address import place_of
from batcher.core.clock import Clock, Stamp
from batcher.ledger.lock import is_held

_log = logging.getLogger(__name__)
_TABLE = """CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT UNIQUE NOT NULL, ledger TEXT NOT NULL, started REAL NOT NULL,
    state TEXT NOT NULL DEFAULT '', ended TEXT
)"""
LONG_AGO = Stamp(0.0)
T = TypeVar("T")
_Rows: TypeAlias = list[tuple[object, ...]]
_Execute: TypeAlias = Callable[[str, tuple[object, ...]], _Rows]


def state_folder(environment: Mapping[str, str]) -> Path | None:
    """The user's state folder (XDG base directory specification); None, with a warning, if there is no home folder."""
    given = environment.get("XDG_STATE_HOME")
    if given:
        return Path(given) / "batcher"
    try:
        return Path("~/.local/state").expanduser() / "batcher"
    except RuntimeError:  # neither HOME nor an entry among the system's users
        _tell_homeless()
        return None


@cache
def _tell_homeless() -> None:
    _log.warning(
        "this user has no home folder: runs on this host cannot know of each other or share the rate; set HOME or"
        " XDG_STATE_HOME to a folder of this user"
    )


@cache
def _tell_unusable(path: Path, why: str) -> None:
    _log.warning(
        "runs on this host cannot know of each other: %s: %s; free space, fix its permissions, or set XDG_STATE_HOME",
        path,
        why,
    )


def state_file(folder: Path, *identity: str, suffix: str) -> Path:
    """The file of a target in the state folder; `identity` is what distinguishes the target, its kind first."""
    name = blake2b("\0".join(identity).encode(), digest_size=8).hexdigest()
    return folder / f"{identity[0]}-{name}.{suffix}"


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run that sent to the target, and its ledger; it `ended` so many seconds ago (0 if it has not)."""

    run: str
    ledger: Path
    ended: float = 0.0


class RunRegistry:
    """The runs on one target. If the folder cannot be written, runs work without this protection."""

    def __init__(self, folder: Path, kind: str, url: str, env: str) -> None:
        self._path = state_file(folder, kind, place_of(url), env, suffix="sqlite")
        self._before = state_file(folder, kind, url, env, suffix="sqlite")
        """Where earlier versions kept it: named after the address as it was written."""

    def touch(self, run: RegisteredRun, started: float, state: str = "") -> None:
        """A run begins to send, or continues: from now on it is the latest one. `started` is in UTC seconds."""

        def work(execute: _Execute) -> _Rows:
            execute("DELETE FROM runs WHERE run = ?", (run.run,))
            values = (run.run, str(run.ledger.absolute()), started, state)
            return execute("INSERT INTO runs (run, ledger, started, state) VALUES (?, ?, ?, ?)", values)

        self._do(work)

    def ended(self, run: str, at: Stamp) -> None:
        """A run has sent its last request, for now; `at` is `LONG_AGO` if none of its requests may still arrive."""
        self._do(lambda execute: execute("UPDATE runs SET ended = ? WHERE run = ?", (str(at), run)))

    def later_than(self, run: str, started: float) -> list[str]:
        """The ledgers of other runs that worked on the target after this one (UTC seconds), the newest first."""

        def work(execute: _Execute) -> _Rows:
            known = execute("SELECT number FROM runs WHERE run = ?", (run,))
            by, least = ("number", known[0][0]) if known else ("started", started)
            later = f"SELECT ledger FROM runs WHERE run != ? AND {by} > ? ORDER BY number DESC"  # noqa: S608 — one of two words
            return execute(later, (run, least))

        return [str(ledger) for (ledger,) in self._do(work)]

    def unquiet(self, run: str, grace: float, clock: Clock) -> list[RegisteredRun]:
        """Other runs whose requests may still arrive: in progress, or ended less than `grace` seconds ago.

        When a run was killed is not known: it counts as ended at the moment when another run first notices it.
        """

        def work(execute: _Execute) -> list[RegisteredRun]:
            found = []
            for name, ledger, ended in execute("SELECT run, ledger, ended FROM runs WHERE run != ?", (run,)):
                path = Path(str(ledger))
                age = 0.0 if ended is None else clock.age(Stamp.parse(str(ended)))
                if age >= grace:
                    continue
                if ended is None and not is_held(path):
                    execute("UPDATE runs SET ended = ? WHERE run = ?", (str(clock.stamp()), name))
                found.append(RegisteredRun(str(name), path, age))
            return found

        return self._do(work)

    def of_state(self, state: str) -> Sequence[RegisteredRun]:
        """The runs that used a state, the earliest first."""
        listed = "SELECT run, ledger FROM runs WHERE state = ? ORDER BY number"
        rows = self._do(lambda execute: execute(listed, (state,)))
        return [RegisteredRun(str(run), Path(str(ledger))) for run, ledger in rows]

    def _do(self, work: Callable[[_Execute], list[T]]) -> list[T]:
        """Do the work in one transaction; if the file cannot be used, nothing is found and nothing is stored."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(self._path, timeout=5.0)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                self._prepare(connection)
                return work(lambda statement, values: connection.execute(statement, values).fetchall())
        except (OSError, sqlite3.Error, ValueError) as error:
            _tell_unusable(self._path, str(error))
            return []

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(_TABLE)
        if not connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() and self._before.is_file():
            with closing(sqlite3.connect(f"{self._before.absolute().as_uri()}?mode=ro", uri=True)) as before:
                rows = before.execute("SELECT run, ledger, started FROM run ORDER BY started").fetchall()
            insert = "INSERT INTO runs (run, ledger, started, ended) VALUES (?, ?, ?, ?)"
            connection.executemany(insert, [(*row, str(LONG_AGO)) for row in rows])
