"""One request that changes nothing: are address and credentials right?"""

from __future__ import annotations

from dataclasses import dataclass

from batcher.core.blame import Blame
from batcher.core.concurrency import FixedLimit
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials
from batcher.core.verdict import Cause, Settled, Stop
from batcher.delivery.access import Access
from batcher.delivery.dialect import Dialect
from batcher.delivery.probe import Probe
from batcher.delivery.stopping import Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.job import preflight
from batcher.engine.shared_pace import make_pacer
from batcher.engine.surroundings import Surroundings
from batcher.settings import Settings


@dataclass(frozen=True, slots=True)
class Probed:
    """What stands in the way of a run, None when nothing does; and the address that has answered."""

    stop: Stop | None
    peer: str = ""


async def probe(settings: Settings, credentials: Credentials, surroundings: Surroundings) -> Probed:
    """Ask the target what changes nothing; paced like a run's own requests."""
    target, secrets = preflight(settings, credentials), Secrets()
    pacer = make_pacer(settings, target, surroundings)
    async with surroundings.transport(settings) as transport:
        turnstile = Turnstile(transport, pacer, FixedLimit(1), surroundings.clock, Stopping())
        asked = Probe(Dialect(target, secrets), Access(target, credentials, turnstile, secrets), turnstile, Blame())
        try:
            verdict = await asked.ask()
        finally:
            pacer.close()
    if isinstance(verdict, Settled):
        return Probed(None, asked.peer)
    return Probed(verdict if isinstance(verdict, Stop) else Stop(Cause.OUTAGE, verdict.reason), asked.peer)
