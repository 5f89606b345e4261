"""Whether one series of measurements is slower than another, beyond what chance explains.

Both series are cut into stretches of time. The bootstrap (Efron, 1979) draws as many stretches as there are, with
replacement, again and again; how the ratio of the two figures scatters over the draws is its confidence interval.
Whole stretches are drawn, not single requests: requests that are neighbours in time share their luck, and the scatter
of single ones would promise too much (the block bootstrap; Künsch, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from batcher.core.vectors import Ints

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = tuple[Ints, Ints]
"""Values in ascending order, and how often each occurred."""
_DRAWS = 2000
_AT_ONCE = 100
_SURE = (2.5, 97.5)
LEAST_STRETCHES = 8
"""With fewer, a change cannot be distinguished from chance."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, its relative change, and the bounds of the 95 % confidence interval of that change."""

    before: float
    after: float
    change: float
    low: float
    high: float

    def is_rise(self, threshold: float) -> bool:
        """Whether it rose, with confidence, by more than the threshold."""
        return self.low > threshold

    def is_fall(self, threshold: float) -> bool:
        """Whether it fell, with confidence, by more than the threshold."""
        return self.high < -threshold


def compare_percentiles(
    before: Sequence[Counts], after: Sequence[Counts], percents: Sequence[float], seed: int = 0
) -> list[Change]:
    """Compare each of these percentiles in two series of stretches."""
    rng = np.random.default_rng(seed)
    first, second = _drawn(before, percents, rng), _drawn(after, percents, rng)
    return [_change(first[:, index], second[:, index]) for index in range(len(percents))]


Parts: TypeAlias = Sequence[tuple[float, float]]
"""For each stretch, a part and the whole that it belongs to."""


def compare_shares(before: Parts, after: Parts, seed: int = 0) -> Change:
    """Compare the share of the parts in the wholes; `change` is the difference of the shares, not their ratio."""
    first, second = _shares(before, after, seed)
    if len(before) < LEAST_STRETCHES or len(after) < LEAST_STRETCHES:
        return Change(_first(first), _first(second), 0.0, -np.inf, np.inf)
    low, high = np.percentile(second[1:] - first[1:], _SURE)
    return Change(float(first[0]), float(second[0]), float(second[0] - first[0]), float(low), float(high))


def compare_means(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Change:
    """Compare the means over stretches of equal length."""
    if len(before) < LEAST_STRETCHES or len(after) < LEAST_STRETCHES:
        return Change(_mean(before), _mean(after), 0.0, -np.inf, np.inf)
    return _change(*_shares([(value, 1.0) for value in before], [(value, 1.0) for value in after], seed))


def _mean(series: Sequence[float]) -> float:
    return sum(series) / len(series) if series else 0.0


def _shares(before: Parts, after: Parts, seed: int) -> list[Floats]:
    rng = np.random.default_rng(seed)
    drawn = []
    for series in (before, after):
        if not series:
            drawn.append(np.empty(0))
            continue
        part, whole = (_weights(len(series), rng) @ np.asarray(series, np.float64)).T
        drawn.append(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
    return drawn


def _change(before: Floats, after: Floats) -> Change:
    """The change between figures; the first is that of the series itself, the others are those of the draws."""
    if not len(before) or not len(after) or before[0] <= 0:
        return Change(_first(before), _first(after), 0.0, -np.inf, np.inf)
    ratios = after[1:] / np.where(before[1:] > 0, before[1:], np.nan) - 1
    low, high = np.nanpercentile(ratios, _SURE)
    return Change(float(before[0]), float(after[0]), float(after[0] / before[0] - 1), float(low), float(high))


def _first(figures: Floats) -> float:
    return float(figures[0]) if len(figures) else 0.0


def _weights(stretches: int, rng: np.random.Generator) -> Floats:
    """How often each stretch counts: once in the first row, as drawn in the others."""
    drawn = rng.multinomial(stretches, np.full(stretches, 1 / stretches), _DRAWS)
    return np.vstack([np.ones(stretches), drawn]).astype(np.float64)


def _drawn(series: Sequence[Counts], percents: Sequence[float], rng: np.random.Generator) -> Floats:
    """A row of percentiles for each draw."""
    known = [counts for counts in series if len(counts[0])]
    if len(known) < LEAST_STRETCHES:
        return np.empty((0, len(percents)))
    values = np.unique(np.concatenate([found for found, _ in known]))
    matrix = np.zeros((len(known), len(values)))
    for row, (found, counts) in enumerate(known):
        matrix[row, np.searchsorted(values, found)] = counts
    parts = []
    for weights in np.array_split(_weights(len(known), rng), _DRAWS // _AT_ONCE):
        below = np.cumsum(weights @ matrix, axis=1)
        ranks = np.maximum(1, np.ceil(np.outer(below[:, -1], np.asarray(percents) / 100) - 1e-9))
        parts.append(np.stack([values[(below >= rank[:, None]).argmax(axis=1)] for rank in ranks.T], axis=1))
    return np.concatenate(parts)
