"""A ledger whose file somebody moved, removed or replaced while it was being written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from batcher.core.errors import LedgerError
from batcher.files import is_same, open_private

_MOST_NAMES = 100


def moved_to(descriptor: int) -> Path | None:
    """Where the open file is by now, as far as the system tells; None when it is nowhere."""
    try:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return None
    return path if is_same(path, descriptor) else None


def rescued(path: Path, connection: sqlite3.Connection) -> Path:
    """A copy of what was removed, under the same name if nobody else has it; gives its name.

    Raises:
        LedgerError: When it cannot be written.

    """
    others = (path.with_name(f"{path.name}.rescued-{number}") for number in range(1, _MOST_NAMES))
    free = next((name for name in (path, *others) if not name.exists()), None)
    if free is None:
        raise LedgerError(f"{path} was removed while the run worked, and there is no name for a copy")
    try:
        open_private(free, "xb").close()
        with closing(sqlite3.connect(free)) as copy:
            connection.backup(copy)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"{path} was removed while the run worked, and {free} cannot be written: {error}") from error
    return free
