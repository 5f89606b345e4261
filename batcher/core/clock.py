"""Time as an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` for durations, `utc` (seconds since 1970) for what people and other processes read."""

    now: Callable[[], float]
    utc: Callable[[], float]
