"""What cannot be read twice is written beside the ledger first, readable by its owner only, and read from there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

import anyio
import orjson

_PIECE = 1 << 20
_FLUSH_ITEMS = 1 << 14


class Spool:
    """A file that grows while it is already being read. `is_whole` says that nothing more comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_whole = False
        self.version = 0
        """Grows whenever there is more to read."""
        self._grew = anyio.Event()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)

    def append(self, data: bytes) -> None:
        """Write so that it survives a crash, then let the reader know."""
        self._file.write(data)
        os.fsync(self._file.fileno())
        self._wake()

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()
        self.is_whole = True
        self._wake()

    async def grown(self, seen: int) -> None:
        """Wait until there is more to read than at version `seen`, or the end is known."""
        if not self.is_whole and self.version == seen:
            await self._grew.wait()

    def _wake(self) -> None:
        self.version += 1
        self._grew.set()
        self._grew = anyio.Event()


async def spool_stream(spool: Spool, stream: BufferedIOBase) -> None:
    """Copy a pipe or file to its end; waiting for a pipe can be cancelled."""
    while True:
        with suppress(OSError, ValueError):  # a regular file is always readable, and cannot be waited for
            await anyio.wait_readable(stream)
        piece = await anyio.to_thread.run_sync(os.read, stream.fileno(), _PIECE)
        if not piece:
            spool.close()
            return
        spool.append(piece)


async def spool_changes(spool: Spool, changes: Iterable[object] | AsyncIterable[object]) -> None:
    """Write `(op, user, group)` items as JSON Lines.

    What is no such triple, or holds anything but integers and texts, becomes a line that is rejected by itself.
    """
    held: list[bytes] = []

    def put(item: object) -> None:
        held.append(_line(item))
        if len(held) == _FLUSH_ITEMS:
            spool.append(b"".join(held))
            held.clear()

    if isinstance(changes, AsyncIterable):
        async for item in changes:
            put(item)
            if len(held) == 1:
                await anyio.lowlevel.checkpoint()
    else:
        for item in changes:
            put(item)
            if not held:
                await anyio.lowlevel.checkpoint()
    if held:
        spool.append(b"".join(held))
    spool.close()


def _line(item: object) -> bytes:
    if isinstance(item, tuple | list) and len(item) == 3:  # noqa: PLR2004 — op, user, group
        op, user, group = item
        item = {"op": op, "user": user, "group": group}
    try:
        return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONEncodeError, TypeError):
        return orjson.dumps(repr(item)[:200], option=orjson.OPT_APPEND_NEWLINE)
