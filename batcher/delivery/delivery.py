"""A batch on its way, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batcher.core.batch import Attempt, Batch, Op, Settlement
from batcher.core.blame import Refusal
from batcher.core.verdict import Stop


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """What became of a batch. Nothing of it is on disk yet."""

    settled: tuple[Settlement, ...] = ()
    refused: tuple[Refusal, ...] = ()
    """Words that must wait until it is clear whose fault they are."""
    pieces: tuple[tuple[Op, ...], ...] = ()
    history: tuple[Attempt, ...] = ()
    """What the pieces inherit."""
    accepted: bool = False
    """Some change was accepted."""
    was_refused: bool = False
    """The target refused all of it."""
    was_too_large: bool = False
    """The target refused it for its size, and said so."""
    stop: Stop | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with changes, as a stop-watch saw it. Times are monotonic seconds."""

    departed: float | None
    """None when it never left."""
    ended: float
    """When the last of the reply came, or it was clear that none would."""
    status: int | None
    error: str
    """What came instead of a reply, or that one of success refuses after all."""
    bytes_sent: int
    bytes_received: int


@dataclass(slots=True, eq=False)
class Delivery:
    """All tries of one batch."""

    batch: Batch
    accepted_before: int
    history: list[Attempt] = field(default_factory=list)
    counted: int = 0

    def remember(self, attempt: Attempt) -> None:
        """Add to the history; the same answer again and again is one entry, however long the target insists."""
        last = self.history[-1] if self.history else None
        if last is not None and replace(last, at=attempt.at, boot=attempt.boot, times=1) == attempt:
            self.history[-1] = replace(attempt, times=last.times + 1)
        else:
            self.history.append(attempt)
