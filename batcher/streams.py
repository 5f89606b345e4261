"""The three standard streams, whatever the program was started with: closed, full, or with nobody at the other end.

A closed descriptor would be reused by the next file that is opened, such as a socket or the ledger; so it is opened on
the null device first. What cannot be written to standard error is lost, since there is nowhere else to report it; a
reader that is merely slow is not waited for, or it would hold up the run. If standard output cannot be written, that is
reported once, as `Unwritable`, and everything after it is lost.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import sys
from typing import TextIO

STDIN, STDOUT, STDERR = 0, 1, 2
_PATIENCE = 1.0
"""Seconds to wait at the end for a slow reader of standard error."""
_KEPT = 1 << 16
"""Bytes kept for that reader; beyond that the oldest are lost."""

was_closed: set[int] = set()
"""The descriptors that were closed when the program was started."""


class Unwritable(Exception):  # noqa: N818 — a state of the stream, not an error of the program
    """Standard output cannot be written. Not an `OSError`, which libraries would take for their own.

    `is_left` says that its reader has gone away, as `head` does; nobody misses the rest then.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_left = error.errno == errno.EPIPE


def open_all() -> None:
    """Open all three, with streams that fail as the module describes. Call it before anything else is opened."""
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            was_closed.add(descriptor)
            _open_on(descriptor)
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 — stays open
    sys.stdout = _text(_Output(STDOUT), sys.stdout)
    errors = _Errors(STDERR)
    sys.stderr = _text(errors, sys.stderr)
    atexit.register(errors.finish)


def _open_on(descriptor: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)  # usually gets this very number, the lowest free one
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """A text stream as Python makes it, except that characters missing in the locale are written as escapes."""
    encoding = before.encoding if before is not None else "utf-8"
    buffered = io.BufferedWriter(raw)
    is_errors = isinstance(raw, _Errors)
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=is_errors or raw.isatty())


class _Descriptor(io.FileIO):
    """A descriptor for writing that is never closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)

    def _write(self, data: bytes | memoryview) -> int:
        """Write some of it; waits for a descriptor that others have made non-blocking."""
        while True:
            try:
                return os.write(self.fileno(), data)
            except BlockingIOError:
                select.select((), (self.fileno(),), ())


class _Errors(_Descriptor):
    """Never blocks: if a descriptor is writable at all, it takes `PIPE_BUF` bytes at once (POSIX, `write`)."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._behind = bytearray()
        self._is_cut = False

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # any buffer
        self._behind += data
        self._catch_up(0.0)
        if len(self._behind) > _KEPT:
            newest = self._behind[-_KEPT:]
            self._behind[:] = newest[newest.find(b"\n") + 1 :]
            self._is_cut = True
        return len(data)

    def finish(self) -> None:
        """Write what was kept for a slow reader, if it takes it soon."""
        self._catch_up(_PATIENCE)

    def _catch_up(self, patience: float) -> None:
        try:
            while self._behind and select.select((), (STDERR,), (), patience)[1]:
                if self._is_cut:
                    self._behind[:0] = b"... (lines lost here: nobody was reading)\n"
                    self._is_cut = False
                written = self._write(memoryview(bytes(self._behind[: select.PIPE_BUF])))
                del self._behind[:written]
        except OSError:
            self._behind.clear()


class _Output(_Descriptor):
    _is_given_up = False

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # any buffer
        if self._is_given_up:
            return len(data)
        try:
            return self._write(data)
        except OSError as error:
            self._is_given_up = True
            raise Unwritable(error) from None
