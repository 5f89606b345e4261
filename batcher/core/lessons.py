"""What refusals teach about later requests: how much they may hold, and who is sent separately."""

from __future__ import annotations

from batcher.core.batch import Batch, Op
from batcher.core.quarantine import Quarantine
from batcher.core.size_learner import SizeLearner


class Lessons:
    """Shared by all workers of a run; not kept beyond it."""

    def __init__(self, after_refusals: int = 0) -> None:
        """`after_refusals` is as for `Quarantine`."""
        self.sizes = SizeLearner()
        self.quarantine = Quarantine(after_refusals)

    def __repr__(self) -> str:
        return f"<Lessons {self.sizes!r} {self.quarantine!r}>"

    def was_accepted(self, batch: Batch) -> bool:
        """The target accepted all of it; returns whether requests must be smaller from now on."""
        self.quarantine.was_accepted(batch)
        return self.sizes.was_accepted(batch)

    def cut(self, batch: Batch) -> list[tuple[Op, ...]]:
        """The ops of the requests to send instead; empty when the batch can be sent as it is."""
        parts = self.quarantine.cut(batch)
        if self.sizes.most is not None:
            parts = [piece for part in parts for piece in self.sizes.cut(part)]
        if len(parts) == 1:
            return []
        self.sizes.was_refused(batch)  # what becomes of it tells nothing of its size any more
        return parts
