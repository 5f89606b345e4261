"""How long replies took, in few numbers: each bucket is a tenth longer than the one before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

_STEP = math.log(1.1)
_SHORTEST = 1e-6


class Durations(Counter[int]):
    """Counts per bucket."""

    def add(self, seconds: float) -> None:
        """One more that took so long."""
        self[int(math.log(max(seconds, _SHORTEST)) // _STEP)] += 1

    def bounds(self) -> dict[float, int]:
        """The count of each bucket by its upper bound in seconds, ascending."""
        return {math.exp((bucket + 1) * _STEP): self[bucket] for bucket in sorted(self)}

    def percentile(self, percent: float) -> float:
        """Seconds (at most a tenth too many) within which so many percent were; 0.0 of nothing."""
        rank, seen = percent / 100 * self.total(), 0
        for bound, count in self.bounds().items():
            seen += count
            if seen >= rank:
                return bound
        return 0.0

    def copy(self) -> Durations:
        """As it is now."""
        return Durations(self)

    @staticmethod
    def of(counts: Mapping[str, int]) -> Durations:
        """From JSON, where keys are texts."""
        return Durations({int(bucket): count for bucket, count in counts.items()})
