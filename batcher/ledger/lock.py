"""One process at a time works on a ledger; a kill releases the lock."""

from __future__ import annotations

from pathlib import Path

from batcher import files
from batcher.core.errors import LedgerHeldError


def lock(path: Path, *, create: bool) -> int:
    """Take the operating system's lock on the file itself; returns the descriptor that holds it.

    A new file is readable by its owner only. Close the descriptor last: closing any descriptor of a file
    releases the other kind of lock that SQLite holds on it.

    Raises:
        LedgerHeldError: When another process has it.
        OSError: When the file cannot be opened.

    """
    descriptor = files.lock(path, create=create)
    if descriptor is None:
        raise held(path)
    return descriptor


def held(path: Path) -> LedgerHeldError:
    """The error for what another run has."""
    return LedgerHeldError(f"another run holds {path}; wait for it, or stop it first")
