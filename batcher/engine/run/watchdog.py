"""Ends a run that makes no progress although it waits for nothing, because of a disk that hangs or a bug."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from batcher.core.units import spoken
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown

STALLED_SECONDS = 300.0
"""How long a run may make no progress, in addition to the longest time that a request may take."""
_LOOKS = 10


class Watchdog:
    """`pulse` returns a text that changes with any progress; `waits` tells whether the run is waiting on purpose."""

    def __init__(
        self,
        pulse: Callable[[], str],
        waits: Callable[[], bool],
        patience: float,
        shutdown: Shutdown,
    ) -> None:
        self._pulse = pulse
        self._waits = waits
        self._patience = patience
        self._shutdown = shutdown

    def __repr__(self) -> str:
        return f"<Watchdog patience={self._patience:g} pulse={self._pulse()}>"

    async def run(self) -> None:
        """Check periodically, until the run ends."""
        last, still = self._pulse(), 0
        while True:
            await anyio.sleep(self._patience / _LOOKS)
            pulse = self._pulse()
            # Counts checks instead of seconds: a process that was suspended has not been stuck in that time.
            still = 0 if pulse != last or self._waits() else still + 1
            last = pulse
            if still == _LOOKS:
                self._shutdown.stop(Cause.STALLED, f"nothing has moved for {spoken(self._patience)}: {pulse}")
                return
