"""The outer world of a load run: a finer clock than the event loop's, its own connections, and quiet around it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from batcher.core.clock import Clock
from batcher.core.secrets import Secrets
from batcher.engine.session import Surroundings, real_surroundings
from batcher.load.connection import Connections
from batcher.load.flight import Watched
from batcher.load.generator import Watch
from batcher.settings import Settings
from batcher.transport import Transport, Trust

_SPIN_SECONDS = 0.0015
"""Timers of event loops have steps of a millisecond; the rest of the way the loop turns without sleeping."""
_SWITCH_SECONDS = 0.0005
"""So long the thread that writes the ledger may keep the interpreter from a reply; Python's own figure is 5 ms."""


def load_surroundings(state_folder: Path | None) -> Surroundings:
    """As those of any run, but for clock and transport. Call it within a running event loop."""
    base = real_surroundings(state_folder)
    offset = base.clock.utc() - base.clock.now() + (base.clock.now() - time.monotonic())
    return replace(base, clock=Clock(time.monotonic, lambda: time.monotonic() + offset), transport=_connections)


def real_watch() -> Watch:
    """The machine's clocks."""
    return Watch(_until, time.process_time)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the interpreter from holding up replies: no thread for long, no collection of what is there already."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


async def _until(moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:  # noqa: ASYNC110 — the clock is what is waited for
        await anyio.sleep(max(0.0, left - _SPIN_SECONDS))


class _Watched(AbstractAsyncContextManager[Transport]):
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def __aenter__(self) -> Transport:
        return Watched(await self._connections.__aenter__(), time.monotonic)

    async def __aexit__(self, *error: object) -> None:
        await self._connections.__aexit__(None, None, None)


def _connections(settings: Settings, secrets: Secrets) -> AbstractAsyncContextManager[Transport]:
    target = settings.target
    trust = Trust(target.ca_file, target.tls_fingerprint, target.insecure)
    return _Watched(Connections(target.timeout_seconds, trust, secrets, time.monotonic))
