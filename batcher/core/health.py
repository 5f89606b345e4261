"""Whether the target is there: attempts in a row without an accepted reply."""

from __future__ import annotations

import math

DOWN = 5
"""After this many attempts in a row without an accepted reply, one worker probes and the others wait."""


class Health:
    """What the replies so far say about the target as a whole."""

    def __init__(self) -> None:
        self.accepted = 0
        """Accepted requests so far."""
        self.failures = 0
        """Attempts in a row without an accepted reply."""
        self.probes = 0
        """Attempts counted as tries since the target went down, made by one worker at a time."""
        self.trying_since: float | None = None
        """When the first attempt after the last accepted one was made."""
        self.last_reason = ""
        """Why the last unsuccessful attempt failed."""
        self._failed_at = -math.inf

    def __repr__(self) -> str:
        return f"<Health {self.accepted} accepted, then {self.failures} failures>"

    @property
    def is_down(self) -> bool:
        """Whether the target is considered down, so that only probes make sense."""
        return self.failures >= DOWN

    def has_used_up(self, attempts: int) -> bool:
        """Whether the failures until it was down plus the probes since then amount to `attempts` in a row."""
        return self.probes >= max(1, attempts - DOWN + 1)

    def tries(self, now: float) -> None:
        """An attempt starts."""
        if self.trying_since is None:
            self.trying_since = now

    def succeeded(self) -> None:
        """A reply showed that the target works, whether or not it accepted the changes."""
        self.accepted += 1
        self.failures = self.probes = 0
        self.trying_since = None

    def failed(self, reason: str, started: float, now: float, *, is_probe: bool) -> None:
        """An attempt brought no accepted reply. Attempts that were in flight at the same time count as one failure."""
        self.last_reason = reason
        self.probes += is_probe
        if started >= self._failed_at:
            self._failed_at = now
            self.failures += 1
