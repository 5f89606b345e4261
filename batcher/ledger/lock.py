"""The lock that lets only one run at a time work on a ledger; it is released even when the process is killed."""

from __future__ import annotations

import os
from pathlib import Path

from batcher import files
from batcher.core.errors import LedgerHeldError

_OWN: dict[int, tuple[int, int]] = {}
"""The ledgers that this process holds: descriptor → device and inode."""


def lock(path: Path, *, create: bool) -> int:
    """Take the operating system's lock on the file itself; returns the descriptor that holds it.

    A new file is readable by its owner only. Close this descriptor last: closing any descriptor of a file
    releases the other kind of lock that SQLite holds on it.

    Raises:
        LedgerHeldError: When another run holds it.
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
    """Release a ledger."""
    _OWN.pop(descriptor, None)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a run is working on a ledger. A ledger held by this process is not opened for that, see `lock`."""
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
    """The error for a file that another run holds."""
    return LedgerHeldError(f"another run holds {path}; wait for it, or stop it first")


def _is_own(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) in _OWN.values()
