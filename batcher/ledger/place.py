"""Finding or rescuing a ledger whose file was moved, removed or replaced while it was being written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from batcher.core.errors import LedgerError
from batcher.files import is_same, open_private

_MOST_NAMES = 100


def moved_to(descriptor: int) -> Path | None:
    """Where the open file is now, if the system can tell; None if it has been removed."""
    try:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return None
    return path if is_same(path, descriptor) else None


def rescued(path: Path, connection: sqlite3.Connection) -> Path:
    """Write a copy of a removed ledger, under the same name if it is free; returns its path.

    Raises:
        LedgerError: When it cannot be written.

    """
    others = (path.with_name(f"{path.name}.rescued-{number}") for number in range(1, _MOST_NAMES))
    free = next((name for name in (path, *others) if not name.exists()), None)
    if free is None:
        raise LedgerError(f"{path} was removed during the run, and no file name is free for a copy")
    try:
        open_private(free, "xb").close()
        with closing(sqlite3.connect(free)) as copy:
            connection.backup(copy)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"{path} was removed during the run, and {free} cannot be written: {error}") from error
    return free
