"""`check`: sends one request that changes nothing, to see whether the address and the credentials are right."""

from __future__ import annotations

from dataclasses import dataclass

from batcher.core.blame import Blame
from batcher.core.concurrency import FixedLimit
from batcher.core.retry import RetryPolicy
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials
from batcher.core.verdict import Cause, Settled, Stop
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.delivery.probe import Probe
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.shutdown import Shutdown
from batcher.delivery.token_provider import TokenProvider
from batcher.engine.jobs.job import preflight
from batcher.host.runtime import Runtime
from batcher.host.shared_rate import make_pacer
from batcher.settings import Settings


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of a check: why a run would stop (None: it would not), and the address that answered."""

    stop: Stop | None
    peer: str = ""


async def probe(settings: Settings, credentials: Credentials, runtime: Runtime) -> Probed:
    """Send the target a request that changes nothing; it counts towards the rate like the requests of a run."""
    target, secrets = preflight(settings, credentials), Secrets()
    pacer = make_pacer(settings, target, runtime)
    async with runtime.transport(settings) as transport:
        gate = RequestGate(transport, pacer, FixedLimit(1), runtime.clock, Shutdown())
        policy = RetryPolicy(
            settings.retry.max_attempts, settings.retry.base_seconds, settings.retry.max_seconds, runtime.rng
        )
        asked = Inquiry(TokenProvider(target, credentials, gate, secrets), gate, Blame(), policy)
        try:
            verdict = await Probe(Dialect(target, secrets), asked, gate).ask()
        finally:
            pacer.close()
    if isinstance(verdict, Settled):
        return Probed(None, asked.peer)
    return Probed(verdict if isinstance(verdict, Stop) else Stop(Cause.OUTAGE, verdict.reason), asked.peer)
