"""Batches, ready before they are due: windows are made or read, coalesced, written down and packed ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from batcher.core.errors import InputError, LedgerError
from batcher.core.lanes import OrderBy, common
from batcher.core.model import Batch, Limits
from batcher.core.verdict import Cause
from batcher.core.wire import Wire
from batcher.delivery.stopping import Abandoned, Stopping
from batcher.engine.books import Books, Executor
from batcher.engine.feed import Work
from batcher.engine.intake import Intake, batches, take_in
from batcher.engine.signal import Signal
from batcher.load.synthetic import Synthetic
from batcher.source.windows import WINDOW_ROWS

_FIRST_BATCHES, _MOST_BATCHES = 16, 512


async def synthetic_windows(
    changes: Synthetic, per_request: int, missing: Callable[[], float], part: int
) -> AsyncIterator[Work]:
    """Windows as long as `missing` tells how many requests are; short at first, so that little is made in vain."""
    first_row = number = 0
    count = _FIRST_BATCHES
    while missing() > 0:
        most = min(count, max(1, WINDOW_ROWS // per_request))
        rows = int(min(most, missing())) * per_request
        yield Work(changes.window(number, first_row, rows, part))
        number, first_row = number + 1, first_row + rows
        count = min(2 * count, _MOST_BATCHES)


@dataclass(frozen=True, slots=True)
class Ahead:
    """How much is made before it is needed: until there are so many batches, or so many changes in them."""

    batches: int
    changes: int


class Supply:
    """The batches in order. `is_over` says that there are no more.

    With `in_order`, a window that shares pairs with earlier ones is given out when those are settled, so that the last
    word wins; without, windows follow each other without a gap, and whichever of two changes arrives last, wins.
    """

    def __init__(
        self,
        works: AsyncIterator[Work],
        books: Books,
        stopping: Stopping,
        executor: Executor,
        *,
        limits: Limits,
        wire: Wire,
        next_id: Callable[[], int],
        in_order: bool,
        ahead: Ahead,
        held_for: Callable[[Intake], float],
    ) -> None:
        """`held_for` is how many seconds a window must wait for what was lost and may still arrive."""
        self.is_over = False
        self.settled = Signal()
        """To be woken when a window is closed."""
        self._works = works
        self._books = books
        self._stopping = stopping
        self._executor = executor
        self._limits = limits
        self._wire = wire
        self._next_id = next_id
        self._in_order = in_order
        self._ahead = ahead
        self._held_for = held_for
        self.made = 0
        """Batches so far."""
        self.last_begun = -1
        """The last window of which a batch was given out."""
        self._waiting_batches = self._waiting_changes = 0
        self._is_filled = False
        self._ready: deque[list[Batch]] = deque()
        self._changed = Signal()

    def __repr__(self) -> str:
        return f"<Supply {self._waiting_batches} batches ready>"

    async def run(self) -> None:
        """Prepare until there is nothing more."""
        try:
            async with aclosing(self._works) as works:  # type: ignore[type-var]  # an async generator
                async for work in works:
                    await self._prepare(work)
                    while self._is_full():
                        self._say_filled()
                        await self._changed.wait()
        except InputError as error:
            self._stopping.stop(Cause.INPUT, str(error))
        except LedgerError as error:
            self._stopping.stop(Cause.LEDGER, str(error))
        except Abandoned:
            pass  # the run ends; what was not prepared is not sent
        self.end()

    async def filled(self) -> None:
        """Until as much is there as is made ahead, or nothing more comes."""
        while not self._is_filled and not self.is_over:
            await self._changed.wait()

    async def next(self) -> Batch | None:
        """The next batch; None when there are no more."""
        while not self._ready and not self.is_over:
            await self._changed.wait()
        if not self._ready:
            return None
        first = self._ready[0]
        batch = first.pop()
        self.last_begun = batch.window
        self._waiting_batches -= 1
        self._waiting_changes -= len(batch)
        if not first:
            self._ready.popleft()
        if not self._is_full():
            self._changed.wake()
        return batch

    def end(self) -> None:
        """Nothing more is wanted."""
        self.is_over = True
        self._changed.wake()

    async def _prepare(self, work: Work) -> None:
        intake = await self._executor(partial(take_in, work, OrderBy.PAIR))
        while self._in_order and self._clashes(intake):
            self._say_filled()
            await self.settled.wait()
        while self._in_order and (seconds := self._held_for(intake)) > 0:
            self._say_filled()
            await self._stopping.pause(seconds)
        await self._books.open_window(intake.window, is_new=True)
        made = await self._executor(
            lambda: batches(intake.window, intake.rows, self._limits, self._wire, OrderBy.PAIR, self._next_id)
        )
        self.made += len(made)
        self._waiting_batches += len(made)
        self._waiting_changes += sum(map(len, made))
        if made:
            self._ready.append(made[::-1])
            self._changed.wake()

    def _say_filled(self) -> None:
        self._is_filled = True
        self._changed.wake()

    def _is_full(self) -> bool:
        ahead = self._ahead
        return self._waiting_batches >= ahead.batches or self._waiting_changes >= ahead.changes

    def _clashes(self, intake: Intake) -> bool:
        return any(len(common(intake.window.lanes, window.lanes)) for window in self._books.open.values())
