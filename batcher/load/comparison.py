"""Two measurements side by side: what became slower, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batcher.core.comparing import LEAST_STRETCHES, Change, Counts, compare_means, compare_percentiles, compare_shares
from batcher.core.errors import ConfigurationError
from batcher.load.latencies import PERCENTILES
from batcher.load.measurement import Measurement

_JUDGED = {50.0, 90.0, 99.0}
"""Beyond them a run of ordinary length has too few requests."""
_OWN_ERROR = 0.2
"""Milliseconds. A smaller difference may be the generator's own."""
_ERRORS = 0.001


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of both; latencies in milliseconds. `is_worse` only where it is judged."""

    name: str
    unit: str
    change: Change
    is_judged: bool
    is_worse: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures, what makes the two hard to compare, and whether anything is worse."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether any judged figure is."""
        return any(line.is_worse for line in self.lines)


def compare(before: Measurement, after: Measurement, threshold: float, kind: str = "intended") -> Comparison:
    """Percentiles of latency, throughput, errors; what was due and never left is among the errors.

    Args:
        before: The one that is known.
        after: The one that is judged.
        threshold: By what share a figure must surely be worse.
        kind: Which latencies: `intended` or `actual`.

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
        lines.append(Line(f"p{percent:g}", "ms", shown, is_judged, is_worse))
    rates = compare_means(_rates(before), _rates(after))
    is_alike = (before.loop, before.arrivals) == (after.loop, after.arrivals)
    lines.append(Line("requests", "/s", rates, is_alike, is_alike and rates.is_fall(threshold)))
    errors = compare_shares(_errors(before), _errors(after))
    lines.append(Line("errors", "share", errors, True, errors.is_rise(_ERRORS)))
    return Comparison(tuple(lines), tuple(_notes(before, after, kind)))


def _series(side: Measurement, kind: str) -> list[Counts]:
    return [(part.values, part.counts) for part in side.latencies(kind)]


def _rates(side: Measurement) -> list[float]:
    return [(interval.ok + interval.failed) / side.interval_seconds for interval in side.intervals[:-1]]


def _errors(side: Measurement) -> list[tuple[float, float]]:
    """Of each stretch: what failed or never left, and all that was due."""
    return [(i.failed + i.dropped, i.ok + i.failed + i.dropped) for i in side.intervals]


def _notes(before: Measurement, after: Measurement, kind: str) -> list[str]:
    """Why the comparison may mean less than it seems."""
    notes = []
    for name in ("target", "loop", "arrivals", "input", "processes"):
        first, second = getattr(before, name), getattr(after, name)
        if first != second:
            notes.append(f"the runs are not alike: {name} was {first}, then {second}")
    for side, word in ((before, "first"), (after, "second")):
        if side.generator.is_bottleneck:
            notes.append(f"in the {word} run the generator may have been the bottleneck: {side.generator.reason}")
        if side.stopped:
            notes.append(f"the {word} run was stopped: {side.reason}")
        if sum(1 for part in side.latencies(kind) if len(part)) < LEAST_STRETCHES:
            notes.append(f"the {word} run is too short to tell chance from change")
    return notes
