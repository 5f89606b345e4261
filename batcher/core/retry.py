"""When to try again: plain answers, nobody sleeps here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from batcher.core.limit import LONGEST_QUIET

_A_DATE = 1e9
"""A larger number of seconds is no duration but a moment after 2001."""
_DECIMAL = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter: before try n+1, between half and all of `base_seconds`·2ⁿ⁻¹."""

    max_attempts: int = 8
    base_seconds: float = 0.5
    max_seconds: float = 60.0

    def delay(self, attempt: int, dice: Callable[[], float]) -> float:
        """Seconds after the attempt of this number (from 1); `dice` gives a float in [0, 1)."""
        ceiling = min(self.max_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 60))
        return ceiling * (0.5 + dice() / 2)


def retry_after(headers: Mapping[str, str], now: float, *, or_reset: bool = False) -> float | None:
    """Seconds that the target wants to be left alone; None if it does not say.

    `Retry-After` (RFC 9110 §10.2.3), also as a decimal; with `or_reset`, where the reply is a refusal for haste, also
    what many APIs send instead (and some with every reply): `X-RateLimit-Reset` or `RateLimit-Reset`, seconds from
    now, or of UTC where the number can only be that.

    Args:
        headers: Lower-case names.
        now: UTC seconds, for the form that is a date.
        or_reset: Whether to look for the second form, too.

    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return _reset(headers, now) if or_reset else None
    if _DECIMAL.fullmatch(text):
        wish = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            wish = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return _bounded(wish)


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    for name in ("x-ratelimit-reset", "ratelimit-reset"):
        text = headers.get(name, "").strip()
        if _DECIMAL.fullmatch(text):
            number = float(text)
            return _bounded(number - now if number > _A_DATE else number)
    return None


def _bounded(wish: float) -> float:
    return min(max(wish, 0.0), LONGEST_QUIET) if math.isfinite(wish) else LONGEST_QUIET
