"""How many requests may be in flight at once, learned from the replies by trial and error.

Little's law says that more in flight brings more throughput until the target is busy, and only longer replies
beyond that. So the limit grows while it is reached and nothing speaks against it (doubling at first), and shrinks
when the target pushes back (429, time-out, reset) or when replies become slower by more than chance explains.

- The limit at which the target pushed back is remembered: afterwards the limit returns to just below it within a few
  rounds (fast recovery), and exceeds it only after a waiting time that doubles with each failed attempt.
- Slower replies may have nothing to do with us. A reduction that did not make them faster is undone, and their current
  duration becomes the new baseline.

A round is as many replies as the limit allows, so that each decision sees the effect of the one before it. The idea of
rounds and of a ratio to the fastest recent ones is that of TCP Vegas (Brakmo and Peterson, 1994).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

_TOLERANCE = 1.5
"""Replies count as slower when they take this many times as long as in the best recent round."""
_MEMORY = 16
"""How many recent rounds are remembered."""
_SAMPLES = 8
"""The fewest replies in a round once the initial doubling is over: fewer say little about the mean."""
_PUSHED = 0.8
_HARDEST = 0.5
_FIRST_PATIENCE = 15.0
_LAST_PATIENCE = 600.0


class ConcurrencyLimit(Protocol):
    """`limit` says how many requests may be in flight now, and is never above `ceiling`."""

    limit: int
    ceiling: int

    def succeeded(self, now: float, took: float, changes: int, in_flight: int) -> None:
        """A request of `changes` changes succeeded after `took` seconds, while `in_flight` were in flight."""
        ...

    def pushed_back(self, now: float, took: float) -> None:
        """The target asked for less (429, time-out, reset) with a request that `took` so many seconds."""
        ...

    def start_again(self) -> None:
        """The target was unavailable: forget what was learned about it."""
        ...


@dataclass(slots=True)
class _Round:
    """How long the replies of a round took; only requests of about the largest size count."""

    size: int = 0
    replies: int = 0
    total: float = 0.0
    squares: float = 0.0
    was_reached: bool = False

    def add(self, took: float, size: int) -> None:
        if size > self.size:
            self.size, self.replies, self.total, self.squares = size, 0, 0.0, 0.0
        if size == self.size:
            self.replies += 1
            self.total += took
            self.squares += took * took

    @property
    def mean(self) -> float:
        return self.total / self.replies

    @property
    def error(self) -> float:
        """How far the mean may be off by chance: two standard errors."""
        variance = max(0.0, self.squares / self.replies - self.mean**2)
        return 2 * math.sqrt(variance / self.replies)


@dataclass(slots=True)
class _Shrinkage:
    """When the limit shrank, its value before, and how long replies to requests sent before that took."""

    at: float
    limit: int
    before: _Round = field(default_factory=_Round)


class AdaptiveLimit:
    """`limit` is the number of requests that may be in flight now; it never exceeds `ceiling`."""

    def __init__(self, start: int = 4, ceiling: int = 32) -> None:
        self.ceiling = ceiling
        self.limit = min(start, ceiling)
        self._slow_start = True
        self._too_many = math.inf
        self._patience = _FIRST_PATIENCE
        self._try_at = -math.inf
        self._hold_until = -math.inf
        self._round = _Round()
        self._recent: deque[float] = deque(maxlen=_MEMORY)
        self._size = 0
        self._shrunk: _Shrinkage | None = None

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.limit} of {self.ceiling}>"

    def succeeded(self, now: float, took: float, changes: int, in_flight: int) -> None:
        """A reply came without push-back, `took` seconds after a request of `changes` changes was sent."""
        if self._shrunk is not None and now - took < self._shrunk.at:
            self._shrunk.before.add(took, changes.bit_length())
            return  # sent before the limit shrank
        self._round.add(took, changes.bit_length())
        self._round.was_reached |= in_flight >= self.limit
        if self._round.replies < (self.limit if self._slow_start else max(self.limit, _SAMPLES)):
            return
        ended, self._round = self._round, _Round()
        if ended.size != self._size:
            self._size, self._shrunk = ended.size, None
            self._recent.clear()
        best = min(self._recent, default=ended.mean)
        self._recent.append(ended.mean)
        if self._shrunk is not None:
            self._judge(self._shrunk, ended)
        elif ended.mean - ended.error > _TOLERANCE * best:
            self._shrunk = _Shrinkage(now, self.limit)
            self._slow_start = False
            self.limit = max(1, math.floor(self.limit * max(_HARDEST, best / ended.mean)))
        elif ended.was_reached:
            self._grow(now)

    def pushed_back(self, now: float, took: float) -> None:
        """The target asked for less (429, time-out, reset) with a request that `took` so many seconds."""
        if now < self._hold_until:
            return  # it was sent before the limit shrank
        self._hold_until = now + took
        if self.limit > self._too_many - 1:
            self._patience = min(self._patience * 2, _LAST_PATIENCE)
        self._too_many = self.limit
        self._try_at = now + self._patience
        self._slow_start, self._shrunk, self._round = False, None, _Round()
        self.limit = max(1, int(self.limit * _PUSHED))

    def start_again(self) -> None:
        """The target was down: how much it can handle now has to be learned again."""
        self._slow_start, self._shrunk, self._round = True, None, _Round()
        self._too_many, self._patience = math.inf, _FIRST_PATIENCE
        self._recent.clear()

    def _judge(self, shrunk: _Shrinkage, ended: _Round) -> None:
        """Undo a reduction that did not make replies faster by at least a quarter of what was expected."""
        self._shrunk = None
        if not shrunk.before.replies:
            return
        expected = shrunk.before.mean * (1 - (1 - self.limit / shrunk.limit) / 4)
        if ended.mean > expected and self.limit < shrunk.limit:
            self.limit = shrunk.limit
            self._recent.clear()
            self._recent.append(ended.mean)

    def _grow(self, now: float) -> None:
        if self.limit >= self._too_many:  # a whole round went well with a limit that was once too high
            self._too_many, self._patience = math.inf, _FIRST_PATIENCE
        if self._slow_start:
            step = self.limit
        elif math.isinf(self._too_many):
            step = max(1, self.limit // 8)
        elif self.limit < self._too_many - 1:
            step = math.ceil((self._too_many - 1 - self.limit) / 2)
        elif now >= self._try_at:
            step = 1
        else:
            return
        self.limit = min(self.ceiling, self.limit + step)


class FixedLimit:
    """The number that the user set; it never changes."""

    def __init__(self, limit: int) -> None:
        self.limit = self.ceiling = limit

    def __repr__(self) -> str:
        return f"<FixedLimit {self.limit}>"

    def succeeded(self, now: float, took: float, changes: int, in_flight: int) -> None:
        """Nothing changes: the user decided."""

    def start_again(self) -> None:
        """Nothing changes: the user decided."""

    def pushed_back(self, now: float, took: float) -> None:
        """Nothing changes: the user decided."""
