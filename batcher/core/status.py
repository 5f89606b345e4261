"""The statuses of changes and what they mean, all in one place: a new status is one line here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from functools import cache

import numpy as np

from batcher.core.vectors import Bytes, Mask


class Status(IntEnum):
    """The status of a change. `PENDING` inside a verdict means that the reply does not say."""

    PENDING = 0
    APPLIED = 1
    UNCHANGED = 2
    SUPERSEDED = 3
    REJECTED = 4
    FAILED = 5
    UNKNOWN = 6

    @property
    def label(self) -> str:
        """The word in results and summaries."""
        return self.name.lower()


IN_EFFECT = frozenset({Status.APPLIED, Status.UNCHANGED})
"""The target is in the state that the change asks for."""
FAILURES = frozenset({Status.FAILED, Status.UNKNOWN})
"""It was sent and is not known to be in effect; `retry` sends it again."""
UNCLEAR = frozenset({Status.UNKNOWN, Status.PENDING})
"""It may be in effect or not."""
PROBLEMS = FAILURES | {Status.REJECTED}
"""Somebody should look into it; the exit code is 3."""


def are(statuses: Bytes, kinds: frozenset[Status]) -> Mask:
    """Which of a column's statuses are of these kinds."""
    return _table(kinds)[statuses]


@cache
def _table(kinds: frozenset[Status]) -> Mask:
    table = np.zeros(len(Status), bool)
    table[list(kinds)] = True
    return table


def count_of(tally: Mapping[Status, int], kinds: Collection[Status]) -> int:
    """How many changes of a tally are of these kinds."""
    return sum(tally.get(kind, 0) for kind in kinds)
