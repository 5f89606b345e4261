"""Compares two measurements: what became slower, and how certain that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batcher.core.comparing import LEAST_STRETCHES, Change, Counts, compare_means, compare_percentiles, compare_shares
from batcher.core.errors import ConfigurationError
from batcher.load.latencies import PERCENTILES
from batcher.load.measurement import Measurement

_JUDGED = {50.0, 90.0, 99.0}
"""The percentiles that are judged; for higher ones, a run of ordinary length has too few requests."""
_OWN_ERROR = 0.2
"""In milliseconds. A smaller difference may be an error of the generator itself."""
_ERRORS = 0.001


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure in both measurements; latencies are in milliseconds. `is_worse` only if the figure is judged."""

    name: str
    unit: str
    change: Change
    is_judged: bool
    is_worse: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures, notes on what makes the two hard to compare, and whether anything is worse."""

    lines: tuple[ComparedFigure, ...]
    notes: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether any judged figure is worse."""
        return any(line.is_worse for line in self.lines)


def compare(before: Measurement, after: Measurement, threshold: float, kind: str = "intended") -> Comparison:
    """Compare percentiles of latency, throughput and errors; requests that were due and never sent count as errors.

    Args:
        before: The measurement that serves as the reference.
        after: The measurement that is judged.
        threshold: The share by which a figure must be worse, with certainty.
        kind: Which latencies to compare: `intended` or `actual`.

    Raises:
        ConfigurationError: When one of them has measured nothing.

    """
    for side, word in ((before, "first"), (after, "second")):
        if not side.latency[kind].count:
            raise ConfigurationError(f"the {word} run has measured nothing: {side.reason or 'no request was answered'}")
    lines = []
    changes = compare_percentiles(_series(before, kind), _series(after, kind), PERCENTILES)
    for percent, change in zip(PERCENTILES, changes, strict=True):
        is_judged = percent in _JUDGED
        shown = replace(change, before=change.before / 1000, after=change.after / 1000)
        is_worse = is_judged and change.is_rise(threshold) and shown.after - shown.before > _OWN_ERROR
        lines.append(ComparedFigure(f"p{percent:g}", "ms", shown, is_judged, is_worse))
    rates = compare_means(_rates(before), _rates(after))
    is_alike = (before.loop, before.arrivals) == (after.loop, after.arrivals)
    lines.append(ComparedFigure("requests", "/s", rates, is_alike, is_alike and rates.is_fall(threshold)))
    errors = compare_shares(_errors(before), _errors(after))
    lines.append(ComparedFigure("errors", "share", errors, True, errors.is_rise(_ERRORS)))
    return Comparison(tuple(lines), tuple(_notes(before, after, kind)))


def _series(side: Measurement, kind: str) -> list[Counts]:
    return [(part.values, part.counts) for part in side.latencies(kind)]


def _rates(side: Measurement) -> list[float]:
    return [(interval.ok + interval.failed) / side.interval_seconds for interval in side.intervals[:-1]]


def _errors(side: Measurement) -> list[tuple[float, float]]:
    """For each interval: requests that failed or were never sent, and all that were due."""
    return [(i.failed + i.dropped, i.ok + i.failed + i.dropped) for i in side.intervals]


def _notes(before: Measurement, after: Measurement, kind: str) -> list[str]:
    """Reasons why the comparison may be less meaningful than it seems."""
    notes = []
    for name in ("target", "loop", "arrivals", "input", "processes"):
        first, second = getattr(before, name), getattr(after, name)
        if first != second:
            notes.append(f"the runs differ: {name} was {first}, then {second}")
    for side, word in ((before, "first"), (after, "second")):
        if side.generator.is_bottleneck:
            notes.append(f"in the {word} run the generator may have been the bottleneck: {side.generator.reason}")
        if side.stopped:
            notes.append(f"the {word} run was stopped: {side.reason}")
        if sum(1 for part in side.latencies(kind) if len(part)) < LEAST_STRETCHES:
            notes.append(f"the {word} run is too short to distinguish a change from chance")
    return notes
