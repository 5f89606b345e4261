"""Asking a target without a run: for `check`, and for what is looked up before a run begins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from batcher.core.blame import Blame
from batcher.core.concurrency import FixedLimit
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials, Target
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.shutdown import Shutdown
from batcher.delivery.token_provider import TokenProvider
from batcher.host.runtime import Runtime
from batcher.host.shared_rate import make_pacer
from batcher.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """How a target is reached, and who ends it."""

    settings: Settings
    credentials: Credentials
    runtime: Runtime
    shutdown: Shutdown = field(default_factory=Shutdown)


@dataclass(frozen=True, slots=True)
class Asking:
    """What asks a target."""

    dialect: Dialect
    inquiry: Inquiry
    gate: RequestGate


@asynccontextmanager
async def asking(target: Target, access: Access, at_once: int) -> AsyncIterator[Asking]:
    """Connect to the target while the body runs; requests count towards the rate like those of a run.

    At most `at_once` of them are in flight together.
    """
    settings, runtime, secrets = access.settings, access.runtime, Secrets()
    pacer = make_pacer(settings, target, runtime)
    try:
        async with runtime.transport(settings) as transport:
            gate = RequestGate(transport, pacer, FixedLimit(at_once), runtime.clock, access.shutdown)
            tokens = TokenProvider(target, access.credentials, gate, secrets)
            inquiry = Inquiry(tokens, gate, Blame(), settings.retry.policy(runtime.rng))
            yield Asking(Dialect(target, secrets), inquiry, gate)
    finally:
        pacer.close()
