"""What a run works with once it reaches its target: made in one place, each part when all that it needs is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from batcher.core.errors import BatcherError
from batcher.core.evidence import Evidence
from batcher.core.model import Batch
from batcher.core.retry import RetryPolicy
from batcher.core.schedule import Schedule
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.delivery.access import Access
from batcher.delivery.courier import Courier
from batcher.delivery.delivery import Exchange
from batcher.delivery.dialect import Dialect
from batcher.delivery.stopping import Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.books import Books
from batcher.engine.register import LONG_AGO
from batcher.engine.session import Registration, Session
from batcher.engine.shared_pace import make_pacer
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import Figures


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts that all workers share."""

    session: Session
    evidence: Evidence
    schedule: Schedule
    turnstile: Turnstile
    courier: Courier
    books: Books
    next_id: Callable[[], int]
    """Numbers that no batch of the ledger has."""
    started: float
    """Monotonic seconds."""

    def figures(self) -> Figures:
        """What this invocation has done so far."""
        turnstile, courier = self.turnstile, self.courier
        seconds = self.session.surroundings.clock.now() - self.started
        return Figures(
            seconds, courier.requests, turnstile.waited, turnstile.in_flight, turnstile.limit.limit, courier.took
        )


@asynccontextmanager
async def parts_of(
    session: Session, kind: str, credentials: Credentials, exchanged: Callable[[Batch, Exchange], None]
) -> AsyncIterator[Parts]:
    """The parts; the ledger has a session of this kind while the body runs. `exchanged` is as of `Courier`."""
    clock, settings, stopping, ledger = session.surroundings.clock, session.settings, session.stopping, session.ledger
    started = clock.now()
    ledger.begin_session(kind, clock.stamp())
    with LedgerReader(ledger.path) as reader:
        tally = reader.tally()
        _, _, next_batch = reader.next_ids()
    async with session.surroundings.transport(settings) as transport:
        pacer = make_pacer(settings, session.target, session.surroundings)
        turnstile = Turnstile(transport, pacer, session.limit_in_flight(), clock, stopping)
        evidence = Evidence(session.order_by, session.late)
        books = Books(ledger, tally, session.surroundings.executor, clock.utc)
        secrets, retry = Secrets(), settings.retry
        courier = Courier(
            Dialect(session.target, secrets, repeats_accepted=settings.target.repeats == "accepted"),
            Access(session.target, credentials, turnstile, secrets),
            turnstile,
            evidence,
            RetryPolicy(retry.max_attempts, retry.base_seconds, retry.max_seconds, session.surroundings.dice),
            _Departures(session.registration, books),
            exchanged,
        )
        schedule = Schedule(evidence.order_by, evidence.late, evidence.blame)
        parts = Parts(session, evidence, schedule, turnstile, courier, books, count(next_batch).__next__, started)
        try:
            yield parts
        finally:
            pacer.close()
            with _ignoring_a_dead_ledger(stopping):
                books.withdraw()
                ledger.end_session(parts.figures(), clock.stamp(), stopping.cause, stopping.reason)
            if courier.requests.sent:
                is_clear = not books.tally[Status.PENDING] and session.late.is_empty
                session.registration.ended(LONG_AGO if is_clear else clock.stamp())


class _Departures:
    """Who is told when a request with changes leaves: other runs of the first, the books of each."""

    def __init__(self, registration: Registration, books: Books) -> None:
        self._registration = registration
        self._books = books
        self._is_first = True

    def __call__(self, batch: Batch) -> None:
        if self._is_first:
            self._is_first = False
            self._registration.begun()
        self._books.departs(batch)


class _ignoring_a_dead_ledger:  # noqa: N801 — reads as a statement
    """Where the ledger was what stopped the run, writing its end may fail as well."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, BatcherError) and self._stopping.ledger_is_dead
