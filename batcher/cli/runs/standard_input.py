"""Standard input as a stream, and as a file that can be read in several passes."""

from __future__ import annotations

import os
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from batcher.core.errors import ConfigurationError, InputError
from batcher.files import write_whole
from batcher.streams import STDIN, was_closed

_PIECE = 1 << 20


def standard_input() -> BufferedIOBase:
    """Standard input as a stream of bytes.

    Raises:
        InputError: When it was closed when the program was started.

    """
    if STDIN in was_closed:
        raise InputError("standard input is closed; nothing can be read from it")
    return cast("BufferedIOBase", sys.stdin.buffer)


@contextmanager
def as_files(files: Sequence[str]) -> Iterator[list[Path]]:
    """The files; for `-` a temporary copy of standard input, readable by its owner only.

    Raises:
        InputError: When standard input cannot be read to its end.

    """
    copies = []
    try:
        paths = []
        for file in files:
            path = Path(file)
            if file == "-":
                descriptor, name = tempfile.mkstemp(prefix="stdin-")
                path = Path(name)
                copies.append(path)
                with os.fdopen(descriptor, "wb", buffering=0) as copy:
                    for piece in _pieces(standard_input().fileno()):
                        _keep(copy.write, piece, path)
            paths.append(path)
        yield paths
    finally:
        for copy_of in copies:
            copy_of.unlink()


def _pieces(descriptor: int) -> Iterator[bytes]:
    """All pieces up to the end, which only an empty piece marks: a non-blocking descriptor may have nothing yet."""
    try:
        while True:
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                select.select((descriptor,), (), ())
                continue
            if not piece:
                return
            yield piece
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror}") from None


def _keep(write: Callable[[bytes], int | None], piece: bytes, path: Path) -> None:
    try:
        write_whole(write, piece)
    except OSError as error:
        raise ConfigurationError(f"{path}, the copy of standard input, cannot be written: {error.strerror}") from None
