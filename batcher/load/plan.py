"""What a generator is to do, by which clocks, and what it saw."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from batcher.core.arrivals import Arrivals
from batcher.core.report import Requests
from batcher.load.measurement import Interval
from batcher.load.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Time as a generator needs it."""

    lead: float
    """So many seconds before it is due a request is made ready."""
    cpu: Callable[[], float]
    """Seconds of processor that the generator has used, waiting for the clock left out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When to send. Without arrivals it is a closed loop: as much as the places allow, each as soon as one is free."""

    arrivals: Arrivals | None
    """The warm-up included."""
    most: float = math.inf
    """Requests, the warm-up's left out."""
    seconds: float = math.inf
    """How long a closed loop lasts, the warm-up left out."""
    warm_up: float = 0.0
    in_order: bool = False
    """Whether no window is sent before everything before it is settled."""

    @property
    def planned(self) -> float:
        """Requests of an open loop, the warm-up's included."""
        if self.arrivals is None:
            return math.inf
        if self.most == math.inf:
            return len(self.arrivals)
        warming = bisect_left(range(len(self.arrivals)), self.warm_up, key=self.arrivals.due)
        return min(len(self.arrivals), warming + self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What a generator saw."""

    recorder: Recorder
    intervals: list[Interval]
    requests: Requests
    seconds: float
    cpu_share: float
    lag: float
    """Seconds within which 99 % of the requests were ready after they were due and somebody was free."""
