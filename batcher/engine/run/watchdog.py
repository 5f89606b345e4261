"""Ends a run that no longer moves although it waits for nothing: a disk that hangs, or a fault of our own."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from batcher.core.units import spoken
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown

STALLED_SECONDS = 300.0
"""Beyond the longest that a request may take."""
_LOOKS = 10


class Watchdog:
    """`pulse` gives a text that changes whenever anything moves; `waits` tells of a wait that is meant."""

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
        """Look now and then."""
        last, still = self._pulse(), 0
        while True:
            await anyio.sleep(self._patience / _LOOKS)
            pulse = self._pulse()
            # Looks are counted, not seconds: a process that was suspended has not stood still, it was not there.
            still = 0 if pulse != last or self._waits() else still + 1
            last = pulse
            if still == _LOOKS:
                self._shutdown.stop(Cause.STALLED, f"nothing has moved for {spoken(self._patience)}: {pulse}")
                return
