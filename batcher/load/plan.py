"""What a generator is to do, the clocks that it uses, and its results."""

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
    """The timing of a generator."""

    lead: float
    """How many seconds before it is due a request is made ready."""
    cpu: Callable[[], float]
    """Returns the processor seconds that the generator has used, without those spent waiting for the clock."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When to send. Without arrivals it is a closed loop: a request is sent whenever a place in flight is free."""

    arrivals: Arrivals | None
    """The arrivals, including the warm-up."""
    most: float = math.inf
    """The maximum number of requests, without the warm-up."""
    seconds: float = math.inf
    """The duration of a closed loop, without the warm-up."""
    warm_up: float = 0.0
    """The duration of the warm-up in seconds."""
    in_order: bool = False
    """Whether changes that contradict an earlier window wait until it is settled."""

    @property
    def planned(self) -> float:
        """The number of requests of an open loop, including the warm-up; infinity for a closed loop."""
        if self.arrivals is None:
            return math.inf
        if self.most == math.inf:
            return len(self.arrivals)
        warming = bisect_left(range(len(self.arrivals)), self.warm_up, key=self.arrivals.due)
        return min(len(self.arrivals), warming + self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The results of a generator. `seconds` is the measured time, `cpu_share` the share of one core that was used."""

    recorder: Recorder
    intervals: list[Interval]
    requests: Requests
    seconds: float
    cpu_share: float
    lag: float
    """99 % of the requests were ready within so many seconds after they were due and could be sent."""
    starved: float = 0.0
    """The share of the time of a closed loop in which a place was free and no request was ready."""
