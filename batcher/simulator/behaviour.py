"""What the simulated target is told to do wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from batcher.core.errors import ConfigurationError
from batcher.core.limit import Rate

KINDS = ("drop-before", "drop-after", "late", "html", "cut", "truncated", "miscounted")
"""Faults that are no status: the connection dropped before or after applying, applied `late_seconds` after it
was dropped, applied and answered with a page of HTML, with a reply of which the connection brings only half, with
half a reply as if it were whole, or with a statement too few."""


class Insists(Enum):
    """How a target that refuses for haste says when to come back."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    PAST = "past"
    """A date that was an hour ago."""
    NEGATIVE = "negative"
    ABSURD = "absurd"
    """In three years."""
    RESET = "reset"
    """Not `Retry-After` but `X-RateLimit-Reset`, in UTC seconds."""
    MISSING = "missing"


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
    fault_retry_after: float = 0.0
    """Faults that are a status come with a `Retry-After` of so many seconds; 0 for without."""
    late_seconds: float = 30.0
    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    latency_growth: float = 0.0
    """Seconds by which every reply is later, for each second since the first request."""
    seconds_per_change: float = 0.0
    capacity: int = 0
    """So many requests are served at once, the others queue; 0 for all."""
    most_at_once: int = 0
    """Beyond so many unanswered requests, one more is refused as too much; 0 for any number."""
    limits: tuple[Rate, ...] = ()
    """More arrivals in a sliding window are refused as too much."""
    limit_status: int = 429
    """How `too much` is said: a status; with 400 only the text tells."""
    insists: Insists = Insists.DECIMAL
    max_changes: int = 0
    """Requests with more changes are too large; 0 for any size."""
    max_request_bytes: int = 0
    size_status: int = 413
    """How `too large` is said."""
    poisonous_users: frozenset[int | str] = frozenset()
    """A request that names one is answered with 500."""
    is_away: bool = False
    """Nobody answers the door: connections are refused (dropped, where a real socket listens)."""
    bad_users: frozenset[int | str] = frozenset()
    bad_groups: frozenset[int | str] = frozenset()
    bad_pairs: frozenset[tuple[int | str, int | str]] = frozenset()
    is_atomic: bool = True
    """Whether a refused MinApp request changes nothing; else what comes before the refused pair is applied."""
    refuses_repeats: bool = False
    """Whether adding a member again, or removing somebody who is none, is an error."""
    shuffles: bool = False
    """Whether Scrutinizer's statements come in another order than the entries."""
    folds_names: bool = False
    """Whether names that differ in case, in their Unicode form or in blanks around them are one name."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """From so many seconds or requests on (whichever comes first), the target behaves like this."""

    behaviour: Behaviour
    after_seconds: float = math.inf
    after_requests: float = math.inf
