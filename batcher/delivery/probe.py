"""Probes: requests that change nothing, to learn whether the target is reachable and accepts the credentials."""

from __future__ import annotations

import math

import anyio

from batcher.core.verdict import Settled, Verdict
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.delivery.request_gate import RequestGate


class Probe:
    """Sends probes; shared by all workers."""

    def __init__(self, dialect: Dialect, inquiry: Inquiry, gate: RequestGate) -> None:
        self._dialect = dialect
        self._inquiry = inquiry
        self._gate = gate
        self._asking = anyio.Lock()
        self._answered_at = -math.inf

    def __repr__(self) -> str:
        return f"<Probe {self._dialect!r} {self._inquiry!r}>"

    async def ask(self) -> Verdict:
        """Probe the target: `Settled` if it is reachable and accepts the credentials.

        Raises:
            Abandoned: When the run ends first.

        """
        return await self._inquiry.once(self._dialect.probe, self._dialect.of_probe)

    async def is_answered(self) -> bool:
        """Whether the target answers a probe, so that some changes are what it cannot handle.

        Workers that ask at the same time share one probe.

        Raises:
            Abandoned: When the run ends first.

        """
        clock = self._gate.clock
        asked = clock.now()
        async with self._asking:
            self._gate.shutdown.check()
            if self._answered_at < asked and isinstance(await self.ask(), Settled):
                self._answered_at = clock.now()
            return self._answered_at >= asked
