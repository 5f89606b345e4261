"""Spools: input that cannot be read twice is written to a private file beside the ledger, and read from there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

import anyio
import orjson

from batcher.files import write_whole

_PIECE = 1 << 20
_FLUSH_ITEMS = 1 << 14
LINGER_SECONDS = 0.2
"""Items of a slow iterable are written after at most this time."""


_WHOLE = 0o400
"""The file mode of a complete spool, to which nothing more is written."""


def was_whole(path: Path) -> bool:
    """Whether a spool of an earlier process is complete."""
    return path.stat().st_mode & 0o777 == _WHOLE


def cut(path: Path, least: int) -> None:
    """Remove an incomplete last line: half a line may look like another change.

    `least` is how many bytes of the file are known to be complete lines.
    """
    with path.open("r+b") as file:
        file.seek(least)
        keep = least
        while piece := file.read(_PIECE):
            end = piece.rfind(b"\n") + 1
            if end:
                keep = file.tell() - len(piece) + end
        file.truncate(keep)


class Spool:
    """A file that grows while it is already being read. `is_whole` says that it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_whole = False
        self.version = 0
        """Grows whenever there is more to read."""
        self._grew = anyio.Event()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        self._size = 0
        """Bytes received."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was received yet."""
        return self._size == 0

    def append(self, data: bytes) -> None:
        """Write data so that it survives a crash, then notify the reader.

        Raises:
            OSError: When not all of it can be written.

        """
        write_whole(self._file.write, data)
        os.fsync(self._file.fileno())
        self._size += len(data)
        self._wake()

    def close(self) -> None:
        """Mark the spool as complete: the file becomes read-only, which shows this even after a crash.

        Raises:
            OSError: When the file does not hold what was received.

        """
        found = os.fstat(self._file.fileno()).st_size
        if found != self._size:
            raise OSError(f"{self.path} holds {found} of {self._size} bytes")
        os.fchmod(self._file.fileno(), _WHOLE)
        os.fsync(self._file.fileno())
        self.release()
        self.is_whole = True
        self._wake()

    def release(self) -> None:
        """Close the file, complete or not."""
        self._file.close()

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
        with suppress(OSError, ValueError):  # a regular file is always readable, and cannot be polled
            await anyio.wait_readable(stream)
        piece = await anyio.to_thread.run_sync(os.read, stream.fileno(), _PIECE)
        if not piece:
            spool.close()
            return
        spool.append(piece)


async def spool_changes(spool: Spool, changes: Iterable[object] | AsyncIterable[object]) -> None:
    """Write `(op, user, group)` items as JSON Lines, after at most `LINGER_SECONDS`.

    An item that is not such a triple of integers and strings becomes a line that is rejected on its own. A synchronous
    iterable is consumed in a thread of its own, where it may block for any time: if the run ends first, nobody waits
    for it. If an iterable raises, the items before that are written, and then the exception is raised.
    """
    if isinstance(changes, AsyncIterable):
        await _spool_async(spool, changes)
    else:
        await _spool_from(_Puller(changes), spool)
    spool.close()


async def _spool_async(spool: Spool, changes: AsyncIterable[object]) -> None:
    held: list[bytes] = []

    def flush() -> None:
        if held:
            spool.append(b"".join(held))
            held.clear()

    async def flush_now_and_then() -> None:
        while True:
            await anyio.sleep(LINGER_SECONDS)
            flush()

    async with anyio.create_task_group() as group:
        group.start_soon(flush_now_and_then)
        failure = await _collect(changes, held, flush)
        group.cancel_scope.cancel()
    flush()
    if failure is not None:
        raise failure


async def _collect(changes: AsyncIterable[object], held: list[bytes], flush: Callable[[], None]) -> Exception | None:
    """Returns what the iterable raised, so that it is not wrapped in an exception group."""
    try:
        async for item in changes:
            held.append(_line(item))
            if len(held) == _FLUSH_ITEMS:
                flush()
                await anyio.lowlevel.checkpoint()
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        return _as_exception(error)
    except Exception as error:  # noqa: BLE001 — it may raise anything
        return error
    return None


async def _spool_from(puller: _Puller, spool: Spool) -> None:
    try:
        puller.start()
        is_over = False
        while not is_over:
            await puller.has_more.wait()
            with anyio.move_on_after(LINGER_SECONDS):
                await puller.has_much.wait()
            lines, is_over = puller.take()
            if lines:
                spool.append(b"".join(lines))
        if puller.error is not None:
            raise puller.error
    finally:
        puller.abandon()


class _Puller:
    """Consumes an iterable in a thread where it may block for ever: neither run nor program waits for it."""

    def __init__(self, changes: Iterable[object]) -> None:
        self.has_more, self.has_much = anyio.Event(), anyio.Event()
        """Set when something can be taken or the end is known; set when a full portion can be taken."""
        self.error: Exception | None = None
        """What was raised after the last item."""
        self._changes = changes
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._is_over = self._is_abandoned = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="batcher input", daemon=True).start()

    def take(self) -> tuple[list[bytes], bool]:
        """The lines received so far, and whether these are the last ones."""
        with self._changed:
            lines, self._lines = self._lines, []
            if not self._is_over:
                self.has_more, self.has_much = anyio.Event(), anyio.Event()
            self._changed.notify()
            return lines, self._is_over

    def abandon(self) -> None:
        """Stop consuming."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            for item in self._changes:
                if not self._add(_line(item)):
                    return
        except BaseException as error:  # noqa: BLE001 — a user's iterable may raise anything, even SystemExit
            self.error = _as_exception(error)
        with self._changed:
            self._is_over = True
            self._tell(self.has_more, self.has_much)

    def _add(self, line: bytes) -> bool:
        """Add a line; returns whether more is wanted. Waits while the buffer is full."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._lines) < _FLUSH_ITEMS or self._is_abandoned)
            self._lines.append(line)
            if len(self._lines) == 1:
                self._tell(self.has_more)
            if len(self._lines) == _FLUSH_ITEMS:
                self._tell(self.has_much)
            return not self._is_abandoned

    def _tell(self, *events: anyio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            for event in events:
                self._loop.call_soon_threadsafe(event.set)


def _is_cancelled() -> bool:
    """Whether this task was cancelled, rather than one that the iterable was waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _as_exception(error: BaseException) -> Exception:
    """Whatever an iterable raised, as an error of the input: it must not end the program or cancel a task."""
    if isinstance(error, Exception):
        return error
    found = RuntimeError(f"the iterable of changes raised {type(error).__name__}: {error}")
    found.__cause__ = error
    return found


def _line(item: object) -> bytes:
    if isinstance(item, tuple | list):
        if len(item) != 3:  # noqa: PLR2004 — op, user, group
            return _odd(item)
        op, user, group = item
        item = {"op": op, "user": user, "group": group}
    try:
        return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONEncodeError, TypeError):
        return _odd(item)


def _odd(item: object) -> bytes:
    """A line that will be rejected, and shows the item."""
    try:
        shown = repr(item)[:200]
        return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)
    except Exception:  # noqa: BLE001 — a user's item may raise anything
        return orjson.dumps(f"<{type(item).__name__}>", option=orjson.OPT_APPEND_NEWLINE)
