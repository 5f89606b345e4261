"""All arrivals of a load run: how many there were, which are on their way, and what was seen of them."""

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
from batcher.load.flight import Flight
from batcher.load.plan import Finding, Plan
from batcher.load.recorder import Gauges, Recorder

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0
"""After the end of the schedule; then what is still tried again is given up."""


class Flights:
    """See the module."""

    def __init__(self, plan: Plan, now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self.plan = plan
        self.made = self.launched = self.counted = self.flying = 0
        """Batches that were made ready; arrivals that were launched, that count, and that are not back."""
        self.of: dict[int, Flight] = {}
        """By the number of a batch on its way."""
        self.stopped_at = math.inf
        self.finding: Finding
        """Once the workers have ended."""
        self._now = now
        self._gauges: Callable[[], Gauges] = lambda: Gauges(0, 0, Waited())
        self.recorder = Recorder(math.inf, self._gauges)
        self._ends = math.inf
        self._begun = anyio.Event()

    def __repr__(self) -> str:
        return f"<Flights {self.launched} launched, {self.flying} in the air, {self.recorder!r}>"

    @property
    def has_begun(self) -> bool:
        """Whether it is known when the first one is due."""
        return self._begun.is_set()

    def missing(self) -> float:
        """How many batches are still to be made; of a closed loop nobody knows before the warm-up is over."""
        plan = self.plan
        if plan.arrivals is not None:
            return plan.planned - self.made
        if plan.warm_up and not self.counted:
            return math.inf
        return plan.most + self.launched - self.counted - self.made

    def begin(self, counts_from: float, ends: float, gauges: Callable[[], Gauges]) -> None:
        """From when on arrivals count, and when the schedule ends (monotonic seconds)."""
        self.recorder, self._gauges, self._ends = Recorder(counts_from, gauges), gauges, ends
        self._begun.set()

    def launch(self, batch: Batch, due: float | None, free: float) -> None:
        """An arrival, as of `Flight`."""
        is_counted = (self._now() if due is None else due) >= self.recorder.begin
        self.launched += 1
        self.flying += 1
        self.counted += is_counted
        self.of[batch.id] = Flight(due, free, is_counted)

    def exchanged(self, batch: Batch, exchange: Exchange) -> None:
        """An arrival had a request answered, or not."""
        flight = self.of[batch.id]
        flight.note(exchange)
        if flight.is_counted:
            self.recorder.exchanged(exchange, self._now())

    def is_last_part(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> bool:
        """A batch is back, and these pieces of it go out again; whether nothing else of its arrival does."""
        flight = self.of[batch.id]
        flight.parts += len(pieces) - 1
        flight.accepted += sum(int(are(word.status, IN_EFFECT).sum()) for word in delivered.settled)
        if not flight.parts:
            return True
        del self.of[batch.id]
        self.of.update((piece.id, flight) for piece in pieces)
        return False

    def landed(self, batch: Batch, now: float, *, is_whole: bool) -> None:
        """All of an arrival is back, with final words for all of its changes if it `is_whole`."""
        flight = self.of.pop(batch.id)
        self.flying -= 1
        self.recorder.ended(flight, now, changes=flight.accepted, is_whole=is_whole)

    def end(self, now: float) -> None:
        """What is still on its way does not come back."""
        for flight in {id(flight): flight for flight in self.of.values()}.values():
            self.recorder.ended(flight, now, changes=flight.accepted, is_whole=False)
        self.of.clear()

    def told_so_far(self) -> list[str]:
        """For a line that people watch."""
        intended = self.recorder.intended
        told = [f"{self.launched:,} requests", f"{self._gauges().in_flight} in flight"]
        told += [f"p99 {intended.percentile(99) * 1000:.1f} ms"] if len(intended) else ["warming up"]
        errors = sum(self.recorder.errors.values())
        return told + ([f"{errors:,} errors"] if errors else [])

    async def look_on(self) -> None:
        """Note now and then how many are in flight, until cancelled."""
        await self._begun.wait()
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self._now() >= self.recorder.begin:
                self.recorder.look(self._now())

    async def end_in_time(self, shutdown: Shutdown) -> None:
        """Retries may not go on for ever after the end of the schedule."""
        await self._begun.wait()
        await anyio.sleep(max(0.0, self._ends + _PATIENCE_SECONDS - self._now()))
        said = f"not everything was answered {_PATIENCE_SECONDS:g} s after the end of the schedule"
        shutdown.stop(Cause.DEADLINE, said)

    async def note_stop(self, shutdown: Shutdown) -> None:
        """What is due after a stop was not dropped."""
        await shutdown.wait()
        self.stopped_at = self._now()
