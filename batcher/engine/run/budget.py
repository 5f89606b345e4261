"""Reasons to stop early: too many failures, the deadline, and a target that accepts nothing for too long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import anyio
import numpy as np

from batcher.core.clock import Clock
from batcher.core.health import Health
from batcher.core.rate import Pace
from batcher.core.status import FAILURES, are
from batcher.core.units import parse_duration, parse_failures, spoken
from batcher.core.vectors import Bytes
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.settings import Settings

_JUDGED_FROM = 1_000
"""The share of failures is not judged before so many changes are settled."""
_LOOKS = 8
"""How often within `max_wait` to check whether the target has begun to accept nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop early: counts, shares of 1, and durations in seconds; None means no bound."""

    max_failures: int | None = None
    max_failure_share: float | None = None
    deadline: float | None = None
    max_wait: float = 900.0


def budget_of(settings: Settings) -> Budget:
    """The budget that the settings allow.

    Raises:
        ConfigurationError: When they are invalid.

    """
    guard = settings.guard
    count, share = parse_failures(guard.max_failures) if guard.max_failures else (None, None)
    deadline = parse_duration(guard.deadline) if guard.deadline else None
    return Budget(count, share, deadline, parse_duration(settings.retry.max_wait))


class BudgetWatch:
    """Stops the run when its budget is used up. All figures refer to this invocation."""

    def __init__(self, budget: Budget, health: Health, pacer: Pace, clock: Clock, shutdown: Shutdown) -> None:
        self._budget = budget
        self._health = health
        self._pacer = pacer
        self._clock = clock
        self._shutdown = shutdown
        self._settled = 0
        self._failed = 0

    def __repr__(self) -> str:
        return f"<BudgetWatch {self._failed} of {self._settled} failed>"

    def settled(self, statuses: Bytes) -> None:
        """Changes were settled with these statuses."""
        self._settled += len(statuses)
        self._failed += int(np.count_nonzero(are(statuses, FAILURES)))
        most, share = self._budget.max_failures, self._budget.max_failure_share
        if most is not None and self._failed > most:
            self._shutdown.stop(Cause.FAILURES, f"{self._failed} changes failed, at most {most} are allowed")
        if share is not None and self._settled >= _JUDGED_FROM and self._failed > share * self._settled:
            found = f"{self._failed / self._settled:.1%} of {self._settled} changes failed"
            self._shutdown.stop(Cause.FAILURES, f"{found}, at most {share:.1%} is allowed")

    async def run(self) -> None:
        """Wait for the deadline, or until no request was accepted for too long."""
        deadline = math.inf if self._budget.deadline is None else self._clock.now() + self._budget.deadline
        while True:
            now = self._clock.now()
            tries = (self._health.trying_since, self._pacer.blocked_since)
            patience = min((since for since in tries if since is not None), default=now) + self._budget.max_wait
            if now >= deadline:
                self._shutdown.stop(Cause.DEADLINE, "the deadline was reached")
                return
            if now >= patience:
                last = self._pacer.blocked_by or f"last reason: {self._health.last_reason}"
                self._shutdown.stop(
                    Cause.MAX_WAIT, f"no request was accepted for {spoken(self._budget.max_wait)}; {last}"
                )
                return
            await anyio.sleep(min(deadline, patience, now + self._budget.max_wait / _LOOKS) - now)
