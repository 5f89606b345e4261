"""The membership of a simulated target, kept in a file: a line of JSON for each change of state."""

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
    """A journal that this process holds: what is in it, and what is added to it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = 0
        """Bytes of whole lines."""

    def lines(self) -> Iterator[bytes]:
        """Every line that was written to its end; half a line, which a kill has left, is cut off.

        Raises:
            ConfigurationError: When the file is something else; nothing of it is changed.

        """
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and any(line.startswith(b[: len(line)]) for b in _BEGINNINGS):
                    break
                if not _is_change(line):
                    raise ConfigurationError(f"{self._path} is no journal of batcher simulate: line {number} is none")
                self._size += len(line)
                yield line
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def append(self, line: bytes) -> None:
        """Add a line, or nothing of it.

        Raises:
            OSError: When it cannot be written.

        """
        try:
            write_whole(lambda data: os.write(self._descriptor, data), line)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(line)


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    """Hold a journal, a new one if there is none, readable by its owner only.

    Raises:
        ConfigurationError: When it is no file, or cannot be written.
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
            raise ConfigurationError(f"the journal {path} is no file, but a device or a pipe; choose another name")
        yield Journal(path, descriptor)
    finally:
        os.close(descriptor)


def _is_change(line: bytes) -> bool:
    try:
        is_add, users, groups = orjson.loads(line)
    except (ValueError, TypeError):
        return False
    return isinstance(is_add, bool) and isinstance(users, list) and isinstance(groups, list) and line.endswith(b"\n")
