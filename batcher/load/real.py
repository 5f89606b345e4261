"""The runtime of a load run: a finer clock than the event loop's, its own connections, and less interference."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel

from batcher.host.runtime import Runtime, real_clock, real_runtime, trust_of
from batcher.load.connection import Connections
from batcher.load.flight import Punctual
from batcher.load.plan import Stopwatch
from batcher.settings import Settings
from batcher.transport import Transport

_SPIN_SECONDS = 0.0015
"""Timers of event loops have a resolution of a millisecond; for the rest of a wait, the loop turns without sleeping."""
_NOTHING_SECONDS = 0.00005
"""An iteration of the loop that takes longer counts as work."""
_SWITCH_SECONDS = 0.0005
"""How long the thread that writes the ledger may hold the interpreter while a reply waits; Python's default is 5 ms."""


def load_runtime(state_folder: Path | None, spinning: Spinning) -> Runtime:
    """The runtime of any run, with another clock and transport. Call it within a running event loop."""

    def connected(settings: Settings) -> AbstractAsyncContextManager[Transport]:
        connections = Connections(settings.target.timeout_seconds, trust_of(settings), time.monotonic)
        return _Punctual(connections, spinning)

    return replace(real_runtime(state_folder), clock=real_clock(), transport=connected)


class Spinning:
    """Waits for a moment in time with a precision of microseconds, and measures the processor time this takes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Processor seconds spent on waiting."""

    def __repr__(self) -> str:
        return f"<Spinning {self.seconds:.3f} s>"

    async def until(self, moment: float) -> None:
        """Wait until a moment of the monotonic clock."""
        while (left := moment - time.monotonic()) > 0:  # busy waiting on purpose
            if left > _SPIN_SECONDS:
                await anyio.sleep(left - _SPIN_SECONDS)
                continue
            before = time.thread_time()
            await anyio.lowlevel.checkpoint()
            used = time.thread_time() - before
            if used < _NOTHING_SECONDS:
                self.seconds += used

    def watch(self) -> Stopwatch:
        """The stopwatch for a generator in this thread."""
        return Stopwatch(_SPIN_SECONDS, lambda: time.thread_time() - self.seconds)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the interpreter from delaying replies: switch threads sooner, exclude existing objects from collection."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


class _Punctual(AbstractAsyncContextManager[Transport]):
    def __init__(self, connections: Connections, spinning: Spinning) -> None:
        self._connections = connections
        self._spinning = spinning

    async def __aenter__(self) -> Transport:
        return Punctual(await self._connections.__aenter__(), time.monotonic, self._spinning.until)

    async def __aexit__(self, *error: object) -> None:
        await self._connections.__aexit__(None, None, None)
