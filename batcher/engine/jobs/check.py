"""`check`: sends one request that changes nothing, to see whether the address and the credentials are right."""

from __future__ import annotations

from dataclasses import dataclass

from batcher.core.verdict import Cause, Settled, Stop
from batcher.delivery.probe import Probe
from batcher.engine.jobs.asking import Access, asking
from batcher.engine.jobs.job import preflight


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of a check: why a run would stop (None: it would not), and the address that answered."""

    stop: Stop | None
    peer: str = ""


async def probe(access: Access) -> Probed:
    """Send the target a request that changes nothing; it counts towards the rate like the requests of a run."""
    target = preflight(access.settings, access.credentials)
    async with asking(target, access, at_once=1) as asked:
        verdict = await Probe(asked.dialect, asked.inquiry, asked.gate).ask()
    if isinstance(verdict, Settled):
        return Probed(None, asked.inquiry.peer)
    return Probed(verdict if isinstance(verdict, Stop) else Stop(Cause.OUTAGE, verdict.reason), asked.inquiry.peer)
