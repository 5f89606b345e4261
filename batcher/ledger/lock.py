"""One run at a time works on a ledger; a kill releases the lock."""

from __future__ import annotations

import os
from pathlib import Path

from batcher import files
from batcher.core.errors import LedgerHeldError

_OWN: dict[int, tuple[int, int]] = {}
"""Device and inode by the descriptors with which this process holds ledgers."""


def lock(path: Path, *, create: bool) -> int:
    """Take the operating system's lock on the file itself; returns the descriptor that holds it.

    A new file is readable by its owner only. Let go of the descriptor last: closing any descriptor of a file
    releases the other kind of lock that SQLite holds on it.

    Raises:
        LedgerHeldError: When another run has it.
        OSError: When the file cannot be opened.

    """
    if _is_own(path):
        raise held(path)
    descriptor = files.lock(path, create=create)
    if descriptor is None:
        raise held(path)
    opened = os.fstat(descriptor)
    _OWN[descriptor] = (opened.st_dev, opened.st_ino)
    return descriptor


def release(descriptor: int) -> None:
    """Let go of a ledger."""
    _OWN.pop(descriptor, None)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some run works on a ledger. One of this process is not even opened for that, see `lock`."""
    if _is_own(path):
        return True
    try:
        descriptor = files.lock(path, create=False, shared=True)
    except OSError:
        return False
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def held(path: Path) -> LedgerHeldError:
    """The error for what another run has."""
    return LedgerHeldError(f"another run holds {path}; wait for it, or stop it first")


def _is_own(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in _OWN.values()
