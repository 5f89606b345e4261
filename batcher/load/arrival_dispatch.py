"""How a load run differs from other runs: batches are sent when arrivals are due, and settlements are written later."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter

import anyio

from batcher.core.batch import Batch, Settlement
from batcher.core.errors import LedgerError
from batcher.core.report import Requests
from batcher.core.schedule import Next
from batcher.delivery.delivery import Delivered
from batcher.delivery.shutdown import Abandoned
from batcher.engine.run.parts import Parts
from batcher.load.flight import CURRENT
from batcher.load.flights import Flights
from batcher.load.plan import Finding, Stopwatch
from batcher.load.recorder import Gauges

_OVERTIME_SECONDS = 5.0
"""How long requests that are overdue at the end of the schedule may still be sent; then they are dropped."""
_MOST_WORDS, _MOST_ROWS = 50_000, 2_000_000
"""Settlements, and changes in them, that are kept before they are written: enough for a run of ordinary length."""
_AHEAD_BATCHES, _AHEAD_CHANGES = 20_000, 500_000
"""How much is made ready before it is needed."""
_FLUSH_SECONDS = 60.0
"""How long the settlements may take to be written at the end; changes that are not written stay pending."""


class ArrivalDispatch:
    """The `Dispatch` of a load run.

    In an open loop, an arrival is launched when it is due, whether or not there is a place in flight for its request;
    in a closed loop, as soon as there is one. Pieces of what was launched are sent first. With changes from files
    (`plan.in_order`), windows wait for each other as in any run, and settlements are written at once, so that the last
    change of a pair wins. Synthetic windows follow each other without a gap, and of two changes of a pair, the one that
    arrives last wins.
    """

    def __init__(self, parts: Parts, flights: Flights, watch: Stopwatch, start: float) -> None:
        """`start` is when the first request is due (monotonic seconds), or later if nothing is ready by then."""
        self.in_order = flights.plan.in_order
        self.takes_fast_lane = flights.plan.arrivals is None
        self._parts = parts
        self._schedule = parts.schedule
        self._gate = parts.gate
        self._blame = parts.evidence.blame
        self._now = parts.session.runtime.clock.now
        self._flights = flights
        self._plan = flights.plan
        self._watch = watch
        self._start = start
        self._ends = math.inf
        self._ended = 0.0
        self._processor_before = self._processor = 0.0
        """Processor seconds used before the run began, and by the run."""
        self._ready: deque[Batch] = deque()
        self._ready_changes = 0
        self._last_begun = -1
        """The number of the last window of which a batch was launched."""
        self._is_filled = self._is_complete = False
        self._is_enough = False
        """Whether nothing more is launched because the last request or the last change was."""
        self._is_late = False
        """Whether nothing more is launched because the time is over."""
        self._starved, self._starved_since = 0.0, math.inf
        """Seconds in which a place was free and nothing was ready, and since when (monotonic seconds) again."""
        self._full_until = -math.inf
        """When a place in flight last became free after all had been taken."""
        self._before: Requests | None = None
        self._words: list[Settlement] = []
        self._rows = 0
        """The number of changes in those."""

    def __repr__(self) -> str:
        return f"<ArrivalDispatch {len(self._ready)} ready, {self._flights!r}>"

    @property
    def is_full(self) -> bool:
        """See `Dispatch`."""
        return len(self._ready) >= _AHEAD_BATCHES or self._ready_changes >= _AHEAD_CHANGES

    @property
    def is_over(self) -> bool:
        """See `Dispatch`."""
        return self._is_enough or self._is_late

    @property
    def has_more(self) -> bool:
        """See `Dispatch`. While a trial must come first, only what the schedule already has counts."""
        if self.is_over or (self._blame.is_suspect and self._schedule.waiting):
            return False
        return not self._is_complete or bool(self._ready)

    def add(self, batches: Sequence[Batch]) -> None:
        """See `Dispatch`."""
        self._ready.extend(batches)
        self._ready_changes += sum(map(len, batches))
        self._flights.packed(len(batches))
        self._is_filled = self._is_filled or self.in_order

    def filled(self) -> None:
        """See `Dispatch`."""
        self._is_filled = True

    def complete(self) -> None:
        """See `Dispatch`."""
        self._is_complete = self._is_filled = True

    def take(self, now: float) -> Next:
        """See `Dispatch`."""
        if not self._flights.has_begun:
            if not self._is_filled:
                return Next()
            self._begin(now)
        found = self._schedule.take(now)
        if found.batch is None and self._may_launch():
            due = self._due(now)
            self._is_late = due > self._ends or now > self._ends + _OVERTIME_SECONDS
            leaves = due - self._watch.lead
            if self._is_late:
                return found
            if leaves > now:
                is_sooner = found.at is None or leaves < found.at
                return Next(at=leaves, is_due=True) if is_sooner else found
            if self._launch(due):
                found = self._schedule.take(now)
        if found.batch is not None:
            CURRENT.set(self._flights.of[found.batch.id])
        return found

    def back(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> None:
        """See `Dispatch`."""
        if self._flights.is_last_part(batch, delivered, pieces):
            if self._flights.flying >= self._gate.limit.limit:
                self._full_until = self._now()
            self._flights.landed(batch, self._now(), is_whole=delivered.stop is None)

    def accepted(self, batch: Batch) -> None:
        """See `Dispatch`."""
        if self._flights.flying >= self._gate.limit.limit:
            self._full_until = self._now()
        self._flights.accepted(batch, self._now())

    async def book(self, settlement: Settlement) -> None:
        """See `Dispatch`. Writing is put off if possible: the ledger's thread would disturb the timing."""
        self._words.append(settlement)
        self._rows += len(settlement.rows)
        if self.in_order or len(self._words) >= _MOST_WORDS or self._rows >= _MOST_ROWS:
            await self._book_all()

    async def look_on(self) -> None:
        """See `Dispatch`."""
        shutdown = self._parts.session.shutdown
        async with anyio.create_task_group() as group:
            group.start_soon(self._flights.look_on)
            group.start_soon(self._flights.end_in_time, shutdown)
            group.start_soon(self._flights.note_stop, shutdown)

    async def finish(self) -> None:
        """See `Dispatch`. Synthetic windows that were not used are removed; a file's changes stay pending."""
        if not self._flights.has_begun:  # it was stopped before anything was ready
            self._begin(self._now())
        self._ended, self._processor = self._now(), self._watch.cpu() - self._processor_before
        self._is_enough = self._is_enough or not (self._is_late or self.has_more)
        self._flights.finding = self._finding()
        with anyio.move_on_after(_FLUSH_SECONDS), suppress(Abandoned, LedgerError):  # these have stopped the run
            await self._book_all()
            if not self.in_order:
                await self._parts.committer.forget_after(self._last_begun)

    def _end_starving(self, now: float) -> None:
        self._starved += max(0.0, now - self._starved_since)
        self._starved_since = math.inf

    def _finding(self) -> Finding:
        """The results of the run."""
        ended, shutdown, flights = self._ended, self._parts.session.shutdown, self._flights
        self._drop_the_rest(ended)
        flights.end(ended)
        after, before = self._parts.deliverer.requests, self._before or Requests()
        names = ("sent", "ok", "retried", "split")
        requests = Requests(*(attrgetter(name)(after) - attrgetter(name)(before) for name in names))
        recorder = flights.recorder
        intervals = recorder.finish(ended)
        last = max(recorder.last, recorder.begin)
        if not self._is_enough:  # the time was up, or it was stopped: that time has passed even if no reply came
            last = max(last, min(ended, self._ends) if shutdown.is_set else self._ends)
        elapsed = ended - self._start
        share = self._processor / elapsed if elapsed > 0 else 0.0
        lag = recorder.lags.fold().percentile(99)
        self._end_starving(min(ended, self._ends))
        starved = self._starved / elapsed if elapsed > 0 and self._plan.arrivals is None else 0.0
        return Finding(recorder, intervals, requests, max(0.0, last - recorder.begin), share, lag, starved)

    def _gauges(self) -> Gauges:
        """The present values for the recorder."""
        gate = self._gate
        return Gauges(gate.in_flight, gate.limit.limit, gate.waited)

    def _begin(self, now: float) -> None:
        self._start = max(self._start, now)
        self._processor_before = self._watch.cpu()
        arrivals, plan = self._plan.arrivals, self._plan
        self._ends = self._start + (plan.warm_up + plan.seconds if arrivals is None else arrivals.seconds)
        self._flights.begin(self._start + plan.warm_up, self._ends, self._gauges)

    def _may_launch(self) -> bool:
        """Whether another batch may be added to the schedule; while a trial must come first, none may."""
        schedule, limit = self._schedule, self._gate.limit
        if self.is_over or schedule.waiting > limit.ceiling:
            return False
        if self._blame.is_suspect and not schedule.is_idle:
            return False
        return self._plan.arrivals is not None or self._flights.flying < limit.limit

    def _due(self, now: float) -> float:
        arrivals, launched = self._plan.arrivals, self._flights.launched
        if arrivals is None:
            return now
        return self._start + arrivals.due(launched) if launched < len(arrivals) else math.inf

    def _launch(self, due: float) -> bool:
        """Add the next batch to the schedule if one is ready; returns whether one was."""
        if not self._ready:
            self._is_enough = self._is_complete and not self.in_order
            if not self._is_complete:
                self._starved_since = min(self._starved_since, self._now())
            return False
        self._end_starving(self._now())
        batch = self._ready.popleft()
        self._ready_changes -= len(batch)
        self._last_begun = batch.window
        gate, flights = self._gate, self._flights
        is_free = flights.flying < gate.limit.limit and not gate.pacer.is_limited and not gate.waiting
        flights.launch(batch, None if self._plan.arrivals is None else due, self._full_until if is_free else math.inf)
        if flights.counted and self._before is None:
            self._before = replace(self._parts.deliverer.requests)
        self._is_enough = flights.counted >= self._plan.most
        self._schedule.add([batch])
        return True

    async def _book_all(self) -> None:
        words, self._words, self._rows = self._words, [], 0
        for word in words:
            await self._parts.committer.settle(word)

    def _drop_the_rest(self, now: float) -> None:
        """Record arrivals that were due and never sent as dropped: they would have been the slowest."""
        arrivals = self._plan.arrivals
        if arrivals is None or self._is_enough:
            return
        now = min(now, self._flights.stopped_at)
        for number in range(self._flights.launched, len(arrivals)):
            if (due := self._start + arrivals.due(number)) > now:
                break
            self._flights.recorder.dropped(due, now)
