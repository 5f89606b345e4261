"""The three standard streams, whatever the program was started with: closed, full, or with nobody at the other end.

A descriptor that is closed would be taken by the next file that is opened, a socket or the ledger; it is opened on the
null device instead, before anything else is. What cannot be written to standard error is lost, since nobody could be
told. What cannot be written to standard output is told once, as `Unwritable`, and lost from then on.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import select
import sys
from typing import TextIO

STDIN, STDOUT, STDERR = 0, 1, 2
_WANTED, _LEAST = 1024, 64
"""Open files: what Linux gives a process by itself, and what libraries, ledger and a few connections need."""

was_closed: set[int] = set()
"""The descriptors with nothing behind them when the program was started."""


class Unwritable(Exception):  # noqa: N818 — of a stream, not of the program
    """Standard output takes nothing more. Not an `OSError`, which libraries take for theirs.

    `is_left` says that whoever read it has gone, as `head` does; nobody misses the rest then.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_left = error.errno == errno.EPIPE


def open_all() -> None:
    """Have all three, and streams on them that fail as the module says. To be called before anything is opened."""
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            was_closed.add(descriptor)
            _open_on(descriptor)
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 — stays open
    sys.stdout = _text(_Output(STDOUT), sys.stdout)
    sys.stderr = _text(_Errors(STDERR), sys.stderr)


def allow_descriptors() -> bool:
    """Have as many descriptors as a run needs, as far as they are allowed; gives whether there are enough to begin."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _WANTED and soft != resource.RLIM_INFINITY:
        soft = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft == resource.RLIM_INFINITY or soft >= _LEAST


def _open_on(descriptor: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)  # mostly gets this very number, the lowest that is free
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """As Python makes them, but that a character which the locale lacks is written as an escape."""
    encoding = before.encoding if before is not None else "utf-8"
    buffered = io.BufferedWriter(raw)
    is_errors = isinstance(raw, _Errors)
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=is_errors or raw.isatty())


class _Descriptor(io.FileIO):
    """A descriptor to be written to, which is never closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)

    def _write(self, data: bytes | memoryview) -> int:
        """Some of it. A descriptor that others have made non-blocking is waited for."""
        while True:
            try:
                return os.write(self.fileno(), data)
            except BlockingIOError:
                select.select((), (self.fileno(),), ())


class _Errors(_Descriptor):
    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # any buffer
        try:
            return self._write(data)
        except OSError:
            return len(data)


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
