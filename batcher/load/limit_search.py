"""How much a target bears: the load is stepped up until an expectation breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from batcher.core.expectations import Expectation
from batcher.load.measurement import Measurement
from batcher.load.thresholds import figures, judged

_FACTOR = 1.25
_KEPT_UP = 0.95
"""Of the requests that are due in a step; with fewer the target, or the generator, does not keep up."""


@dataclass(frozen=True, slots=True)
class Search:
    """The last step at which all was well, if any, the measurement of the last one, and all of them in short."""

    last_good: float | None
    """Requests per second."""
    last: Measurement
    steps: list[dict[str, Any]]
    why: str
    """What broke."""


async def search(
    first: float,
    expectations: Sequence[Expectation],
    measure: Callable[[int, float], Awaitable[Measurement]],
) -> Search:
    """Raise the rate by a quarter from step to step, until something breaks; in the end the generator does.

    Args:
        first: Requests per second of the first step.
        expectations: What must hold.
        measure: Makes the step of this number with so many requests per second.

    """
    rate, last_good = first, None
    steps: list[dict[str, Any]] = []
    while True:
        measurement = await measure(len(steps), rate)
        broken = [item["text"] for item in judged(measurement, expectations) if not item["holds"]]
        reached = measurement.per_second["requests"]
        if reached < _KEPT_UP * rate and not broken:
            broken = [f"{reached:.1f} of {rate:.1f} requests per second were answered"]
        why = ", ".join(broken)
        if measurement.stopped:
            why = measurement.reason
        elif broken and measurement.generator.is_bottleneck:
            why += f" (the generator may be the reason: {measurement.generator.reason})"
        steps.append({"requests_per_second": round(rate, 3), "why": why} | figures(measurement))
        if why:
            return Search(last_good, measurement, steps, why)
        last_good, rate = rate, rate * _FACTOR
