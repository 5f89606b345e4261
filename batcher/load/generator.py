"""One generator: arrivals by the clock, each delivered as in any run, with a stop-watch on every request."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from operator import attrgetter

import anyio

from batcher.core.arrivals import Arrivals
from batcher.core.errors import LedgerError
from batcher.core.model import Batch, Status
from batcher.core.report import Requests
from batcher.core.verdict import Cause
from batcher.delivery.stopping import Abandoned
from batcher.engine.books import OpenWindow
from batcher.engine.feed import Work
from batcher.engine.session import Parts, Session
from batcher.load.flight import CURRENT, Flight
from batcher.load.latencies import Latencies
from batcher.load.measurement import Interval
from batcher.load.recorder import Gauges, Recorder
from batcher.load.supply import Supply

_OVERTIME_SECONDS = 5.0
"""Requests that are overdue at the end of the schedule may still leave for so long; then they are dropped."""
_LOOK_SECONDS = 0.05
_DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Time as a generator needs it."""

    until: Callable[[float], Awaitable[None]]
    """Waits until a moment of the session's clock, to some microseconds where that can be had."""
    cpu: Callable[[], float]
    """Seconds of processor that this process has used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When to send. Without arrivals it is a closed loop: as much as the places allow, each as soon as one is free."""

    arrivals: Arrivals | None
    most: float = math.inf
    """Requests."""
    seconds: float = math.inf
    """How long, after the warm-up; of a closed loop."""
    warm_up: float = 0.0
    in_order: bool = False
    """Whether no window is sent before everything before it is settled."""

    @property
    def planned(self) -> float:
        """How many requests at most."""
        return min(self.most, math.inf if self.arrivals is None else len(self.arrivals))


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What a generator saw."""

    recorder: Recorder
    intervals: list[Interval]
    requests: Requests
    seconds: float
    cpu_share: float
    lag: float
    """Seconds within which 99 % of the requests were ready after they were due and a place was free."""


class Generator:
    """Sends what is due. Its workers wait for the clock one at a time, and deliver side by side."""

    def __init__(self, session: Session, parts: Parts, plan: Plan, watch: Watch) -> None:
        self._session = session
        self._parts = parts
        self._plan = plan
        self._watch = watch
        self._now = session.surroundings.clock.now
        self._next_id = count(parts.next_batch).__next__
        self._start = self._ends = 0.0
        self._launched = 0
        self._most = plan.planned
        self._choosing = anyio.Lock(fast_acquire=True)
        self._before: Requests | None = None
        self.recorder = Recorder(0.0, self._gauges)
        self.supply: Supply | None = None

    def __repr__(self) -> str:
        return f"<Generator {self._launched} of {self._most:g} launched, {self.recorder!r}>"

    def missing(self) -> float:
        """How many requests have not been made yet of those that will be sent."""
        return self._most - (self.supply.made if self.supply else 0)

    async def run(self, works: AsyncIterator[Work], start: float) -> Finding:
        """Until everything that was due has its final word, or the run is stopped.

        Args:
            works: The windows.
            start: When the first request is due (monotonic seconds); later, if nothing is ready then.

        """
        session = self._session
        self.supply = Supply(
            works,
            self._parts.books,
            session.stopping,
            session.surroundings.executor,
            limits=session.limits,
            wire=session.target.wire,
            next_id=self._next_id,
            in_order=self._plan.in_order,
        )
        async with anyio.create_task_group() as around:
            around.start_soon(self.supply.run)
            await self.supply.ready()
            self._begin(max(start, self._now()))
            await self._watch.until(self._start)
            cpu = self._watch.cpu()
            around.start_soon(self._look)
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._write)
                try:
                    async with anyio.create_task_group() as working:
                        around.start_soon(self._end_when_stopped, working.cancel_scope)
                        for _ in range(self._parts.turnstile.limit.ceiling + 1):  # one more waits for a place
                            working.start_soon(self._work, self.supply)
                finally:
                    cpu, ended = self._watch.cpu() - cpu, self._now()
                    with anyio.CancelScope(shield=True):
                        await self._parts.books.close()
            around.cancel_scope.cancel()
        if not session.stopping.is_set:
            self._drop_the_rest(ended)
        return self._finding(ended, cpu)

    def told(self, window: OpenWindow) -> None:
        """Something of a window is on the disk: forget it when nothing of it is open."""
        if not window.unsettled:
            del self._parts.books.open[window.window.id]
            if self.supply is not None:
                self.supply.settled.wake()

    def _begin(self, start: float) -> None:
        self._start = start
        arrivals, plan = self._plan.arrivals, self._plan
        self._ends = start + (plan.warm_up + plan.seconds if arrivals is None else arrivals.seconds)
        self.recorder = Recorder(start + plan.warm_up, self._gauges)

    def told_so_far(self) -> list[str]:
        """For a line that people watch."""
        intended = self.recorder.latencies("intended")
        told = [f"{self._launched:,} requests", f"{self._parts.turnstile.in_flight} in flight"]
        told += [f"p99 {intended.percentile(99) * 1000:.1f} ms"] if len(intended) else ["warming up"]
        errors = sum(self.recorder.errors.values())
        return told + ([f"{errors:,} errors"] if errors else [])

    # Out.

    async def _work(self, supply: Supply) -> None:
        try:
            while (flight := await self._next_flight(supply)) is not None:
                await self._fly(*flight)
        except Abandoned:
            return

    async def _next_flight(self, supply: Supply) -> tuple[Flight, Batch] | None:
        """What is due next, when it is due; None when there is nothing more to send."""
        async with self._choosing:
            free = self._now()
            due = self._due(free)
            if due > self._ends or self._launched >= self._most:
                return None
            await self._watch.until(due)
            self._session.stopping.check()
            if self._now() > self._ends + _OVERTIME_SECONDS:
                return None
            batch = await supply.next()
            now = self._now()
            if batch is None:
                self._most = self._launched
                return None
            if self._before is None and due >= self.recorder.begin:
                self._before = replace(self._parts.courier.requests)
            self._launched += 1
            flight = Flight(due)
            self.recorder.launched(flight, now - max(due, free))
            return flight, batch

    def _due(self, now: float) -> float:
        arrivals = self._plan.arrivals
        if arrivals is None:
            return now
        return self._start + arrivals.due(self._launched) if self._launched < len(arrivals) else math.inf

    async def _fly(self, flight: Flight, batch: Batch) -> None:
        """Deliver it and every piece of it."""
        CURRENT.set(flight)
        waiting, accepted, refused = [batch], 0, 0
        while waiting:
            current = waiting.pop()
            delivered = await self._parts.courier.deliver(current)
            if delivered.stop is not None:
                self._session.stopping.stop(delivered.stop.cause, delivered.stop.reason)
            words = (*delivered.settled, *(refusal.settlement for refusal in delivered.refused))
            for word in words:
                accepted += int((word.status <= Status.UNCHANGED).sum())
                await self._parts.books.settle(word)
            refused += sum(
                attempt.times
                for attempt in delivered.history[len(current.history) :]
                if attempt.said and attempt.http_status is not None and attempt.http_status < 400  # noqa: PLR2004
            )
            waiting += [
                Batch(self._next_id(), current.window, ops, current.user, current.group, delivered.history)
                for ops in reversed(delivered.pieces)
            ]
        self.recorder.landed(flight, self._now(), changes=accepted, refused=refused)

    def _drop_the_rest(self, now: float) -> None:
        """What was due and never left is not forgotten: it would have been the slowest."""
        arrivals = self._plan.arrivals
        if arrivals is not None:
            for number in range(self._launched, int(self._most)):
                self.recorder.dropped(self._start + arrivals.due(number), now)

    # Around.

    async def _write(self) -> None:
        try:
            await self._parts.books.write()
        except LedgerError as error:
            self._session.stopping.stop(Cause.LEDGER, str(error))

    async def _look(self) -> None:
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self._now() >= self.recorder.begin:
                self.recorder.look(self._now())

    async def _end_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self._session.stopping.wait()
        await anyio.sleep(_DRAIN_SECONDS)
        scope.cancel()

    def _gauges(self) -> Gauges:
        turnstile = self._parts.turnstile
        return Gauges(turnstile.in_flight, turnstile.limit.limit, turnstile.waited)

    def _finding(self, ended: float, cpu: float) -> Finding:
        after, before = self._parts.courier.requests, self._before or Requests()
        names = ("sent", "ok", "retried", "split")
        requests = Requests(*(attrgetter(name)(after) - attrgetter(name)(before) for name in names))
        elapsed = ended - self._start
        seconds = max(0.0, max(self.recorder.last, min(ended, self._ends)) - self.recorder.begin)
        intervals = self.recorder.finish(ended)
        lag = Latencies.merged(self.recorder.lags).percentile(99)
        return Finding(self.recorder, intervals, requests, seconds, cpu / elapsed if elapsed > 0 else 0.0, lag)
