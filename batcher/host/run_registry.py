"""The runs of this host, one small file per target in the user's state folder.

It tells which runs worked on the same target, in which order (a number, since clocks are set), which of them may still
have requests on their way, and which worked with which state. So `resume` and `retry` learn of a newer run, whose
changes they could overwrite; every run waits for what another one has lost; and a state that was restored from a backup
is known to be older than what was done with it.
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
    """The user's state folder (XDG base directory specification); None, and a warning, where there is no home."""
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
        "this user has no home folder: runs on this host cannot know of each other, nor share the rate; set HOME or"
        " XDG_STATE_HOME to a folder of theirs"
    )


@cache
def _tell_unusable(path: Path, why: str) -> None:
    _log.warning(
        "runs on this host cannot know of each other: %s: %s; make room or set its rights, or XDG_STATE_HOME", path, why
    )


def state_file(folder: Path, *identity: str, suffix: str) -> Path:
    """The file of a target in the state folder; `identity` tells it from others, the kind first."""
    name = blake2b("\0".join(identity).encode(), digest_size=8).hexdigest()
    return folder / f"{identity[0]}-{name}.{suffix}"


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run that touched the target, and its ledger; `ended` seconds ago, or at work."""

    run: str
    ledger: Path
    ended: float = 0.0


class RunRegistry:
    """The runs on one target. A folder that cannot be written costs the protection, not the run."""

    def __init__(self, folder: Path, kind: str, url: str, env: str) -> None:
        self._path = state_file(folder, kind, place_of(url), env, suffix="sqlite")
        self._before = state_file(folder, kind, url, env, suffix="sqlite")
        """Where earlier batchers kept it: by the address as it was written."""

    def touch(self, run: RegisteredRun, started: float, state: str = "") -> None:
        """A run begins to send, or to send again: from now on it is the last one. `started` in UTC seconds."""

        def work(execute: _Execute) -> _Rows:
            execute("DELETE FROM runs WHERE run = ?", (run.run,))
            values = (run.run, str(run.ledger.absolute()), started, state)
            return execute("INSERT INTO runs (run, ledger, started, state) VALUES (?, ?, ?, ?)", values)

        self._do(work)

    def ended(self, run: str, at: Stamp) -> None:
        """A run has sent its last request, for now; `LONG_AGO` when nothing of it may still arrive."""
        self._do(lambda execute: execute("UPDATE runs SET ended = ? WHERE run = ?", (str(at), run)))

    def later_than(self, run: str, started: float) -> list[str]:
        """The ledgers of other runs that worked on the target after this one, the newest first."""

        def work(execute: _Execute) -> _Rows:
            known = execute("SELECT number FROM runs WHERE run = ?", (run,))
            by, least = ("number", known[0][0]) if known else ("started", started)
            later = f"SELECT ledger FROM runs WHERE run != ? AND {by} > ? ORDER BY number DESC"  # noqa: S608 — one of two words
            return execute(later, (run, least))

        return [str(ledger) for (ledger,) in self._do(work)]

    def unquiet(self, run: str, grace: float, clock: Clock) -> list[RegisteredRun]:
        """Other runs whose requests may still arrive: at work, or ended or found dead within the last `grace` seconds.

        Nobody knows when a run was killed. It counts as that until somebody finds it, and for `grace` after that.
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
        """The runs that worked with a state, the first one first."""
        listed = "SELECT run, ledger FROM runs WHERE state = ? ORDER BY number"
        rows = self._do(lambda execute: execute(listed, (state,)))
        return [RegisteredRun(str(run), Path(str(ledger))) for run, ledger in rows]

    def _do(self, work: Callable[[_Execute], list[T]]) -> list[T]:
        """In one transaction; where the file cannot be used, nothing is found and nothing is kept."""
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
