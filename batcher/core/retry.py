"""When to try again. It only computes delays; the waiting is done elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from batcher.core.http import brief
from batcher.core.rate import LONGEST_QUIET

_A_MOMENT, _IN_MILLISECONDS = 1e9, 1e11
"""A larger number is not a duration but a moment after 2001: in seconds, or (beyond the second) in milliseconds."""
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_SPELLED = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?")
_RESET = re.compile(r"\b(?:reset|t)=\s*([0-9]+)")
_LEFT = re.compile(r"\b(?:remaining|r)=\s*([0-9]+)")
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
_AFTER = ("retry-after", "x-retry-after", "x-ratelimit-retry-after", "x-rate-limit-retry-after-seconds")
_RESET_OF, _LEFT_OF = "x-ratelimit-reset-", "x-ratelimit-remaining-"
_RESETS = ("x-ratelimit-reset-after", "x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")


@dataclass(frozen=True, slots=True)
class RequestedWait:
    """How long a target asks us to wait, and the header that says so, unchanged."""

    seconds: float
    """Counted from now; at most `LONGEST_QUIET`."""
    received: str
    is_cut: bool = False
    """Whether it asked for more than that."""

    def __str__(self) -> str:
        return (
            f"it asked us to wait longer than the maximum of {LONGEST_QUIET:.0f} s ({self.received})"
            if self.is_cut
            else ""
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter: before try n+1, between half and all of `base_seconds`·2ⁿ⁻¹."""

    max_attempts: int
    base_seconds: float
    max_seconds: float
    patience: float
    """For how many seconds a target that answers nothing at all is asked again."""
    random: Callable[[], float]
    """Gives floats in [0, 1)."""

    def delay(self, attempt: int) -> float:
        """Seconds after the attempt of this number (from 1)."""
        ceiling = min(self.max_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 60))
        return ceiling * (0.5 + self.random() / 2)


def wish_of(headers: Mapping[str, str], now: float, *, or_reset: bool = False) -> RequestedWait | None:
    """How long the target asks us to wait; None if it does not say, or not in a form that is understood.

    Read from `Retry-After` (RFC 9110 §10.2.3) and its common substitutes; with `or_reset` (when the reply says that we
    send too fast) also from what many servers send with every reply: the end of the current window, in
    `X-RateLimit-Reset` and its variants, or in `RateLimit` (IETF draft "RateLimit header fields for HTTP", `reset=` in
    earlier versions, `t=` now). Numbers are seconds, or moments of UTC in seconds or milliseconds if they are too large
    to be durations; `1m30s` and dates of HTTP and ISO 8601 are understood, too.

    Args:
        headers: Lower-case names.
        now: UTC seconds, for moments.
        or_reset: Whether to look at headers about the current window, too.

    """
    for name in (*_MILLISECONDS, *_AFTER, *(_RESETS if or_reset else ())):
        text = headers.get(name, "").strip()
        found = _seconds(text, now, unit=0.001 if name in _MILLISECONDS else 1.0) if text else None
        if found is not None:
            return _bounded(found, name, text)
    if not or_reset:
        return None
    policies = headers.get("ratelimit", "")
    resets = _of_policies(policies)
    return _bounded(max(resets), "ratelimit", policies) if resets else _of_kinds(headers, now)


def _of_kinds(headers: Mapping[str, str], now: float) -> RequestedWait | None:
    """From headers per kind of limit: the longest among those that are used up, or among all if none is."""
    found = []
    for name, text in headers.items():
        if name.startswith(_RESET_OF) and (seconds := _seconds(text.strip(), now, unit=1.0)) is not None:
            left = headers.get(_LEFT_OF + name.removeprefix(_RESET_OF), "")
            found.append((left.strip() == "0", seconds, name, text))
    if not found:
        return None
    _, seconds, name, text = max(found)
    return _bounded(seconds, name, text)


def _of_policies(text: str) -> list[float]:
    """The ends of the windows that are used up; of all windows if none says how much is left."""
    items = text.split(",") if '"' in text else [text]
    found = [(_LEFT.search(item), float(reset[1])) for item in items if (reset := _RESET.search(item))]
    used_up = [seconds for left, seconds in found if left is not None and int(left[1]) == 0]
    return used_up or [seconds for _, seconds in found]


def _seconds(text: str, now: float, unit: float) -> float | None:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and all(map(_NUMBER.fullmatch, parts)):  # a field that came twice (RFC 9110 §5.3)
        return max(_of_number(float(part), now, unit) for part in parts)
    if _NUMBER.fullmatch(text):
        return _of_number(float(text), now, unit)
    spelled = _SPELLED.fullmatch(text)
    if spelled is not None:
        units = zip(spelled.groups(), (3600.0, 60.0, 1.0, 0.001), strict=True)
        try:
            return sum(float(number) * seconds for number, seconds in units if number)
        except ValueError:
            return None
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            continue
    return None


def _of_number(number: float, now: float, unit: float) -> float:
    if number > _IN_MILLISECONDS:
        return number / 1000 - now
    return number - now if number > _A_MOMENT else number * unit


def _bounded(wish: float, name: str, text: str) -> RequestedWait:
    received = f"{name}: {brief(text)}"
    if not wish <= LONGEST_QUIET:
        return RequestedWait(LONGEST_QUIET, received, is_cut=True)
    return RequestedWait(max(wish, 0.0), received)
