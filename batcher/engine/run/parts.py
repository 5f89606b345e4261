"""The parts of a run that all workers share, created in one place, in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from batcher.core.batch import Batch
from batcher.core.errors import BatcherError
from batcher.core.evidence import Evidence
from batcher.core.reading import OffersReading
from batcher.core.schedule import Schedule
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.delivery.deliverer import Deliverer
from batcher.delivery.delivery import Exchange
from batcher.delivery.dialect import Dialect
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.shutdown import Shutdown
from batcher.delivery.token_provider import TokenProvider
from batcher.engine.run.announced import Announced
from batcher.engine.run.committer import Committer
from batcher.engine.run.group_reader import GroupReader
from batcher.engine.run.resolver import Resolver, resolver_of
from batcher.engine.run.session import Registration, Session, readable
from batcher.engine.run.skipping import Skipper
from batcher.host.run_registry import LONG_AGO
from batcher.host.shared_rate import make_pacer
from batcher.ledger.reader import LedgerReader
from batcher.ledger.sessions import Figures

RETRY = "retry"
"""The kind of a retry's sessions."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts that all workers share."""

    session: Session
    evidence: Evidence
    schedule: Schedule
    gate: RequestGate
    deliverer: Deliverer
    resolver: Resolver | None
    """Looks up names, if that is done at this target."""
    skipper: Skipper | None
    """Finds what need not be sent, if that is wanted."""
    committer: Committer
    next_id: Callable[[], int]
    """Returns a number that no batch in the ledger has."""
    started: float
    """In monotonic seconds."""

    def figures(self) -> Figures:
        """Counts and times of this invocation so far."""
        gate, deliverer = self.gate, self.deliverer
        seconds = self.session.runtime.clock.now() - self.started
        return Figures(seconds, deliverer.requests, gate.waited, gate.in_flight, gate.limit.limit, deliverer.took)


def _reads_first(session: Session, kind: str, *, is_new: bool) -> bool:
    """Whether the target is read before changes are sent. Of a run that is resumed, some was sent already."""
    target = session.target
    can_be_read = isinstance(target, OffersReading) and target.can_be_read
    return can_be_read and ((is_new and session.settings.target.skip_unchanged) or kind == RETRY)


@asynccontextmanager
async def parts_of(
    session: Session, kind: str, credentials: Credentials, exchanged: Callable[[Batch, Exchange], None] | None
) -> AsyncIterator[Parts]:
    """Create the parts; the ledger has a session of this kind while the body runs. For `exchanged` see `Deliverer`."""
    clock, settings, shutdown, ledger = session.runtime.clock, session.settings, session.shutdown, session.ledger
    started = clock.now()
    ledger.begin_session(kind, clock.stamp())
    with LedgerReader(ledger.path) as reader:
        tally = reader.tally()
        next_window, _, next_batch = reader.next_ids()
    async with session.runtime.transport(settings) as transport:
        pacer = make_pacer(settings, session.target, session.runtime)
        gate = RequestGate(transport, pacer, session.limit_in_flight(), clock, shutdown)
        evidence = Evidence(session.order_by, session.in_doubt)
        committer = Committer(ledger, tally, session.runtime.executor, clock.utc)
        secrets = Secrets()
        dialect = Dialect(session.target, secrets, repeats_accepted=settings.target.repeats == "accepted")
        deliverer = Deliverer(
            dialect,
            TokenProvider(session.target, credentials, gate, secrets),
            gate,
            evidence,
            settings.retry.policy(session.runtime.rng),
            _Departures(session.registration, committer),
            exchanged,
        )
        schedule = Schedule(evidence.order_by, evidence.in_doubt, evidence.blame)
        announced = Announced(dialect, deliverer.inquiry, committer.note)
        resolver = resolver_of(session, dialect, deliverer.inquiry, announced)
        skipper = None
        if _reads_first(session, kind, is_new=not next_window):
            skipper = Skipper(GroupReader(readable(session.target), dialect, deliverer.inquiry, announced))
        next_id = count(next_batch).__next__
        parts = Parts(session, evidence, schedule, gate, deliverer, resolver, skipper, committer, next_id, started)
        try:
            yield parts
        finally:
            pacer.close()
            if resolver is not None:
                resolver.close()
            with _ignoring_a_dead_ledger(shutdown):
                committer.withdraw()
                ledger.end_session(parts.figures(), clock.stamp(), shutdown.cause, shutdown.reason)
            if deliverer.requests.sent:
                is_clear = not committer.tally[Status.PENDING] and session.in_doubt.is_empty
                session.registration.ended(LONG_AGO if is_clear else clock.stamp())


class _Departures:
    """Called when a request with changes leaves: tells the committer and, at the first one, registers the run."""

    def __init__(self, registration: Registration, committer: Committer) -> None:
        self._registration = registration
        self._committer = committer
        self._is_first = True

    def __call__(self, batch: Batch) -> None:
        if self._is_first:
            self._is_first = False
            self._registration.begun()
        self._committer.departs(batch)


class _ignoring_a_dead_ledger:  # noqa: N801 — reads as a statement
    """Ignores errors while the end of the session is recorded, if the ledger is what stopped the run."""

    def __init__(self, shutdown: Shutdown) -> None:
        self._shutdown = shutdown

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, BatcherError) and self._shutdown.ledger_is_dead
