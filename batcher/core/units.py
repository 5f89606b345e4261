"""Rates, durations and shares as people write them."""

from __future__ import annotations

import re
from datetime import date, datetime

from batcher.core.errors import ConfigurationError
from batcher.core.rate import Rate

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
}
LONGEST = 366 * 86_400.0
"""Seconds; timers cannot be set to much longer ones."""
_RATE = re.compile(r"(\d{1,9})\s*/\s*(s|sec|second|m|min|minute|h|hour)")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*(s|sec|m|min|h|d)")
_DAYS = (date(2026, 11, 22), date(2001, 2, 3), date(1999, 12, 31))
_SHARE = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*%")


def parse_rate(text: str) -> Rate | None:
    """`50/min`, `5/s`, `1000/h`; None for `none`.

    Raises:
        ConfigurationError: When it is neither.

    """
    if text.strip().lower() == "none":
        return None
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or int(match[1]) < 1:
        raise ConfigurationError(f"invalid rate {text!r}; expected e.g. 50/min, 5/s, 1000/h, none")
    return Rate(int(match[1]), _SECONDS[match[2]])


def parse_duration(text: str) -> float:
    """Seconds of `30s`, `15m`, `2h`, `1.5h`, `1d`.

    Raises:
        ConfigurationError: When it is not a duration.

    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigurationError(f"invalid duration {text!r}; expected e.g. 30s, 15m, 2h, 1d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST:
        raise ConfigurationError(f"duration {text!r} is too long; the maximum is one year")
    return seconds


def parse_failures(text: str) -> tuple[int | None, float | None]:
    """A number of failures, or a share: `100` → (100, None), `5%` → (None, 0.05).

    Raises:
        ConfigurationError: When it is neither.

    """
    text = text.strip()
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text), None
    match = _SHARE.fullmatch(text)
    if match is None or float(match[1]) > 100:  # noqa: PLR2004 — percent
        raise ConfigurationError(f"invalid failure budget {text!r}; expected a number (100) or a share (5%)")
    return None, float(match[1]) / 100


def parse_day(text: str) -> date:
    """A day as `2026-11-22`.

    Raises:
        ConfigurationError: When it is not a date.

    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"invalid date {text!r}; expected e.g. 2026-11-22") from None


def check_day_format(form: str) -> None:
    """Check that a `strptime` format identifies a day.

    Raises:
        ConfigurationError: When it does not.

    """
    try:
        is_good = all(datetime.strptime(day.strftime(form), form).date() == day for day in _DAYS)  # noqa: DTZ007 — days
    except (ValueError, re.error):
        is_good = False
    if not is_good:
        raise ConfigurationError(f"date format {form!r} does not identify year, month and day; expected e.g. %d.%m.%Y")


def parse_share(text: str) -> float | None:
    """A share of 1: `20%` → 0.2; None for `none`.

    Raises:
        ConfigurationError: When it is neither.

    """
    if text.strip().lower() == "none":
        return None
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"invalid share {text!r}; expected e.g. 20%, none")
    return float(match[1]) / 100


def spoken(seconds: float) -> str:
    """A duration for people: `2 h 5 min`, `3 min 20 s`, `4 s`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
