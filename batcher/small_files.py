"""Small files that people write (settings, secrets, plans), read within bounds and in the usual encodings."""

from __future__ import annotations

import codecs
import os
import select
import stat
from pathlib import Path

from batcher.core.errors import ConfigurationError

_MOST = 4 << 20
"""Bytes; far more than any file of settings, secrets or plans needs."""
_PATIENCE = 10.0
"""Seconds to wait for a writer of a named pipe."""


def read_small(path: Path, most: int = _MOST) -> bytes:
    """The whole content of a small file of any kind; refuses a device that never ends, and a pipe without a writer.

    Raises:
        OSError: When it cannot be read.
        ConfigurationError: When it is too large, or nobody writes into it.

    """
    content = bytearray()
    with open(path, "rb", buffering=0, opener=_opened) as file:
        while piece := file.read(most + 1 - len(content)):
            content += piece
            if len(content) > most:
                raise ConfigurationError(f"{path} is larger than {most // 1024:,} KiB; check that it is the right file")
    return bytes(content)


def read_text(path: Path, most: int = _MOST) -> str:
    """The same as text.

    Raises:
        OSError, ConfigurationError: As `read_small`, and when it is not valid text; names the line.

    """
    content = read_small(path, most)
    try:
        return decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: invalid UTF-8; save the file in this encoding") from None


def decoded(content: bytes) -> str:
    """A text as editors and shells write it: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        UnicodeDecodeError: When it is none of these.

    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _opened(path: str, flags: int) -> int:
    """Open a file; if it is a named pipe, wait for its writer, but not forever."""
    if not stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 — as it was given
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        os.close(descriptor)
        raise ConfigurationError(f"{path} is a pipe, but nothing was written to it within {_PATIENCE:.0f} s")
    os.set_blocking(descriptor, True)
    return descriptor
