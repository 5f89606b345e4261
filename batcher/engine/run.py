"""The one task group: windows in (`admission`), batches to the workers, settlements to the ledger."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from itertools import count

import anyio
from anyio.abc import TaskGroup

from batcher.core.blame import Blame
from batcher.core.clock import Clock
from batcher.core.errors import LedgerError
from batcher.core.health import Health
from batcher.core.lanes import OrderBy
from batcher.core.model import Batch, Limits, Settlement
from batcher.core.schedule import Schedule
from batcher.core.status import Status
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.core.wire import Wire
from batcher.delivery.courier import Courier
from batcher.delivery.delivery import Delivered
from batcher.delivery.stopping import Abandoned, Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.admission import Admission, Turns
from batcher.engine.books import Books, Executor, OpenWindow
from batcher.engine.budget import Budget, Watch
from batcher.engine.digest import Digest
from batcher.engine.feed import Work
from batcher.engine.signal import Signal
from batcher.engine.watchdog import STALLED_SECONDS, Watchdog

_log = logging.getLogger(__name__)
_DRAIN_SECONDS = 10.0
"""What is in flight may come back for so long after a stop."""
_FLUSH_SECONDS = 10.0


class Run:
    """One invocation at work."""

    def __init__(
        self,
        works: AsyncIterator[Work],
        books: Books,
        courier: Courier,
        schedule: Schedule,
        blame: Blame,
        health: Health,
        turnstile: Turnstile,
        stopping: Stopping,
        clock: Clock,
        executor: Executor,
        *,
        limits: Limits,
        wire: Wire,
        order_by: OrderBy,
        workers: int,
        first_batch: int,
        budget: Budget,
        request_seconds: float,
        after_refusals: int = 0,
        opened: Callable[[OpenWindow], None] = lambda _: None,
        delivered: Callable[[Batch, Delivered], None] = lambda *_: None,
        turns: Turns = Turns(),  # noqa: B008 — frozen
    ) -> None:
        self._books = books
        self._courier = courier
        self._delivered = delivered
        self._schedule = schedule
        self._blame = blame
        self._turnstile = turnstile
        self._stopping = stopping
        self._clock = clock
        self._workers = workers
        self._watch = Watch(budget, health, turnstile.pacer, clock, stopping)
        self._watchdog = Watchdog(self._pulse, self._waits, STALLED_SECONDS + request_seconds, stopping)
        self._changed = Signal()
        next_id = count(first_batch).__next__
        self.admission = Admission(
            works,
            books,
            schedule,
            stopping,
            executor,
            self._changed,
            limits=limits,
            wire=wire,
            order_by=order_by,
            next_id=next_id,
            opened=opened,
            turns=turns,
        )
        self._digest = Digest(books, schedule, blame, stopping, turnstile.notices, next_id, after_refusals)
        self._choosing = anyio.Lock(fast_acquire=True)
        self.held_until: float | None = None
        """Until when (monotonic seconds) nothing may leave, for requests that may still arrive late."""
        self._flushing = anyio.CancelScope(shield=True)
        self._working: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Run {self._schedule!r} {self._books!r} {self._stopping!r}>"

    @property
    def is_sending(self) -> bool:
        """Whether there is anything to be sent that was read."""
        return not self._schedule.is_idle or self.admission.is_at_work

    async def run(self) -> None:
        """Work until everything is settled, or the run is stopped. What was sent and answered is on disk then."""
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch.run)
            watching.start_soon(self._watchdog.run)
            watching.start_soon(self._end_when_stopped)
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._write)
                try:
                    async with anyio.create_task_group() as self._working:
                        self._working.start_soon(self.admission.run, self._working)
                        for _ in range(self._workers):
                            self._working.start_soon(self._work)
                finally:
                    self._flushing.deadline = anyio.current_time() + _FLUSH_SECONDS
                    with anyio.CancelScope(shield=True):
                        await self._books.close()
            watching.cancel_scope.cancel()

    def told(self, window: OpenWindow, settlement: Settlement) -> None:
        """Something is on the disk: close the window when it was the last, judge the budget."""
        self._watch.settled(settlement.status)
        if not window.unsettled:
            self.admission.close(window)
        self._changed.wake()

    # Batches out.

    async def _work(self) -> None:
        while (batch := await self._next_batch()) is not None:
            try:
                delivered = await self._courier.deliver(batch)
            except Abandoned:
                self._schedule.done(batch)
            else:
                self._delivered(batch, delivered)
                await self._digest.take(batch, delivered)
            self._changed.wake()

    async def _next_batch(self) -> Batch | None:
        """What to deliver next, when there is anything; None when the run ends. One worker at a time asks."""
        async with self._choosing:
            while not self._stopping.is_set:
                turn = self._schedule.take(self._clock.now())
                if turn.batch is not None and self._digest.cut(turn.batch):
                    continue
                if turn.batch is not None:
                    if turn.is_trial:
                        self._turnstile.notices.say(
                            "%d changes were refused in a row: trying a batch of other users and groups to learn"
                            " whether they or the run are at fault",
                            self._blame.holds,
                        )
                    return turn.batch
                if self._blame.holds and self._nothing_else_is_left():
                    await self._book_what_is_left()
                elif self._is_done():
                    break
                else:
                    await self._wait_for_change(turn.at)
        return None

    async def _book_what_is_left(self) -> None:
        """Nothing could prove whose fault it is, unless the target refuses what changes nothing, too."""
        doubted = self._courier.doubted
        if doubted is not None and not self._courier.has_succeeded():
            self._stopping.stop(doubted.cause, f"{doubted.reason}; no change was accepted by itself either")
            return
        if not self._blame.is_suspect:
            await self._digest.book(self._blame.release())
            return
        try:
            verdict = await self._courier.ask()
        except Abandoned:
            return
        match verdict:
            case Settled():
                await self._digest.book(self._blame.release())
            case Stop(cause, reason):
                self._stopping.stop(cause, reason)
            case Split(reason):
                said = f"the target refused {self._blame.holds} changes in a row and what changes nothing, too"
                self._stopping.stop(Cause.SUSPICION, f"{said}: {reason}")
            case Retry(reason):
                self._stopping.stop(Cause.OUTAGE, f"the target does not answer as it should: {reason}")

    def _nothing_else_is_left(self) -> bool:
        """Whether what is held can only be proven by what does not exist."""
        if self._schedule.in_flight or self.admission.is_at_work or not self._books.is_clear:
            return False
        no_more_comes = self.admission.all_read or self.admission.is_full
        if self._blame.is_suspect:
            return no_more_comes and not self._schedule.has_fair_trial()
        return no_more_comes and self._schedule.is_idle

    def _is_done(self) -> bool:
        return (
            self.admission.all_read
            and self._schedule.is_idle
            and not self.admission.is_at_work
            and self._books.is_clear
            and not self._books.open
        )

    async def _wait_for_change(self, at: float | None) -> None:
        started = self._clock.now()
        self.held_until = at
        with anyio.move_on_after(math.inf if at is None else at - started):
            await self._changed.wait()
        self.held_until = None
        if at is not None and not self._schedule.in_flight:
            self._turnstile.waited.grace += self._clock.now() - started

    # Outcomes down.

    async def _write(self) -> None:
        with self._flushing:
            try:
                await self._books.write()
            except LedgerError as error:
                self._stopping.stop(Cause.LEDGER, str(error))

    # Ends.

    def _pulse(self) -> str:
        pending = self._books.tally[Status.PENDING]
        return f"{self._schedule!r} {self._books!r} {pending} pending, {self._courier.requests}"

    def _waits(self) -> bool:
        """For its turn, for a late request, for a back-off, or for input: all of that is meant."""
        is_idle = self._schedule.is_idle and self._books.is_clear and not self.admission.is_at_work
        is_sending_later = self._turnstile.waiting is not None or self._courier.is_backing_off
        return is_idle or is_sending_later or self.held_until is not None

    async def _end_when_stopped(self) -> None:
        await self._stopping.wait()
        self.admission.end()
        self._changed.wake()
        await anyio.sleep(_DRAIN_SECONDS)
        if self._working is not None:
            self._working.cancel_scope.cancel()
