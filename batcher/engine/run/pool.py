"""The workers: each takes the next batch, delivers it, and passes its outcome on. Used by runs and load runs alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from batcher.core.batch import Batch
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.delivery.delivery import Delivered
from batcher.delivery.shutdown import Abandoned
from batcher.engine.run.admission import Admission
from batcher.engine.run.dispatch import Dispatch
from batcher.engine.run.outcome_handler import OutcomeHandler
from batcher.engine.run.parts import Parts
from batcher.engine.run.signal import Signal


class DeliveryPool:
    """The pool of workers. One at a time asks for the next batch; they deliver concurrently."""

    def __init__(
        self,
        parts: Parts,
        dispatch: Dispatch,
        admission: Admission,
        delivered: Callable[[Batch, Delivered], None],
        changed: Signal,
    ) -> None:
        """`delivered` is called with each outcome; `changed` is woken then, and whenever another batch may be next."""
        self._parts = parts
        self._dispatch = dispatch
        self._admission = admission
        self._outcomes = OutcomeHandler(parts, dispatch)
        self._delivered = delivered
        self._changed = changed
        self._choosing = anyio.Lock(fast_acquire=True)
        self.held_until: float | None = None
        """Until when (monotonic seconds) nothing may be sent because of in-doubt requests; None if not so."""
        self.is_ahead_of_time = False
        """Whether the workers are only waiting for a moment in time."""

    def __repr__(self) -> str:
        return f"<DeliveryPool {self._parts.schedule!r} {self._dispatch!r}>"

    def start(self, group: TaskGroup) -> None:
        """Start the workers; they end when nothing is left to deliver, or the run ends."""
        for _ in range(self._parts.gate.limit.ceiling + 1):  # one more, which has its request ready for the next place
            group.start_soon(self._work)

    async def _work(self) -> None:
        while (batch := await self._next_batch()) is not None:
            try:
                delivered = await self._parts.deliverer.deliver(batch)
            except Abandoned:
                self._parts.schedule.done(batch)
            else:
                self._delivered(batch, delivered)
                await self._outcomes.take(batch, delivered)
            self._changed.wake()

    async def _next_batch(self) -> Batch | None:
        """Wait for the next batch to deliver; None when the run ends. One worker at a time does this."""
        parts = self._parts
        blame, shutdown, clock = parts.evidence.blame, parts.session.shutdown, parts.session.runtime.clock
        async with self._choosing:
            while not shutdown.is_set:
                turn = self._dispatch.take(clock.now())
                if turn.batch is not None and self._outcomes.cut(turn.batch):
                    continue
                if turn.batch is not None:
                    if turn.is_trial:
                        parts.gate.log_once.say(
                            "%d changes were refused in a row: trying a batch of other users and groups to learn"
                            " whether they or the run are at fault",
                            blame.holds,
                        )
                    return turn.batch
                if blame.holds and self._nothing_else_is_left():
                    await self._book_what_is_left()
                elif self._is_done():
                    self._admission.end()
                    break
                else:
                    await self._wait_for_change(turn.at, is_due=turn.is_due)
        return None

    async def _book_what_is_left(self) -> None:
        """Record the refusals that nothing else can prove, unless the target refuses a harmless request as well."""
        deliverer, blame, shutdown = self._parts.deliverer, self._parts.evidence.blame, self._parts.session.shutdown
        doubted = deliverer.doubted
        if doubted is not None and not blame.accepted_once:
            shutdown.stop(doubted.cause, f"{doubted.reason}; no change was accepted on its own either")
            return
        if not blame.is_suspect:
            await self._outcomes.book(blame.release())
            return
        try:
            verdict = await deliverer.ask()
        except Abandoned:
            return
        match verdict:
            case Settled():
                await self._outcomes.book(blame.release())
            case Stop(cause, reason):
                shutdown.stop(cause, reason)
            case Split(reason):
                said = f"the target refused {blame.holds} changes in a row, and a request that changes nothing as well"
                shutdown.stop(Cause.SUSPICION, f"{said}: {reason}")
            case Retry(reason):
                shutdown.stop(Cause.OUTAGE, f"the target does not answer as it should: {reason}")

    def _nothing_else_is_left(self) -> bool:
        """Whether nothing is left to send that could show whose fault the held refusals are."""
        schedule, admission, dispatch = self._parts.schedule, self._admission, self._dispatch
        if schedule.in_flight or dispatch.has_more or admission.is_at_work or not self._parts.committer.is_clear:
            return False
        no_more_comes = dispatch.is_over or admission.all_read or admission.is_full
        if self._parts.evidence.blame.is_suspect:
            return no_more_comes and not schedule.has_fair_trial()
        return no_more_comes and schedule.is_idle

    def _is_done(self) -> bool:
        schedule, committer = self._parts.schedule, self._parts.committer
        if self._dispatch.is_over:
            return schedule.is_idle
        return (
            self._admission.all_read
            and schedule.is_idle
            and not self._dispatch.has_more
            and not self._admission.is_at_work
            and committer.is_clear
            and not committer.open
        )

    async def _wait_for_change(self, at: float | None, *, is_due: bool) -> None:
        clock = self._parts.session.runtime.clock
        started = clock.now()
        is_held = at is not None and not is_due
        self.held_until, self.is_ahead_of_time = at if is_held else None, at is not None
        with anyio.move_on_after(math.inf if at is None else at - started):
            await self._changed.wait()
        self.held_until, self.is_ahead_of_time = None, False
        if is_held and not self._parts.schedule.in_flight:
            self._parts.gate.waited.grace += clock.now() - started
