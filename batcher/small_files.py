"""Small files that people write: settings, secrets, plans. Read within bounds, and as the texts that editors write."""

from __future__ import annotations

import codecs
import os
import select
import stat
from pathlib import Path

from batcher.core.errors import ConfigurationError

_MOST = 4 << 20
"""Bytes. No file of settings, secrets or plans of ours comes near it."""
_PATIENCE = 10.0
"""Seconds, for who is to write into a named pipe."""


def read_small(path: Path, most: int = _MOST) -> bytes:
    """All of a file that is small, whatever it is: a device that never ends is refused, and a pipe that says nothing.

    Raises:
        OSError: When it cannot be read.
        ConfigurationError: When there is more in it, or nobody writes into it.

    """
    content = bytearray()
    with open(path, "rb", buffering=0, opener=_opened) as file:
        while piece := file.read(most + 1 - len(content)):
            content += piece
            if len(content) > most:
                raise ConfigurationError(f"{path} holds more than {most // 1024:,} KiB; is it the right file?")
    return bytes(content)


def read_text(path: Path, most: int = _MOST) -> str:
    """The same as a text.

    Raises:
        OSError, ConfigurationError: As `read_small`, and when it is no text; says in which line.

    """
    content = read_small(path, most)
    try:
        return decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: no text in UTF-8; save the file in this encoding") from None


def decoded(content: bytes) -> str:
    """A small text as editors and shells write it: UTF-8, with a mark at its beginning or not, or UTF-16 with one.

    Raises:
        UnicodeDecodeError: When it is none of these.

    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _opened(path: str, flags: int) -> int:
    """Of a named pipe the other end may never be opened; it is waited for within bounds."""
    if not stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 — as it was given
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        os.close(descriptor)
        raise ConfigurationError(f"{path} is a pipe, and nobody has written into it for {_PATIENCE:.0f} s")
    os.set_blocking(descriptor, True)
    return descriptor
