"""One process at a time works on a ledger; a kill releases the lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from batcher.core.errors import LedgerHeldError


def lock(path: Path, *, create: bool) -> int:
    """Take the operating system's lock on the file itself; returns the descriptor that holds it.

    A new file is readable by its owner only. Close the descriptor last: closing any descriptor of a file
    releases the other kind of lock that SQLite holds on it.

    Raises:
        LedgerHeldError: When another process has it.
        OSError: When the file cannot be opened.

    """
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LedgerHeldError(f"another run holds {path}; wait for it, or stop it first") from None
    return descriptor
