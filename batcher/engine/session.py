"""One invocation: builds the parts from the settings, lets them run, and reports from the ledger."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from batcher.core.blame import Blame
from batcher.core.clock import Stamp
from batcher.core.concurrency import AdaptiveLimit, FixedLimit
from batcher.core.errors import BatcherError, ConfigurationError
from batcher.core.health import Health
from batcher.core.lanes import OrderBy, lane_keys
from batcher.core.late import LateRequests
from batcher.core.model import Batch, Limits, Settlement, Window
from batcher.core.report import Requests, Waited
from batcher.core.retry import RetryPolicy
from batcher.core.schedule import Schedule
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Credentials, Target
from batcher.core.units import parse_duration, parse_failures
from batcher.delivery.access import Access
from batcher.delivery.courier import Courier
from batcher.delivery.delivery import Exchange
from batcher.delivery.stopping import Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.admission import Turns
from batcher.engine.books import Books, OpenWindow
from batcher.engine.budget import Budget
from batcher.engine.feed import Work
from batcher.engine.observing import Observer, RunningParts
from batcher.engine.register import LONG_AGO, Register, RegisteredRun
from batcher.engine.run import Run
from batcher.engine.shared_pace import make_pacer
from batcher.engine.surroundings import Surroundings
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import Figures, LedgerWriter
from batcher.settings import Settings
from batcher.targets import create

_log = logging.getLogger(__name__)
STATE_ID = "state_id"
"""The fact of a ledger that tells with which state its run worked, wherever that state's file is."""
_MOST_WORKERS = 32


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session works with."""

    turnstile: Turnstile
    courier: Courier
    books: Books
    next_batch: int
    """The first number that no batch of the ledger has."""


@dataclass(slots=True, eq=False)
class Session:
    """The parts of one invocation, made by `Session.of`."""

    settings: Settings
    target: Target
    limits: Limits
    order_by: OrderBy
    ledger: LedgerWriter
    surroundings: Surroundings
    stopping: Stopping
    secrets: Secrets = field(default_factory=Secrets)
    turnstile: Turnstile | None = None
    books: Books | None = None
    courier: Courier | None = None
    late: LateRequests = field(init=False)
    health: Health = field(default_factory=Health)
    started: float = 0.0
    touched: Callable[[], None] = lambda: None
    """Called when the first request with changes leaves."""
    ended: Callable[[], None] = lambda: None
    """Called when the last one has come back, or nobody waits for it any more."""

    def __post_init__(self) -> None:
        self.late = LateRequests(self.settings.retry.grace_seconds, own_too=self.order_by is not OrderBy.PAIR)

    @staticmethod
    def of(settings: Settings, ledger: LedgerWriter, surroundings: Surroundings, stopping: Stopping) -> Session:
        """The parts that need no network.

        Raises:
            ConfigurationError: When the settings do not fit the target.

        """
        target = make_target(settings)
        order_by = OrderBy.INPUT if settings.input.ordered else OrderBy(settings.target.order_by)
        limits = settings.limits_for(target)
        return Session(settings, target, limits, order_by, ledger, surroundings, stopping)

    def register(self) -> Register | None:
        """Where runs on this target know of each other."""
        folder = self.surroundings.state_folder
        settings = self.settings.target
        return None if folder is None else Register(folder, self.target.name, self.target.url, settings.env)

    def register_at_first_send(self, facts: Mapping[str, str]) -> None:
        """Let other runs know of this one, once it has touched the target."""
        register = self.register()
        if register is not None and "simulated" not in facts:
            run = RegisteredRun(facts["run"], self.ledger.path)
            self.touched = lambda: register.touch(run, float(facts["started"]), facts.get(STATE_ID, ""))
            self.ended = lambda: register.ended(run.run, self._last_end())

    def _last_end(self) -> Stamp:
        """When other runs may take it that the last request of this one was lost, if any was."""
        is_settled = self.books is not None and not self.books.tally[Status.PENDING]
        return LONG_AGO if is_settled and self.late.is_empty else self.surroundings.clock.stamp()

    def remember_lost(self, window: Window, rows: Settlement | None, age: float, *, is_foreign: bool = False) -> None:
        """A request for these rows (all of the window's when None) may still arrive; it was lost `age` seconds ago.

        The windows of another run (`is_foreign`) are none of ours, whatever their numbers.
        """
        columns = window.columns
        index = slice(None) if rows is None else rows.rows
        valid = columns.action[index] <= 1
        user, group = columns.user.take(index).take(valid), columns.group.take(index).take(valid)
        moment = self.surroundings.clock.now() - age
        number = -1 - window.id if is_foreign else window.id
        self.late.lost(number, lane_keys(user, group, self.order_by), columns.action[index][valid], moment)

    def remember_unknown(self, age: float) -> None:
        """Requests of another run that nobody knows were lost `age` seconds ago."""
        self.late.lost_anything(self.surroundings.clock.now() - age)

    async def work(
        self,
        kind: str,
        works: AsyncIterator[Work],
        credentials: Credentials,
        observer: Observer,
        turns: Turns = Turns(),  # noqa: B008 — frozen
    ) -> Run:
        """Run until everything is settled or the run is stopped; the session is then recorded in the ledger."""
        blame = Blame()

        def told(window: OpenWindow, settlement: Settlement) -> None:
            run.told(window, settlement)
            observer.settled(window, settlement)

        def accepted_once() -> bool:
            return blame.accepted_once

        async with self.at_work(kind, credentials, told, accepted_once, observer.exchanged) as parts:
            run = Run(
                works,
                parts.books,
                parts.courier,
                Schedule(self.order_by, self.late, blame),
                blame,
                self.health,
                parts.turnstile,
                self.stopping,
                self.surroundings.clock,
                self.surroundings.executor,
                limits=self.limits,
                wire=self.target.wire,
                order_by=self.order_by,
                workers=parts.turnstile.limit.ceiling + 1,  # one more has its request ready when a place becomes free
                first_batch=parts.next_batch,
                budget=self._budget(),
                request_seconds=self.settings.target.timeout_seconds,
                after_refusals=self.settings.guard.after_refusals,
                opened=observer.opened,
                delivered=observer.delivered,
                turns=turns,
            )
            observer.started(self._running(parts, run))
            await run.run()
        return run

    def _running(self, parts: Parts, run: Run) -> RunningParts:
        return RunningParts(
            self.ledger.run,
            self.ledger.path,
            self.target.name,
            self.surroundings.clock,
            self.stopping,
            parts.turnstile,
            parts.courier,
            parts.books,
            run,
            self.figures,
        )

    @asynccontextmanager
    async def at_work(
        self,
        kind: str,
        credentials: Credentials,
        told: Callable[[OpenWindow, Settlement], None],
        has_succeeded: Callable[[], bool],
        exchanged: Callable[[Batch, Exchange], None],
    ) -> AsyncIterator[Parts]:
        """The parts that reach the target, and the books; the ledger knows of the session while the body runs."""
        clock, settings = self.surroundings.clock, self.settings
        self.started = clock.now()
        self.ledger.begin_session(kind, clock.stamp())
        with LedgerReader(self.ledger.path) as reader:
            tally = reader.tally()
            _, _, next_batch = reader.next_ids()
        async with self.surroundings.transport(settings) as transport:
            pacer = make_pacer(settings, self.target, self.surroundings)
            turnstile = Turnstile(transport, pacer, self._limit(), clock, self.stopping)
            courier = Courier(
                self.target,
                Access(self.target, credentials, turnstile, self.secrets),
                turnstile,
                self.health,
                self.late,
                self.order_by,
                RetryPolicy(settings.retry.max_attempts, settings.retry.base_seconds, settings.retry.max_seconds),
                clock,
                self.surroundings.dice,
                self.stopping,
                repeats_accepted=settings.target.repeats == "accepted",
                has_succeeded=has_succeeded,
                departs=lambda batch: self._departs(books, batch),
                exchanged=exchanged,
            )
            books = Books(self.ledger, tally, self.surroundings.executor, self.figures, told, clock.utc)
            self.turnstile, self.courier, self.books = turnstile, courier, books
            try:
                yield Parts(turnstile, courier, books, next_batch)
            finally:
                pacer.close()
                stopping = self.stopping
                with _ignoring_a_dead_ledger(stopping):
                    books.withdraw()
                    self.ledger.end_session(self.figures(), clock.stamp(), stopping.cause, stopping.reason)
                if courier.requests.sent:
                    self.ended()

    def _departs(self, books: Books, batch: Batch) -> None:
        if self.courier is not None and not self.courier.requests.sent:
            self.touched()
        books.departs(batch)

    def figures(self) -> Figures:
        """What this invocation has done so far."""
        requests = self.courier.requests if self.courier else Requests()
        seconds = self.surroundings.clock.now() - self.started
        if self.turnstile is None:
            return Figures(seconds, requests, Waited(), 0, 0, {})
        turnstile, took = self.turnstile, self.courier.took if self.courier else {}
        return Figures(seconds, requests, turnstile.waited, turnstile.in_flight, turnstile.limit.limit, took)

    def _limit(self) -> AdaptiveLimit:
        if self.order_by is OrderBy.INPUT:
            return FixedLimit(1)
        most = self.settings.rate.max_in_flight
        return AdaptiveLimit(ceiling=_MOST_WORKERS) if most == "auto" else FixedLimit(most)

    def _budget(self) -> Budget:
        guard = self.settings.guard
        count, share = parse_failures(guard.max_failures) if guard.max_failures else (None, None)
        deadline = parse_duration(guard.deadline) if guard.deadline else None
        return Budget(count, share, deadline, parse_duration(self.settings.retry.max_wait))


def make_target(settings: Settings) -> Target:
    """The target that the settings name.

    Raises:
        ConfigurationError: When they name none.

    """
    return create(settings.target.kind, settings.target.url, settings.target.env)


def check_credentials(target: Target, given: Credentials) -> None:
    """See that there is anything to prove who we are.

    Raises:
        ConfigurationError: When there is not.

    """
    if not given.token and target.login(given, 0.0) is None:
        raise ConfigurationError(
            "no credentials: set BATCHER_TOKEN or auth.token_file"
            " (for a login: BATCHER_CLIENT_ID and BATCHER_CLIENT_SECRET)"
        )


class _ignoring_a_dead_ledger:  # noqa: N801 — reads as a statement
    """Where the ledger was what stopped the run, writing its end may fail as well."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, BatcherError) and self._stopping.ledger_is_dead
