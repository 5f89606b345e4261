"""All arrivals of a load run: their numbers, those in progress, and what was recorded about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import anyio

from batcher.core.batch import Batch
from batcher.core.report import Waited
from batcher.core.status import IN_EFFECT, are
from batcher.core.verdict import Cause
from batcher.delivery.delivery import Delivered, Exchange
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.signal import Signal
from batcher.load.flight import Flight
from batcher.load.plan import Finding, Plan
from batcher.load.recorder import Gauges, Recorder

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0
"""How long requests may still be tried again after the end of the schedule."""


class Flights:
    """The arrivals of one generator; see the module."""

    def __init__(self, plan: Plan, now: Callable[[], float]) -> None:
        """`now` returns monotonic seconds."""
        self.plan = plan
        self.made = self.launched = self.counted = self.flying = 0
        """Batches that were made ready; arrivals that were launched, that are measured, and that are in progress."""
        self.of: dict[int, Flight] = {}
        """The flight of each batch in progress, by the batch's number."""
        self.stopped_at = math.inf
        """When the run was stopped (monotonic seconds)."""
        self.finding: Finding
        """The results; set once the workers have ended."""
        self._now = now
        self._gauges: Callable[[], Gauges] = lambda: Gauges(0, 0, Waited())
        self.recorder = Recorder(math.inf, self._gauges)
        self._ends = math.inf
        self._begun = anyio.Event()
        self._packed = Signal()
        self._on_their_way = 0
        """How many windows were asked for and are not packed yet."""

    def __repr__(self) -> str:
        return f"<Flights {self.launched} launched, {self.flying} in the air, {self.recorder!r}>"

    @property
    def has_begun(self) -> bool:
        """Whether it is known when the first arrival is due."""
        return self._begun.is_set()

    async def missing(self) -> float:
        """How many batches are still to be made, in one window more; infinity while the end is not known.

        With an end, it waits for the batches of the last window: how many a window has is only known once it is packed.
        """
        while (missing := self._missing()) < math.inf and self._on_their_way:
            await self._packed.wait()
        self._on_their_way += missing > 0
        return missing

    def packed(self, batches: int) -> None:
        """The changes of a window were packed into so many batches."""
        self.made += batches
        self._on_their_way -= 1
        self._packed.wake()

    def _missing(self) -> float:
        plan = self.plan
        if plan.arrivals is not None:
            return plan.planned - self.made
        if plan.warm_up and not self.counted:  # the warm-up of a closed loop
            return math.inf
        return plan.most + self.launched - self.counted - self.made

    def begin(self, counts_from: float, ends: float, gauges: Callable[[], Gauges]) -> None:
        """Set from when on arrivals are measured, and when the schedule ends (monotonic seconds)."""
        self.recorder, self._gauges, self._ends = Recorder(counts_from, gauges), gauges, ends
        self._begun.set()

    def launch(self, batch: Batch, due: float | None, free: float) -> None:
        """Launch an arrival; for `due` and `free` see `Flight`."""
        is_counted = (self._now() if due is None else due) >= self.recorder.begin
        self.launched += 1
        self.flying += 1
        self.counted += is_counted
        self.of[batch.id] = Flight(due, free, is_counted)

    def exchanged(self, batch: Batch, exchange: Exchange) -> None:
        """A request of an arrival was answered, or its reply was lost."""
        flight = self.of[batch.id]
        flight.note(exchange)
        if flight.is_counted:
            self.recorder.exchanged(exchange, self._now())

    def is_last_part(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> bool:
        """A batch was delivered, and these pieces are sent again; returns whether its arrival has no batches left."""
        flight = self.of[batch.id]
        flight.parts += len(pieces) - 1
        flight.accepted += sum(int(are(word.status, IN_EFFECT).sum()) for word in delivered.settled)
        if not flight.parts:
            return True
        del self.of[batch.id]
        self.of.update((piece.id, flight) for piece in pieces)
        return False

    def accepted(self, batch: Batch, now: float) -> None:
        """All changes of a batch were accepted."""
        flight = self.of[batch.id]
        flight.accepted += len(batch)
        flight.parts -= 1
        if flight.parts:
            del self.of[batch.id]
        else:
            self.landed(batch, now, is_whole=True)

    def landed(self, batch: Batch, now: float, *, is_whole: bool) -> None:
        """All of an arrival was delivered; if it `is_whole`, the outcome of each of its changes is final."""
        flight = self.of.pop(batch.id)
        self.flying -= 1
        self.recorder.ended(flight, now, changes=flight.accepted, is_whole=is_whole)

    def end(self, now: float) -> None:
        """The run has ended: arrivals in progress are given up."""
        for flight in {id(flight): flight for flight in self.of.values()}.values():
            self.recorder.ended(flight, now, changes=flight.accepted, is_whole=False)
        self.of.clear()

    def told_so_far(self) -> list[str]:
        """The parts of a progress line."""
        intended = self.recorder.intended
        told = [f"{self.launched:,} requests", f"{self._gauges().in_flight} in flight"]
        told += [f"p99 {intended.percentile(99) * 1000:.1f} ms"] if len(intended) else ["warming up"]
        errors = sum(self.recorder.errors.values())
        return told + ([f"{errors:,} errors"] if errors else [])

    async def look_on(self) -> None:
        """Record periodically how many requests are in flight, until cancelled."""
        await self._begun.wait()
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self._now() >= self.recorder.begin:
                self.recorder.look(self._now())

    async def end_in_time(self, shutdown: Shutdown) -> None:
        """Stop the run if retries continue for too long after the end of the schedule."""
        await self._begun.wait()
        await anyio.sleep(max(0.0, self._ends + _PATIENCE_SECONDS - self._now()))
        said = f"not everything was answered {_PATIENCE_SECONDS:g} s after the end of the schedule"
        shutdown.stop(Cause.DEADLINE, said)

    async def note_stop(self, shutdown: Shutdown) -> None:
        """Note when the run is stopped: arrivals that are due after that do not count as dropped."""
        await shutdown.wait()
        self.stopped_at = self._now()
