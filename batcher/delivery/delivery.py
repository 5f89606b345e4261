"""A batch that is being delivered, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batcher.core.batch import Attempt, Batch, Op, Settlement
from batcher.core.blame import Refusal
from batcher.core.http import Response
from batcher.core.verdict import Stop


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """The outcome of a batch. None of it is on disk yet."""

    settled: tuple[Settlement, ...] = ()
    refused: tuple[Refusal, ...] = ()
    """Refusals that are not recorded until it is clear whether the changes or the run are at fault."""
    pieces: tuple[tuple[Op, ...], ...] = ()
    history: tuple[Attempt, ...] = ()
    """The attempts so far, which the pieces inherit."""
    accepted: bool = False
    """At least one change was accepted."""
    was_refused: bool = False
    """The target refused all of it."""
    was_too_large: bool = False
    """The target said that it refused it because of its size."""
    stop: Stop | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The timing of one request with changes. Times are monotonic seconds."""

    departed: float | None
    """None if it never left."""
    ended: float
    """When the reply was complete, or it was clear that there would be none."""
    status: int | None
    error: str
    """What happened instead of a reply, or that a reply with a status of success is a refusal; else empty."""
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """An attempt that is over: what went out, and what came of it."""

    started: float
    """When the request left, or when the attempt began if none did (monotonic seconds)."""
    has_left: bool
    size: int
    """Bytes of the request's body."""
    generation: int
    """The number of the token that it was sent with."""
    outcome: Response | Exception


@dataclass(slots=True, eq=False)
class Delivery:
    """All attempts to deliver one batch."""

    batch: Batch
    accepted_before: int
    history: list[Attempt] = field(default_factory=list)
    counted: int = 0

    def remember(self, attempt: Attempt) -> None:
        """Add to the history; the same answer several times in a row is one entry with a count."""
        last = self.history[-1] if self.history else None
        if last is not None and replace(last, at=attempt.at, boot=attempt.boot, times=1) == attempt:
            self.history[-1] = replace(attempt, times=last.times + 1)
        else:
            self.history.append(attempt)
