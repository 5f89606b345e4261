"""When batches are sent and when outcomes are written: the only place in which a load run differs from other runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batcher.core.batch import Batch, Settlement
from batcher.core.schedule import Next
from batcher.delivery.delivery import Delivered
from batcher.engine.run.parts import Parts


class Dispatch(Protocol):
    """Connects admission, delivery pool and committer. Only the `async` methods wait."""

    in_order: bool
    """Whether at most two windows are open, and changes that contradict an earlier window wait for it."""

    takes_fast_lane: bool
    """Whether a batch may leave at any time once it was taken."""

    @property
    def is_full(self) -> bool:
        """Whether so much is ready that no window is opened until something is sent."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether nothing more is sent than what the schedule already has."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether something is ready that the schedule does not have yet."""
        ...

    def add(self, batches: Sequence[Batch]) -> None:
        """These batches were packed, in this order."""
        ...

    def filled(self) -> None:
        """Nothing more becomes ready until something is sent."""
        ...

    def complete(self) -> None:
        """Nothing more becomes ready at all."""
        ...

    def take(self, now: float) -> Next:
        """What the calling worker is to deliver now, or when to ask again; `now` is in monotonic seconds."""
        ...

    def back(self, batch: Batch, delivered: Delivered, pieces: Sequence[Batch]) -> None:
        """A batch was delivered, and these pieces of it are sent again."""
        ...

    def accepted(self, batch: Batch) -> None:
        """A batch was accepted as a whole, on the fast lane."""
        ...

    async def book(self, settlement: Settlement) -> None:
        """Have a settlement written to the ledger.

        Raises:
            Abandoned: When the ledger cannot be written any more.

        """
        ...

    async def look_on(self) -> None:
        """Runs alongside the workers, and is cancelled when they have ended."""
        ...

    async def finish(self) -> None:
        """The workers have ended: write what is left to be written."""
        ...


class ImmediateDispatch:
    """Sends every batch as soon as it may be sent, and writes each settlement at once."""

    in_order = takes_fast_lane = True
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

    def accepted(self, batch: Batch) -> None:
        """See `Dispatch`."""

    async def look_on(self) -> None:
        """See `Dispatch`."""

    async def finish(self) -> None:
        """See `Dispatch`."""
