"""One generator: arrivals by the clock, each delivered as in any run, with a stop-watch on every request."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from operator import attrgetter

import anyio

from batcher.core.errors import LedgerError
from batcher.core.lanes import lane_keys
from batcher.core.model import Batch, Settlement
from batcher.core.report import Requests
from batcher.core.status import IN_EFFECT, are
from batcher.core.verdict import Cause
from batcher.delivery.delivery import Exchange
from batcher.delivery.stopping import Abandoned
from batcher.engine.books import OpenWindow
from batcher.engine.feed import Work
from batcher.engine.intake import Intake
from batcher.engine.session import Parts, Session
from batcher.engine.signal import Signal
from batcher.load.flight import CURRENT, Flight
from batcher.load.plan import Finding, Plan, Watch
from batcher.load.recorder import Gauges, Recorder
from batcher.load.supply import Ahead, Supply

_OVERTIME_SECONDS = 5.0
"""Requests that are overdue at the end of the schedule may still leave for so long; then they are dropped."""
_LOOK_SECONDS = 0.05
_DRAIN_SECONDS = 10.0
_MOST_WORDS, _MOST_ROWS = 50_000, 2_000_000
"""Final words, and changes in them, that are kept until they are written down: those of a run of ordinary length."""
_AHEAD = Ahead(20_000, 500_000)
_PATIENCE_SECONDS = 30.0
"""After the end of the schedule; then what is still tried again is given up."""


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
        self._stopped_at = math.inf
        self._launched = self._counted = self._flying = 0
        self._full_until = -math.inf
        """When the last place became free that was needed."""
        self._words: list[Settlement] = []
        self._rows = 0
        """In those."""
        self._is_over = False
        self._choosing = anyio.Lock(fast_acquire=True)
        self._landed = Signal()
        self._made = anyio.Event()
        self._before: Requests | None = None
        self.recorder = Recorder(0.0, self._gauges)
        self.supply: Supply | None = None

    def __repr__(self) -> str:
        return f"<Generator {self._launched} launched, {self._flying} in the air, {self.recorder!r}>"

    def missing(self) -> float:
        """How many batches are still to be made; of a closed loop nobody knows before the warm-up is over."""
        made = self.supply.made if self.supply else 0
        if self._plan.arrivals is not None:
            return self._plan.planned - made
        if self._plan.warm_up and not self._counted:
            return math.inf
        return self._plan.most + self._launched - self._counted - made

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
            ahead=_AHEAD,
            held_for=self._held_for,
        )
        async with anyio.create_task_group() as around:
            making = anyio.CancelScope()
            around.start_soon(self._make, self.supply, making)
            await self.supply.filled()
            self._begin(max(start, self._now()))
            await anyio.sleep(max(0.0, self._start - self._watch.lead - self._now()))
            cpu = self._watch.cpu()
            around.start_soon(self._look)
            around.start_soon(self._end_when_nothing_comes)
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._write)
                try:
                    async with anyio.create_task_group() as working:
                        around.start_soon(self._end_when_stopped, working.cancel_scope)
                        for _ in range(self._workers()):
                            working.start_soon(self._work, self.supply)
                finally:
                    cpu, ended = self._watch.cpu() - cpu, self._now()
                    with anyio.CancelScope(shield=True), suppress(Abandoned, LedgerError):
                        await self._settle_all()
                        await self._forget_what_is_left(making)
                    with anyio.CancelScope(shield=True):
                        await self._parts.books.close()
            around.cancel_scope.cancel()
        self._drop_the_rest(ended)
        return self._finding(ended, cpu)

    def told(self, window: OpenWindow) -> None:
        """Something of a window is on the disk: forget it when nothing of it is open."""
        if not window.unsettled:
            del self._parts.books.open[window.window.id]
            if self.supply is not None:
                self.supply.settled.wake()

    def exchanged(self, _: Batch, exchange: Exchange) -> None:
        """The running task's arrival had a request answered, or not."""
        flight = CURRENT.get()
        flight.note(exchange)
        if flight.is_counted:
            self.recorder.exchanged(exchange, self._now())

    def told_so_far(self) -> list[str]:
        """For a line that people watch."""
        intended = self.recorder.intended
        told = [f"{self._launched:,} requests", f"{self._parts.turnstile.in_flight} in flight"]
        told += [f"p99 {intended.percentile(99) * 1000:.1f} ms"] if len(intended) else ["warming up"]
        errors = sum(self.recorder.errors.values())
        return told + ([f"{errors:,} errors"] if errors else [])

    def _held_for(self, intake: Intake) -> float:
        """Law 2: an opposite change waits for what was lost and may still arrive, of other runs, too."""
        late, order_by = self._session.late, self._session.order_by
        number, columns, now = intake.window.window.id, intake.window.window.columns, self._now()
        if not late.any(number, now):
            return 0.0
        rows = intake.rows
        keys = lane_keys(columns.user.take(rows), columns.group.take(rows), order_by)
        return late.until(number, keys, columns.action[rows]) - now

    def _begin(self, start: float) -> None:
        self._start = start
        arrivals, plan = self._plan.arrivals, self._plan
        self._ends = start + (plan.warm_up + plan.seconds if arrivals is None else arrivals.seconds)
        self.recorder = Recorder(start + plan.warm_up, self._gauges)

    def _workers(self) -> int:
        """In an open loop one more than there are places, so that it is known what waits for a place."""
        return self._parts.turnstile.limit.ceiling + (self._plan.arrivals is not None)

    # Out.

    async def _work(self, supply: Supply) -> None:
        try:
            while (flight := await self._next_flight(supply)) is not None:
                await self._fly(*flight)
        except Abandoned:
            return

    async def _next_flight(self, supply: Supply) -> tuple[Flight, Batch] | None:
        """What is due next, shortly before it is; None when there is nothing more to send."""
        async with self._choosing:
            if self._plan.arrivals is None:
                await self._place()
            now = self._now()
            due = self._due(now)
            if self._is_over or due > self._ends:
                return None
            await self._session.stopping.pause(max(0.0, due - self._watch.lead - now))
            if self._now() > self._ends + _OVERTIME_SECONDS:
                return None
            batch = await supply.next()
            if batch is None:
                self._session.stopping.check()
                self._is_over = True
                return None
            return self._launch(due), batch

    def _launch(self, due: float) -> Flight:
        turnstile = self._parts.turnstile
        is_free = self._flying < turnstile.limit.limit and not turnstile.pacer.is_limited and not turnstile.waiting
        free = self._full_until if is_free else math.inf
        is_counted = due >= self.recorder.begin
        if is_counted and self._before is None:
            self._before = replace(self._parts.courier.requests)
        self._launched += 1
        self._flying += 1
        self._counted += is_counted
        self._is_over = self._counted >= self._plan.most
        return Flight(None if self._plan.arrivals is None else due, free, is_counted)

    async def _place(self) -> None:
        """In a closed loop nothing is due before there is a place for it."""
        while self._flying >= self._parts.turnstile.limit.limit and not self._session.stopping.is_set:
            await self._landed.wait()

    def _due(self, now: float) -> float:
        arrivals = self._plan.arrivals
        if arrivals is None:
            return now
        return self._start + arrivals.due(self._launched) if self._launched < len(arrivals) else math.inf

    async def _fly(self, flight: Flight, batch: Batch) -> None:
        """Deliver it and every piece of it."""
        CURRENT.set(flight)
        waiting, accepted, is_whole = [batch], 0, False
        try:
            while waiting:
                current = waiting.pop()
                delivered = await self._parts.courier.deliver(current)
                if delivered.stop is not None:
                    self._session.stopping.stop(delivered.stop.cause, delivered.stop.reason)
                    return
                for word in (*delivered.settled, *(refusal.settlement for refusal in delivered.refused)):
                    accepted += int(are(word.status, IN_EFFECT).sum())
                    await self._settle(word)
                waiting += [
                    Batch(self._next_id(), current.window, ops, current.user, current.group, delivered.history)
                    for ops in reversed(delivered.pieces)
                ]
            is_whole = True
        finally:
            if self._flying >= self._parts.turnstile.limit.limit:
                self._full_until = self._now()
            self._flying -= 1
            self._landed.wake()
            self.recorder.ended(flight, self._now(), changes=accepted, is_whole=is_whole)

    async def _settle(self, word: Settlement) -> None:
        """Keep it for later, where that may be: the ledger's thread and the clock would be in each other's way."""
        self._words.append(word)
        self._rows += len(word.rows)
        if self._plan.in_order or len(self._words) >= _MOST_WORDS or self._rows >= _MOST_ROWS:
            await self._settle_all()

    async def _settle_all(self) -> None:
        words, self._words, self._rows = self._words, [], 0
        for word in words:
            await self._parts.books.settle(word)

    async def _make(self, supply: Supply, scope: anyio.CancelScope) -> None:
        with scope:
            await supply.run()
        self._made.set()

    async def _forget_what_is_left(self, making: anyio.CancelScope) -> None:
        """What was made in vain and is in the ledger; a file's changes stay there as pending."""
        making.cancel()
        await self._made.wait()
        if self.supply is not None and not self._plan.in_order:
            last = self.supply.last_begun
            await self._parts.books.forget([w for number, w in self._parts.books.open.items() if number > last])

    def _drop_the_rest(self, now: float) -> None:
        """What was due and never left is not forgotten: it would have been the slowest."""
        arrivals = self._plan.arrivals
        if arrivals is None or self._is_over:
            return
        now = min(now, self._stopped_at)
        for number in range(self._launched, len(arrivals)):
            if (due := self._start + arrivals.due(number)) > now:
                break
            self.recorder.dropped(due, now)

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
        self._stopped_at = self._now()
        self._landed.wake()
        if self.supply is not None:
            self.supply.end()
        await anyio.sleep(_DRAIN_SECONDS)
        scope.cancel()

    async def _end_when_nothing_comes(self) -> None:
        """Retries may not go on for ever after the end."""
        await anyio.sleep(max(0.0, self._ends + _PATIENCE_SECONDS - self._now()))
        said = f"not everything was answered {_PATIENCE_SECONDS:g} s after the end of the schedule"
        self._session.stopping.stop(Cause.DEADLINE, said)

    def _gauges(self) -> Gauges:
        turnstile = self._parts.turnstile
        return Gauges(turnstile.in_flight, turnstile.limit.limit, turnstile.waited)

    def _finding(self, ended: float, cpu: float) -> Finding:
        after, before = self._parts.courier.requests, self._before or Requests()
        names = ("sent", "ok", "retried", "split")
        requests = Requests(*(attrgetter(name)(after) - attrgetter(name)(before) for name in names))
        elapsed = ended - self._start
        recorder = self.recorder
        intervals = recorder.finish(ended)
        last = max(recorder.last, recorder.begin)
        if not self._is_over:  # the time was up, or it was stopped: also when nothing came, that time has passed
            last = max(last, min(ended, self._ends) if self._session.stopping.is_set else self._ends)
        lag = recorder.lags.fold().percentile(99)
        share = cpu / elapsed if elapsed > 0 else 0.0
        return Finding(recorder, intervals, requests, max(0.0, last - recorder.begin), share, lag)
