"""The runs of this host, one small file per target in the user's state folder.

`resume` and `retry` ask it whether a newer run changed the same target meanwhile: then yesterday's changes could
overwrite today's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

_log = logging.getLogger(__name__)
_TABLE = "CREATE TABLE IF NOT EXISTS run (run TEXT PRIMARY KEY, ledger TEXT, started REAL) WITHOUT ROWID"


def state_folder(environment: Mapping[str, str]) -> Path:
    """The user's state folder (XDG base directory specification)."""
    home = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "batcher"


def state_file(folder: Path, kind: str, url: str, env: str, suffix: str) -> Path:
    """The file of a target in the state folder."""
    name = blake2b(f"{kind}\0{url}\0{env}".encode(), digest_size=8).hexdigest()
    return folder / f"{kind}-{name}.{suffix}"


class Register:
    """The runs on one target. A folder that cannot be written costs the protection, not the run."""

    def __init__(self, folder: Path, kind: str, url: str, env: str) -> None:
        self._path = state_file(folder, kind, url, env, "sqlite")

    def add(self, run: str, ledger: Path, started: float) -> None:
        """A run starts on the target at this moment (UTC seconds)."""
        self._do("INSERT OR REPLACE INTO run VALUES (?, ?, ?)", (run, str(ledger.absolute()), started))

    def later_than(self, run: str, started: float) -> list[str]:
        """The ledgers of other runs that started after this one, the newest first."""
        newest = "SELECT ledger FROM run WHERE run != ? AND started > ? ORDER BY started DESC"
        return [str(ledger) for (ledger,) in self._do(newest, (run, started))]

    def _do(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(sqlite3.connect(self._path, timeout=5.0)) as connection, connection:
                connection.execute(_TABLE)
                return connection.execute(statement, values).fetchall()
        except (OSError, sqlite3.Error) as error:
            _log.warning("runs on this host cannot know of each other: %s: %s", self._path, error)
            return []
