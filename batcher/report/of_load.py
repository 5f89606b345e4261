"""The measurement of a load run, as the content of a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from batcher.load.latencies import Latencies
from batcher.load.measurement import Interval, Measurement, in_a_row
from batcher.load.thresholds import figures
from batcher.report.content import (
    POINTS,
    WAITS,
    chart,
    made,
    milliseconds,
    numbers,
    places_chart,
    settings,
    times,
    utc,
    waits_chart,
)
from batcher.sections import LimitSettings, RateSettings, RetrySettings

_MEANINGS = {
    "ok": "answered with success",
    "failed": "answered with an error, or without a reply",
    "dropped": "due, but never sent, because earlier requests were still unanswered",
}
_DISTRIBUTION = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99)


def of_load(measurement: Measurement, now: float) -> dict[str, Any]:
    """The content; `now` (UTC seconds) is when the page is made."""
    requests = measurement.requests
    return {
        "kind": "load",
        "title": f"{measurement.loop} loop, {measurement.arrivals or 'as fast as possible'} → {measurement.target}",
        "sentence": _sentence(measurement),
        "outcome": _outcome(measurement),
        "facts": _facts(measurement),
        "counts": [{"name": name, "count": requests[name], "meaning": text} for name, text in _MEANINGS.items()],
        "total": {"name": "requests", "count": sum(requests[name] for name in _MEANINGS)},
        "charts": _charts(measurement),
        "tables": [_latency(measurement), *_expectations(measurement), *_steps(measurement), *_errors(measurement)],
        "failures": [],
        "more_failures": 0,
        "groups": [],
        "guardrails": [],
        "settings": settings(measurement.settings, _DEFAULTS),
        "next": None,
        "made": made(now),
    }


_DEFAULTS = {
    "limits": msgspec.structs.asdict(LimitSettings()),
    "rate": msgspec.structs.asdict(RateSettings()),
    "retry": msgspec.structs.asdict(RetrySettings()),
}


def _sentence(measurement: Measurement) -> str:
    found, intended = figures(measurement), measurement.latency["intended"].percentiles
    half, most = milliseconds(intended["p50"] / 1000), milliseconds(intended["p99"] / 1000)
    told = (
        f"{measurement.per_second['requests']:,.1f} requests and {measurement.per_second['changes']:,.0f} changes per"
        f" second for {measurement.seconds:,.1f} s; half of the requests were answered within {half} ms of when they"
        f" were due, 99 of 100 within {most} ms; {found['errors']:.2%} failed."
    )
    if measurement.limit is not None:
        good, why = measurement.limit["last_good"], measurement.limit["why"]
        well = "The first step already failed" if good is None else f"{good:,.1f} requests per second were fine"
        told = f"{well}; then: {why}. The last step: {told}"
    if measurement.stopped:
        told += f" The run was stopped: {measurement.reason}."
    if measurement.generator.is_bottleneck:
        told += f" The generator itself may have been the bottleneck: {measurement.generator.reason}."
    return told


def _outcome(measurement: Measurement) -> str:
    if measurement.stopped:
        return "stopped"
    if measurement.limit is not None:
        return "attention" if measurement.limit["last_good"] is None else "good"
    broken = not all(item["holds"] for item in measurement.expectations)
    is_bad = measurement.generator.is_bottleneck or broken or (measurement.errors and not measurement.expectations)
    return "attention" if is_bad else "good"


def _facts(measurement: Measurement) -> list[list[str]]:
    requests, sizes, generator = measurement.requests, measurement.bytes, measurement.generator
    rows = [
        ["Target", f"{measurement.target}, {measurement.url}"],
        ["Started", utc(datetime.fromisoformat(measurement.started).timestamp())],
        ["Warm-up, not counted", f"{measurement.warm_up_seconds:g} s"],
        ["Input", _input(measurement)],
        ["Sent again", f"{requests['retried']:,} requests; {requests['split']:,} were split"],
        ["Late", f"{requests['late']:,} requests left more than 1 ms after they were due"],
        ["Bytes", f"{sizes['sent']:,} sent, {sizes['received']:,} received, without headers"],
        ["Server time", f"{measurement.server_seconds:,.1f} s, all requests together"],
        ["Generator", f"{generator.cpu_share:.0%} of a core, 99 % of requests ready within {generator.lag_ms:g} ms"],
        ["Processes", str(measurement.processes)],
        ["Changes in the ledger", ", ".join(f"{n:,} {name}" for name, n in measurement.changes.items() if n)],
    ]
    if measurement.cleaned_up:
        changes = measurement.cleaned_up["changes"]
        rows.append(["Cleaned up", f"{changes['applied']:,} of {changes['total']:,} removals applied"])
    return [*rows, *(["Ledger", ledger] for ledger in measurement.ledgers)]


def _input(measurement: Measurement) -> str:
    made_of = measurement.input
    if "files" in made_of:
        return ", ".join(made_of["files"])
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made_of["synthetic"].items())


def _charts(measurement: Measurement) -> list[dict[str, Any]]:
    each = -(-len(measurement.intervals) // POINTS) or 1
    parts = [in_a_row(measurement.intervals[at : at + each]) for at in range(0, len(measurement.intervals), each)]
    if not parts:
        return []
    width = each * measurement.interval_seconds
    start = datetime.fromisoformat(measurement.started).timestamp()
    axis = times(start + at * width for at in range(len(parts)))
    return [
        _throughput(parts, width, axis),
        _over_time(parts, axis),
        _distribution(measurement),
        places_chart(axis, [part.in_flight for part in parts], [part.limit for part in parts]),
        *_waits(parts, width, axis),
    ]


def _throughput(parts: Sequence[Interval], width: float, axis: dict[str, Any]) -> dict[str, Any]:
    series: dict[str, list[float | None]] = {
        "ok": [part.ok / width for part in parts],
        "failed": [part.failed / width for part in parts],
        "dropped": [part.dropped / width for part in parts],
    }
    errors = sum(part.failed for part in parts)
    most = max(series["ok"], key=lambda value: value or 0.0)
    summary = f"At most {most:,.1f} requests per second succeeded; {errors:,} failed in total."
    return chart("throughput", "Requests", summary, axis, "per second", series, "stacked")


def _over_time(parts: Sequence[Interval], axis: dict[str, Any]) -> dict[str, Any]:
    found = [Latencies.decoded(part.intended) if part.intended else Latencies() for part in parts]
    series: dict[str, list[float | None]] = {
        f"p{percent}": [1000 * each.percentile(percent) if len(each) else None for each in found]
        for percent in (50, 90, 99)
    }
    worst = max((value for value in series["p99"] if value is not None), default=0.0)
    summary = f"From the intended start; the worst p99 of any interval was {milliseconds(worst / 1000)} ms."
    return chart("latency", "Latency over time", summary, axis, "ms", series, "line")


def _distribution(measurement: Measurement) -> dict[str, Any]:
    series: dict[str, list[float | None]] = {}
    for name, label in (("intended", "from the intended start"), ("actual", "from the actual start")):
        whole = Latencies.decoded(measurement.latency[name].histogram)
        series[label] = [1000 * whole.percentile(percent) for percent in _DISTRIBUTION]
    intended, actual = measurement.latency["intended"].percentiles, measurement.latency["actual"].percentiles
    summary = (
        f"99 of 100 requests took at most {milliseconds(intended['p99'] / 1000)} ms from the intended start,"
        f" {milliseconds(actual['p99'] / 1000)} ms from the actual one."
    )
    axis = numbers("percentile", _DISTRIBUTION, "percentile")
    return chart("distribution", "Latency distribution", summary, axis, "ms", series, "line")


def _waits(parts: Sequence[Interval], width: float, axis: dict[str, Any]) -> list[dict[str, Any]]:
    totals = {name: sum(part.waited.get(name, 0.0) for part in parts) for name in WAITS}
    return waits_chart(axis, totals, lambda name: [part.waited.get(name, 0.0) / width for part in parts])


def _latency(measurement: Measurement) -> dict[str, Any]:
    intended, actual = measurement.latency["intended"], measurement.latency["actual"]
    rows = [["mean", f"{intended.mean:,.3f}", f"{actual.mean:,.3f}"]]
    rows += [
        [name, f"{value:,.3f}", f"{actual.percentiles[name]:,.3f}"] for name, value in intended.percentiles.items()
    ]
    rows += [["max", f"{intended.max:,.3f}", f"{actual.max:,.3f}"]]
    head = ["percentile", "from the intended start, ms", "from the actual start, ms"]
    note = "The intended start is when a request was due by the schedule; the actual start is when it was sent."
    return {"id": "percentiles", "title": "Latency", "head": head, "rows": rows, "note": note}


def _expectations(measurement: Measurement) -> list[dict[str, Any]]:
    rows = [
        [item["text"], f"{item['found']:g}", "holds" if item["holds"] else "does not hold"]
        for item in measurement.expectations
    ]
    head = ["expected", "found", "outcome"]
    return [{"id": "expectations", "title": "Expectations", "head": head, "rows": rows, "note": ""}]


def _steps(measurement: Measurement) -> list[dict[str, Any]]:
    rows = [
        [
            f"{step['requests_per_second']:,.1f}",
            f"{step['intended.p50']:,.3f}",
            f"{step['intended.p99']:,.3f}",
            f"{step['errors']:.2%}",
            step["why"] or "–",
        ]
        for step in measurement.steps
    ]
    head = ["requests per second", "p50, ms", "p99, ms", "errors", "what failed"]
    note = "The page's other figures are those of the last step."
    return [{"id": "steps", "title": "The search for the limit", "head": head, "rows": rows, "note": note}]


def _errors(measurement: Measurement) -> list[dict[str, Any]]:
    rows = [[name, f"{count:,}"] for name, count in measurement.errors.items()]
    return [{"id": "errors", "title": "Errors", "head": ["class", "requests"], "rows": rows, "note": ""}]
