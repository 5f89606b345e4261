"""Rate limiting. It only computes how long to wait; the waiting is done elsewhere."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

_NANO = 1_000_000_000
_BUCKETS = 1_000
_RESIDUE = 1_000
"""Nanoseconds; shorter waits are treated as none."""
LONGEST_QUIET = 3600.0
"""Seconds. A target that asks for a longer pause is assumed to be mistaken; `max_wait` ends the run long before."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` per `seconds`, as in `50/min`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{ {1: 's', 60: 'min', 3600: 'h'}[self.seconds] }"


@dataclass(slots=True)
class _Sent:
    """What was sent between `start` and `latest`; all of it counts until a window has passed since `latest`."""

    start: int
    latest: int
    cost: int


class Meter:
    """At most `rate.count` per `rate.seconds` in any sliding window, evenly spaced.

    Two rules together: spacing by the generic cell rate algorithm (ITU-T I.371), which lets up to `burst` go
    back to back, and a log of what was sent within the last window, which makes the bound exact for costs of
    any size and includes the burst. The log has a resolution of a thousandth of the window, rounded up, so that it
    stays small. The window is longer than the unit by `margin`, to absorb jitter on the way to the target.
    It counts in integer nanoseconds, so that rounding never causes another wait of almost zero.
    """

    def __init__(self, rate: Rate, burst: int = 1, margin: float = 0.03) -> None:
        self._count = rate.count
        self._burst = min(burst, rate.count)
        self._window = int(rate.seconds * _NANO * (1 + margin))
        self._due = 0
        self._log: deque[_Sent] = deque()
        self._logged = 0

    def __repr__(self) -> str:
        return f"<Meter {self._logged} of {self._count} in {self._window / _NANO:g} s>"

    def delay(self, now: float, cost: int = 1) -> float:
        """Seconds until `cost` may be sent; 0.0 means now. A cost above the rate waits for an empty window."""
        clock = _ns(now)
        self._forget(clock)
        ready = max(clock, self._due - (self._burst - 1) * self._window // self._count)
        excess = self._logged + cost - self._count
        for sent in self._log:
            if excess <= 0:
                break
            ready = max(ready, sent.latest + self._window)
            excess -= sent.cost
        # A wait below the resolution of a floating-point clock might never end.
        return (ready - clock) / _NANO if ready - clock > _RESIDUE else 0.0

    def take(self, now: float, cost: int = 1) -> None:
        """Record that `cost` was sent at `now`."""
        clock = _ns(now)
        # A sender that wakes up late by up to half a step may catch up; the log below still keeps the bound.
        is_prompt = clock - self._due <= self._window // self._count // 2
        self._due = (self._due if is_prompt else clock) + math.ceil(cost * self._window / self._count)
        if self._count > _BUCKETS and self._log and clock - self._log[-1].start < self._window // _BUCKETS:
            self._log[-1].latest = clock
            self._log[-1].cost += cost
        else:
            self._log.append(_Sent(clock, clock, cost))
        self._logged += cost

    def dump(self) -> list[int]:
        """What was sent, as plain numbers, to be stored for a later or a concurrent process."""
        return [self._due, *(number for sent in self._log for number in (sent.start, sent.latest, sent.cost))]

    def load(self, dumped: list[int], now: float) -> None:
        """Continue from what `dump` returned. Sends in the future count as sent now: the clock was set back."""
        self._due, *numbers = dumped
        self._log = deque(_Sent(*numbers[i : i + 3]) for i in range(0, len(numbers), 3))
        self._logged = sum(sent.cost for sent in self._log)
        ahead = max((sent.latest for sent in self._log), default=0) - _ns(now)
        if ahead > 0:
            self._due -= ahead
            for sent in self._log:
                sent.start, sent.latest = sent.start - ahead, sent.latest - ahead

    def fill(self, now: float) -> None:
        """Assume that the full allowance was just sent, because what was sent is not known."""
        clock = _ns(now)
        self._log, self._logged = deque([_Sent(clock, clock, self._count)]), self._count
        self._due = clock + self._window

    def _forget(self, clock: int) -> None:
        while self._log and self._log[0].latest + self._window <= clock:
            self._logged -= self._log.popleft().cost


def _ns(seconds: float) -> int:
    return round(seconds * _NANO)


class Waiting(Enum):
    """The reason why a send waits."""

    NOTHING = "nothing"
    RATE = "rate"
    RETRY_AFTER = "retry_after"
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class Turn:
    """How long until the next send, and why."""

    seconds: float
    because: Waiting


_NOW = Turn(0.0, Waiting.NOTHING)


@dataclass(frozen=True, slots=True)
class PaceState:
    """A pacer's state as plain values."""

    requests: list[int]
    changes: list[int]
    quiet_until: float
    quiet_because: str


class Pace(Protocol):
    """Whose turn it is: asked before every request to the target. Times are monotonic seconds."""

    blocked_since: float | None
    """Since when it could not be determined whose turn it is; None when it could."""
    blocked_by: str
    """Why, for people."""

    @property
    def is_limited(self) -> bool:
        """Whether sends have to queue at all."""
        ...

    def quiet(self, until: float, because: Waiting) -> None:
        """No send before `until`."""
        ...

    def turn(self, now: float, changes: int) -> Turn:
        """When a request with so many changes may be sent."""
        ...

    def try_take(self, now: float, changes: int) -> Turn:
        """The turn; if it is now, it is taken, and the send is recorded."""
        ...

    def close(self) -> None:
        """No more sends."""
        ...


class Pacer:
    """Paces every request to the target: requests and changes per unit, and pauses when the target asks for them."""

    def __init__(self, requests: Meter | None, changes: Meter | None) -> None:
        self._requests = requests
        self._changes = changes
        self.quiet_until = -math.inf
        self.quiet_because = Waiting.RETRY_AFTER
        self.blocked_since: float | None = None
        self.blocked_by = ""

    def __repr__(self) -> str:
        meters = f"requests={self._requests} changes={self._changes}"
        return f"<{type(self).__name__} {meters} quiet_until={self.quiet_until:g}>"

    @property
    def is_limited(self) -> bool:
        """Whether sends have to queue at all."""
        return self._requests is not None or self._changes is not None

    def quiet(self, until: float, because: Waiting) -> None:
        """No send before `until`."""
        if until > self.quiet_until:
            self.quiet_until, self.quiet_because = until, because

    def turn(self, now: float, changes: int) -> Turn:
        """When a request with so many changes may be sent."""
        if now < self.quiet_until:
            return Turn(self.quiet_until - now, self.quiet_because)
        if not self.is_limited:
            return _NOW
        waits = [0.0]
        if self._requests is not None:
            waits.append(self._requests.delay(now))
        if self._changes is not None and changes:
            waits.append(self._changes.delay(now, changes))
        longest = max(waits)
        return Turn(longest, Waiting.RATE if longest > 0 else Waiting.NOTHING)

    def try_take(self, now: float, changes: int) -> Turn:
        """The turn; if it is now, it is taken, and the send is recorded."""
        turn = self.turn(now, changes)
        if turn.seconds <= 0:
            self.record(now, changes)
        return turn

    def record(self, now: float, changes: int) -> None:
        """A send happened at `now`."""
        if self._requests is not None:
            self._requests.take(now)
        if self._changes is not None and changes:
            self._changes.take(now, changes)

    def fill(self, now: float) -> None:
        """Assume that the full allowance was just sent."""
        for meter in (self._requests, self._changes):
            if meter is not None:
                meter.fill(now)

    def close(self) -> None:
        """No more sends."""

    def dump(self) -> PaceState:
        """Everything that another process needs to keep the same bounds."""
        return PaceState(
            self._requests.dump() if self._requests else [],
            self._changes.dump() if self._changes else [],
            self.quiet_until,
            self.quiet_because.value,
        )

    def load(self, state: PaceState, now: float) -> None:
        """Continue from what `dump` returned. No pause lasts longer than `LONGEST_QUIET`."""
        if self._requests is not None and state.requests:
            self._requests.load(state.requests, now)
        if self._changes is not None and state.changes:
            self._changes.load(state.changes, now)
        self.quiet_until = min(state.quiet_until, now + LONGEST_QUIET)
        self.quiet_because = Waiting(state.quiet_because)
