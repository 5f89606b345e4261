"""The workers: each takes the next batch, delivers it, and passes its outcome on. Used by runs and load runs alike."""

from __future__ import annotations

import logging
import math

import anyio
from anyio.abc import TaskGroup

from batcher.core.batch import Batch
from batcher.core.rate import Turn
from batcher.core.schedule import Next
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.delivery.fast_lane import ForCourier
from batcher.delivery.shutdown import Abandoned
from batcher.engine.run.admission import Admission
from batcher.engine.run.dispatch import Dispatch
from batcher.engine.run.observers import Observer
from batcher.engine.run.outcome_handler import OutcomeHandler
from batcher.engine.run.parts import Parts
from batcher.engine.run.signal import Signal

_log = logging.getLogger(__name__)
_TOGETHER_SECONDS = 0.005
"""How long what was accepted on the fast lane waits for more that can be recorded with it."""


class DeliveryPool:
    """The pool of workers. One at a time asks for the next batch; they deliver concurrently."""

    def __init__(
        self,
        parts: Parts,
        dispatch: Dispatch,
        admission: Admission,
        observer: Observer,
        changed: Signal,
    ) -> None:
        """`changed` is woken after each outcome, and whenever another batch may be next."""
        self._parts = parts
        self._dispatch = dispatch
        self._admission = admission
        self._outcomes = OutcomeHandler(parts, dispatch)
        self._delivered = observer.delivered or (lambda *_: None)
        self._changed = changed
        self._lane = parts.deliverer.lane
        self._lane.is_wanted &= dispatch.takes_fast_lane and observer.delivered is None
        self._is_recording = False
        self._is_over = False
        self._choosing = anyio.Lock(fast_acquire=True)
        self.held_until: float | None = None
        """Until when (monotonic seconds) nothing may be sent because of in-doubt requests; None if not so."""
        self.is_ahead_of_time = False
        """Whether the workers are only waiting for a moment in time."""

    def __repr__(self) -> str:
        return f"<DeliveryPool {self._parts.schedule!r} {self._dispatch!r}>"

    def start(self, group: TaskGroup) -> None:
        """Start the workers; they end when nothing is left to deliver, or the run ends."""
        self._group = group
        for _ in range(self._parts.gate.limit.ceiling + 1):  # one more, which has its request ready for the next place
            group.start_soon(self._work)

    async def finish(self) -> None:
        """The workers have ended: have recorded what was accepted on the fast lane, and close its connections."""
        self._lane.land(self._outcomes.accepted)
        await self._record()
        self._lane.close()
        requests = self._parts.deliverer.requests
        _log.info("%d of %d requests took the fast lane", requests.fast, requests.sent)

    async def _work(self) -> None:
        while (chosen := await self._choose()) is not None:
            batch, sent = chosen
            try:
                delivered = await self._parts.deliverer.deliver(batch, sent)
            except Abandoned:
                self._parts.schedule.done(batch)
            else:
                self._delivered(batch, delivered)
                await self._outcomes.take(batch, delivered)
            self._changed.wake()

    async def _choose(self) -> ForCourier | None:
        """Wait for the next batch that this worker is to deliver; None when the run ends.

        One worker at a time does this; meanwhile it lets requests leave on the fast lane.
        """
        shutdown, lane = self._parts.session.shutdown, self._lane
        async with self._choosing:
            while True:
                lane.land(self._outcomes.accepted)
                self._record_soon()
                if not lane.is_open or shutdown.is_set:
                    self._hand_over(lane.abandon())
                if lane.for_couriers:
                    return lane.for_couriers.popleft()
                if self._is_over or (shutdown.is_set and not lane.in_flight):
                    return None
                if shutdown.is_set:
                    await self._changed.wait()
                elif lane.is_open and lane.has_lines:
                    await self._use_lane()
                elif (chosen := await self._next_batch(self._take())) is not None:
                    return chosen, None

    async def _use_lane(self) -> None:
        """Let requests leave on the fast lane, and wait until more may leave, or something else is to be done."""
        lane = self._lane
        found = lane.launch(self._take)
        if lane.for_couriers:
            return
        match found:
            case Next():
                await self._next_batch(found)
            case Turn():
                await self._parts.gate.wait_for_turn(found, self._changed.wait)
            case None if lane.needs_line:
                self._connect_more()
                await self._changed.wait()
            case None:
                with self._parts.gate.waiting_for("concurrency"):
                    await self._changed.wait()

    def _connect_more(self) -> None:
        if self._lane.needs_line:
            self._group.start_soon(self._lane.connect, self._parts.session.target.url, self._changed.wake)

    def _hand_over(self, batch: Batch | None) -> None:
        if batch is not None:
            self._lane.for_couriers.append((batch, None))

    def _record_soon(self) -> None:
        if self._lane.accepted and not self._is_recording:
            self._is_recording = True
            self._group.start_soon(self._record_later)

    async def _record_later(self) -> None:
        """Wait for more that can be recorded together: a commit takes as long as several small requests."""
        await anyio.sleep(_TOGETHER_SECONDS)
        self._is_recording = False
        await self._record()

    async def _record(self) -> None:
        for settlement in self._lane.accepted.settlements():
            await self._outcomes.settle(settlement)

    def _take(self) -> Next:
        """The next batch of the schedule, if one may be sent now."""
        while True:
            turn = self._dispatch.take(self._parts.session.runtime.clock.now())
            if turn.batch is None or not self._outcomes.cut(turn.batch):
                return turn

    async def _next_batch(self, turn: Next) -> Batch | None:
        """The batch of this turn; if there is none, wait until there may be one, or end the run if nothing is left."""
        parts, blame = self._parts, self._parts.evidence.blame
        if turn.batch is not None:
            if turn.is_trial:
                parts.gate.log_once.say(
                    "%d changes were refused in a row: trying a batch of other users and groups to learn"
                    " whether they or the run are at fault",
                    blame.holds,
                )
            elif self._lane.is_open:
                self._connect_more()
            return turn.batch
        if blame.holds and self._nothing_else_is_left():
            await self._book_what_is_left()
        elif self._is_done():
            self._admission.end()
            self._is_over = True
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
