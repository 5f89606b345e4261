"""A compact histogram of durations: each bucket is a tenth longer than the one before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

_STEP = math.log(1.1)
_SHORTEST = 1e-6


class Durations(Counter[int]):
    """The number of durations per bucket."""

    def add(self, seconds: float) -> None:
        """Count one more duration."""
        self[int(math.log(max(seconds, _SHORTEST)) // _STEP)] += 1

    def bounds(self) -> dict[float, int]:
        """The count of each bucket by its upper bound in seconds, ascending."""
        return {math.exp((bucket + 1) * _STEP): self[bucket] for bucket in sorted(self)}

    def percentile(self, percent: float) -> float:
        """The percentile in seconds, at most a tenth too high; 0.0 if there are no durations."""
        rank, seen = percent / 100 * self.total(), 0
        for bound, count in self.bounds().items():
            seen += count
            if seen >= rank:
                return bound
        return 0.0

    def copy(self) -> Durations:
        """An independent copy."""
        return Durations(self)

    @staticmethod
    def of(counts: Mapping[str, int]) -> Durations:
        """From JSON, where keys are strings."""
        return Durations({int(bucket): count for bucket, count in counts.items()})
