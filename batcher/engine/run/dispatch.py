"""What leaves when, and what is written down when: the one place in which a load run differs from every other run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batcher.core.batch import Batch, Settlement
from batcher.core.schedule import Next
from batcher.delivery.delivery import Delivered
from batcher.engine.run.parts import Parts


class Dispatch(Protocol):
    """Between admission, pool and books. Only what is `async` here waits."""

    in_order: bool
    """Whether at most two windows are open, and what contradicts an earlier one waits for it."""

    @property
    def is_full(self) -> bool:
        """As much is ready as may be: no window is opened before something leaves."""
        ...

    @property
    def is_over(self) -> bool:
        """Nothing more leaves than what the schedule has already."""
        ...

    @property
    def has_more(self) -> bool:
        """Something is ready that the schedule does not have yet."""
        ...

    def add(self, batches: Sequence[Batch]) -> None:
        """These are packed, in their order."""
        ...

    def filled(self) -> None:
        """No more is made ready before something leaves."""
        ...

    def complete(self) -> None:
        """No more is made ready at all."""
        ...

    def take(self, now: float) -> Next:
        """What the asking worker is to deliver now, or when to ask again; `now` is in monotonic seconds."""
        ...

    def back(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> None:
        """A batch came back, and these pieces of it go out again."""
        ...

    async def book(self, settlement: Settlement) -> None:
        """Have a final word written down.

        Raises:
            Abandoned: When the ledger cannot be written any more.

        """
        ...

    async def look_on(self) -> None:
        """Runs beside the workers, and is cancelled when all is over."""
        ...

    async def finish(self) -> None:
        """The workers have ended: what is to be written down is written down now."""
        ...


class ImmediateDispatch:
    """Everything leaves as soon as it may, and is written down as soon as it has its final word."""

    in_order = True
    is_full = is_over = has_more = False

    def __init__(self, parts: Parts) -> None:
        self.add, self.take, self.book = parts.schedule.add, parts.schedule.take, parts.committer.settle

    def __repr__(self) -> str:
        return "<ImmediateDispatch>"

    def filled(self) -> None:
        """See `Dispatch`."""

    def complete(self) -> None:
        """See `Dispatch`."""

    def back(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> None:
        """See `Dispatch`."""

    async def look_on(self) -> None:
        """See `Dispatch`."""

    async def finish(self) -> None:
        """See `Dispatch`."""
