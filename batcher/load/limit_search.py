"""Finds out how much load a target can handle: the rate is raised step by step until an expectation is not met."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from batcher.core.expectations import Expectation
from batcher.load.measurement import Measurement
from batcher.load.thresholds import figures, judged

_FACTOR = 1.25
_KEPT_UP = 0.95
"""The share of the due requests that must be answered in a step; below it, the target or the generator falls behind."""


@dataclass(frozen=True, slots=True)
class Search:
    """The result of a search."""

    last_good: float | None
    """The rate of the last step that met all expectations, in requests per second; None if none did."""
    last: Measurement
    """The measurement of the last step."""
    steps: list[dict[str, Any]]
    """The rate, the figures and the reason of each step."""
    why: str
    """The reason why the last step failed."""


async def search(
    first: float,
    expectations: Sequence[Expectation],
    measure: Callable[[int, float], Awaitable[Measurement]],
) -> Search:
    """Raise the rate by a quarter from step to step until something fails; sooner or later the generator does.

    Args:
        first: Requests per second in the first step.
        expectations: What must hold.
        measure: Measures a step, given its number and its requests per second.

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
