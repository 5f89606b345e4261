"""Arrival schedules: at which times requests are due, at constant, rising or falling rates, stage by stage."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from batcher.core.errors import ConfigurationError
from batcher.core.units import parse_duration

_UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_MOST = 1_000_000_000
"""The largest number of requests in a stage."""
_NUMBER = r"(\d{1,7}(?:\.\d{1,6})?)"
_STAGE = re.compile(rf"{_NUMBER}(?:\s*\.\.\s*{_NUMBER})?\s*/\s*(s|min|m|h)(?:\s+for\s+(\S+))?")


@dataclass(frozen=True, slots=True)
class ArrivalStage:
    """A rate that changes linearly from `first` to `last` requests per second within `seconds` seconds."""

    first: float
    last: float
    seconds: float

    def __str__(self) -> str:
        rate = f"{self.first:.10g}" if self.first == self.last else f"{self.first:.10g}..{self.last:.10g}"
        return f"{rate}/s for {self.seconds:.10g}s"

    @property
    def count(self) -> float:
        """Requests that are due in this stage; may be fractional."""
        return (self.first + self.last) / 2 * self.seconds

    def at(self, count: float) -> float:
        """Seconds after the stage's start at which `count` requests were due: the inverse of the rate's integral."""
        if count <= 0:
            return 0.0
        slope = (self.last - self.first) / self.seconds
        if slope == 0:
            return count / self.first
        root = math.sqrt(max(0.0, self.first**2 + 2 * slope * count))
        return 2 * count / (self.first + root)  # the form that loses no digits where the slope is small


class Arrivals:
    """A schedule. The first request is due at once, each further one when the integral of the rate has grown by one."""

    def __init__(self, stages: Sequence[ArrivalStage], shift: float = 0.0) -> None:
        """`shift` delays everything by that fraction of a request."""
        self.stages = tuple(stages)
        self._shift = shift
        self._starts = list(accumulate((stage.seconds for stage in stages), initial=0.0))
        self._counts = list(accumulate((stage.count for stage in stages), initial=0.0))
        self._stage = 0

    def __repr__(self) -> str:
        return f"<Arrivals {len(self)} in {self.seconds:g} s>"

    def __str__(self) -> str:
        return ", ".join(map(str, self.stages))

    def __len__(self) -> int:
        return max(0, math.ceil(self._counts[-1] - self._shift - 1e-9))

    @property
    def seconds(self) -> float:
        """How long the schedule lasts."""
        return self._starts[-1]

    def due(self, number: int) -> float:
        """Seconds after the start at which this request (from 0) is due. Fast when asked in order."""
        count = number + self._shift
        if count < self._counts[self._stage]:
            self._stage = 0
        while count >= self._counts[self._stage + 1] and self._stage + 1 < len(self.stages):
            self._stage += 1
        stage = self.stages[self._stage]
        return self._starts[self._stage] + stage.at(count - self._counts[self._stage])

    def after_warm_up(self, seconds: float) -> Arrivals:
        """The same schedule, preceded by `seconds` at its first rate (at its last rate if it starts from zero)."""
        first = self.stages[0].first or self.stages[0].last
        return Arrivals([ArrivalStage(first, first, seconds), *self.stages])

    def share(self, part: int, parts: int) -> Arrivals:
        """The part of the schedule that one of several generators has to send.

        The rates are divided, and the parts are shifted against each other by a fraction of a request, so that all
        of them together arrive as evenly as the whole.
        """
        divided = [replace(stage, first=stage.first / parts, last=stage.last / parts) for stage in self.stages]
        return Arrivals(divided, part / parts)


def parse_arrivals(text: str, seconds: float) -> Arrivals:
    """`200/s`, `200/s for 30s`, `100..500/s for 1m`; stages separated by commas or line breaks, `#` for comments.

    Args:
        text: The schedule; rates per `s`, `min` or `h`.
        seconds: The length of a stage that does not specify one.

    Raises:
        ConfigurationError: When the text is not a valid schedule.

    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    parts = [part.strip() for line in lines for part in line.split(",") if part.strip()]
    stages = [_stage(part, seconds) for part in parts]
    if not stages or all(stage.count == 0 for stage in stages):
        raise ConfigurationError(f"{text!r} schedules no request; expected e.g. 200/s for 30s, 200..500/s for 1m")
    return Arrivals(stages)


def _stage(text: str, seconds: float) -> ArrivalStage:
    match = _STAGE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"invalid arrival stage {text!r}; expected e.g. 200/s for 30s, 200..500/s for 1m")
    unit = _UNITS[match[3]]
    first = float(match[1]) / unit
    last = float(match[2]) / unit if match[2] else first
    lasts = parse_duration(match[4]) if match[4] else seconds
    stage = ArrivalStage(first, last, lasts)
    if lasts <= 0 or stage.count > _MOST:
        raise ConfigurationError(f"{text!r}: a stage must last longer than 0 s and have at most {_MOST:,} requests")
    return stage
