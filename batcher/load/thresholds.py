"""The figures of a measurement that expectations can refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batcher.core.expectations import Expectation
from batcher.delivery.attempts import NO_CONNECTION
from batcher.load.measurement import Measurement


def figures(measurement: Measurement) -> dict[str, float]:
    """The figures, by the names that `Expectation` uses: latencies in milliseconds, shares of 1, rates per second."""
    requests = measurement.requests
    unsent = measurement.errors.get(NO_CONNECTION, 0)
    tried = requests["ok"] + requests["failed"] + unsent
    due = requests["sent"] + requests["dropped"]
    found = {
        "errors": (requests["failed"] + unsent) / tried if tried else 0.0,
        "late": (requests["late"] + requests["dropped"]) / due if due else 0.0,
        "dropped": float(requests["dropped"]),
    } | measurement.per_second
    for start, summary in measurement.latency.items():
        named = {"mean": summary.mean, "max": summary.max} | summary.percentiles
        found |= {f"{start}.{name}": value for name, value in named.items()}
    return found


def judged(measurement: Measurement, expectations: Sequence[Expectation]) -> list[dict[str, Any]]:
    """Each expectation, the figure that was found, and whether it holds; none does if nothing was measured."""
    found, is_anything = figures(measurement), measurement.latency["intended"].count > 0
    return [
        {"text": wish.text, "found": round(found[wish.name], 6), "holds": is_anything and wish.holds(found)}
        for wish in expectations
    ]
