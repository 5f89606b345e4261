"""What the simulated target is told to do wrong."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from batcher.core.errors import ConfigurationError
from batcher.core.limit import Rate

KINDS = ("drop-before", "drop-after", "late", "html", "cut")
"""Faults that are no status: the connection dropped before or after applying, applied `late_seconds` after it
was dropped, applied and answered with a page of HTML, applied and answered with half of the reply."""


@dataclass(frozen=True, slots=True)
class Fault:
    """With this share of the requests, this happens: an HTTP status (nothing is applied) or one of `KINDS`."""

    kind: str
    share: float

    @staticmethod
    def parse(text: str) -> Fault:
        """`503=0.1`, `drop-after=0.05`.

        Raises:
            ConfigurationError: When it is neither a status nor a kind, or no share.

        """
        kind, _, share = text.partition("=")
        try:
            number = float(share or "1")
        except ValueError:
            number = -1.0
        is_status = kind.isdecimal() and 200 <= int(kind) <= 599  # HTTP statuses
        if not (is_status or kind in KINDS) or not 0 <= number <= 1:
            raise ConfigurationError(
                f"--fault {text!r}: write a status or one of {', '.join(KINDS)}, and a share, as in 503=0.1"
            )
        return Fault(kind, number)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """All of it; the default is a target that behaves."""

    token: str = ""
    """The only token that is accepted; empty accepts any."""
    client_id: str = ""
    client_secret: str = ""
    token_uses: int = 0
    """A token from the login is refused after so many requests; 0 for never."""
    faults: tuple[Fault, ...] = ()
    late_seconds: float = 30.0
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    limit: Rate | None = None
    """More arrivals in a sliding window are answered with 429 and `Retry-After`."""
    bad_users: frozenset[int | str] = frozenset()
    bad_groups: frozenset[int | str] = frozenset()
    bad_pairs: frozenset[tuple[int | str, int | str]] = frozenset()
    is_atomic: bool = True
    """Whether a refused MinApp request changes nothing; else what comes before the refused pair is applied."""
    refuses_repeats: bool = False
    """Whether adding a member again, or removing somebody who is none, is an error."""
    shuffles: bool = False
    """Whether Scrutinizer's statements come in another order than the entries."""
    seed: int = 0


@dataclass(slots=True)
class Arrivals:
    """Counts arrivals against a limit, as a strict server does."""

    limit: Rate
    seen: deque[float] = field(default_factory=deque)
    refused: int = 0

    def wait(self, now: float) -> float:
        """Seconds until one more would be allowed; 0.0 takes note of this one."""
        while self.seen and self.seen[0] <= now - self.limit.seconds:
            self.seen.popleft()
        if len(self.seen) >= self.limit.count:
            self.refused += 1
            return self.seen[0] + self.limit.seconds - now
        self.seen.append(now)
        return 0.0


def dice(behaviour: Behaviour) -> random.Random:
    """The simulator's own dice; the same seed gives the same faults."""
    return random.Random(behaviour.seed)  # noqa: S311 — not for secrets
