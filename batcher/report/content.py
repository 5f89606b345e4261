"""The parts of a page's content, as `page.render` takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

POINTS = 300
"""Maximum per chart."""
_WORTH_SHOWING = 0.1
"""Seconds."""
WAITS = {
    "rate": "rate limit",
    "retry_after": "Retry-After",
    "backoff": "back-off",
    "concurrency": "concurrency limit",
    "grace": "late requests",
}


def chart(
    name: str,
    title: str,
    summary: str,
    x: Mapping[str, Any],
    unit: str,
    series: Mapping[str, Sequence[float | None]] | Mapping[str, Sequence[float]],
    style: str,
) -> dict[str, Any]:
    """One chart. `x` is made by `times` or `numbers`."""
    return {
        "id": name,
        "title": title,
        "summary": summary,
        "x": x,
        "y": {"label": unit},
        "series": [{"label": label, "values": list(values)} for label, values in series.items()],
        "style": style,
    }


def times(moments: Iterable[float]) -> dict[str, Any]:
    """An axis of UTC seconds."""
    return {"label": "time", "kind": "time", "values": list(moments)}


def numbers(label: str, values: Iterable[float], kind: str = "number") -> dict[str, Any]:
    """An axis of numbers, or of percentiles."""
    return {"label": label, "kind": kind, "values": list(values)}


def places_chart(axis: Mapping[str, Any], in_flight: Sequence[int], limits: Sequence[int]) -> dict[str, Any]:
    """How many requests were in flight, and how many were allowed."""
    series = {"in flight": list(map(float, in_flight)), "limit": list(map(float, limits))}
    might = f"{min(limits):,} to {max(limits):,}" if min(limits) < max(limits) else f"{limits[0]:,}"
    summary = f"At most {max(in_flight):,} requests were in flight; the limit was {might}."
    return chart("places", "Requests in flight", summary, axis, "requests", series, "steps")


def waits_chart(
    axis: Mapping[str, Any], totals: Mapping[str, float], shares: Callable[[str], Sequence[float]]
) -> list[dict[str, Any]]:
    """A chart of the waits: `totals` in seconds by reason, and their `shares` of the time; none without waits."""
    waited = {name: totals[name] for name in WAITS if totals.get(name, 0.0) >= _WORTH_SHOWING}
    if not waited:
        return []
    series = {WAITS[name]: [round(100 * min(1.0, share), 1) for share in shares(name)] for name in waited}
    summary = (
        "Time spent waiting: " + ", ".join(f"{WAITS[name]} {seconds:,.1f} s" for name, seconds in waited.items()) + "."
    )
    return [chart("waits", "Waiting times", summary, axis, "% of the time", series, "line")]


def settings(content: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[list[str]]:
    """The settings that differ from the defaults, section by section; they contain no secrets."""
    return [
        [f"{section}.{key}", _plain(value)]
        for section, values in content.items()
        for key, value in values.items()
        if value != defaults.get(section, {}).get(key)
    ]


def utc(seconds: float) -> str:
    """For people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def made(now: float) -> str:
    """The page's last line."""
    return f"batcher {version('batcher')}, {utc(now)}"


def milliseconds(seconds: float) -> str:
    """With up to three significant digits, or as a whole number."""
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 — three digits


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
