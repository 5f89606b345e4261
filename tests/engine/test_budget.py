"""When a run stops early, at its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batcher.core.status import FAILURES, Status
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.budget import Budget, BudgetWatch


def watched(**budget: Any) -> tuple[BudgetWatch, Shutdown]:
    shutdown = Shutdown()
    nothing: Any = None  # it is about time, of which nothing is asked here
    return BudgetWatch(Budget(**budget), nothing, nothing, nothing, shutdown), shutdown


def column(status: Status, count: int) -> np.ndarray:
    return np.full(count, status, np.int8)


@pytest.mark.parametrize("most", [0, 1, 5])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("status", sorted(FAILURES))
def test_failures_at_their_bound(most, more, status):
    watch, shutdown = watched(max_failures=most)
    watch.settled(column(Status.APPLIED, 10))
    for _ in range(most + more):
        watch.settled(column(status, 1))
    assert shutdown.is_set is (more > 0)
    assert shutdown.cause is (Cause.FAILURES if more > 0 else None)


@pytest.mark.parametrize(
    ("settled", "failed", "stops"),
    [(999, 999, False), (1000, 49, False), (1000, 50, False), (1000, 51, True), (2000, 100, False), (2000, 101, True)],
)
def test_a_share_of_failures_at_its_bound(settled, failed, stops):
    """It says nothing of fewer than a thousand."""
    watch, shutdown = watched(max_failure_share=0.05)
    watch.settled(np.concatenate([column(Status.FAILED, failed), column(Status.APPLIED, settled - failed)]))
    assert shutdown.is_set is stops


@pytest.mark.parametrize("status", [Status.APPLIED, Status.UNCHANGED, Status.SUPERSEDED, Status.REJECTED])
def test_what_is_no_failure_does_not_count(status):
    watch, shutdown = watched(max_failures=0, max_failure_share=0.0)
    watch.settled(column(status, 2_000))
    assert not shutdown.is_set
