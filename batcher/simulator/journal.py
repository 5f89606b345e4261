"""A file that keeps the memberships of a simulated target: one line of JSON per change of state."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from batcher.core.errors import ConfigurationError, LedgerHeldError
from batcher.files import lock, write_whole

_BEGINNINGS = (b"[true,[", b"[false,[")


class Journal:
    """A journal that this process holds, for reading and appending."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = 0
        """Bytes of complete lines."""

    def lines(self) -> Iterator[bytes]:
        """Every complete line; an incomplete last line, left by a killed process, is removed.

        Raises:
            ConfigurationError: When the file is not a journal; it is not changed then.

        """
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and any(line.startswith(b[: len(line)]) for b in _BEGINNINGS):
                    break
                if not _is_change(line):
                    raise ConfigurationError(
                        f"{self._path} is not a journal of batcher simulate: line {number} is invalid"
                    )
                self._size += len(line)
                yield line
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def append(self, line: bytes) -> None:
        """Add a line completely or not at all.

        Raises:
            OSError: When it cannot be written; it names the file.

        """
        try:
            write_whole(lambda data: os.write(self._descriptor, data), line)
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._size += len(line)


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    """Hold a journal; it is created if there is none, readable by its owner only.

    Raises:
        ConfigurationError: When it is not a regular file, or cannot be written.
        LedgerHeldError: When another server holds it.

    """
    try:
        descriptor = lock(path, create=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the journal {path} cannot be written: {error}") from None
    if descriptor is None:
        raise LedgerHeldError(f"another server keeps its membership in {path}; wait for it, or stop it first")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"the journal {path} is a device or a pipe, not a file; choose another name")
        yield Journal(path, descriptor)
    finally:
        os.close(descriptor)


def _is_change(line: bytes) -> bool:
    try:
        is_add, users, groups = orjson.loads(line)
    except (ValueError, TypeError):
        return False
    return isinstance(is_add, bool) and isinstance(users, list) and isinstance(groups, list) and line.endswith(b"\n")
