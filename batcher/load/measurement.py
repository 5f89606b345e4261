"""Measurements: the results of a load run, as in its JSON (docs/load.md), and merging those of several generators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec

from batcher.core.errors import ConfigurationError
from batcher.core.verdict import Cause
from batcher.files import open_private
from batcher.load.latencies import PERCENTILES, Latencies, Summary
from batcher.small_files import read_small

FORMAT, VERSION = "batcher-load", 1
_LARGEST = 256 << 20
"""In bytes; far larger than any measurement."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
_COUNTS = ("sent", "ok", "failed", "changes", "bytes_sent", "bytes_received", "late", "dropped")


class Interval(msgspec.Struct, frozen=True):
    """An interval of the run. Requests are counted when they were answered, arrivals with their last reply."""

    sent: Count = 0
    ok: Count = 0
    failed: Count = 0
    changes: Count = 0
    bytes_sent: Count = 0
    bytes_received: Count = 0
    late: Count = 0
    dropped: Count = 0
    in_flight: Count = 0
    """The most requests in flight."""
    limit: Count = 0
    """The limit of requests in flight at the end of the interval."""
    waited: dict[str, Seconds] = {}
    intended: str = ""
    """HDR histogram of the latencies from the intended start; empty if there are none."""
    actual: str = ""
    """HDR histogram of the latencies from the actual start; empty if there are none."""


class Generator(msgspec.Struct, frozen=True):
    """How well the generator kept up."""

    cpu_share: float
    """The share of one core that it used; of the busiest process if there are several."""
    lag_ms: float
    """99 % of the requests were ready within this time after they were due, not counting delays by the target."""
    is_bottleneck: bool
    reason: str = ""


class Measurement(msgspec.Struct, frozen=True):
    """The results of a load run: times in seconds, latencies in milliseconds, without the warm-up."""

    started: str
    target: str
    url: str
    loop: str
    arrivals: str
    input: dict[str, Any]
    seconds: Seconds
    warm_up_seconds: Seconds
    interval_seconds: Seconds
    requests: dict[str, Count]
    changes: dict[str, Count]
    """Changes by status, of the whole run including the warm-up, as in the ledger."""
    accepted: Count
    """The number of changes that the target accepted."""
    bytes: dict[str, Count]
    per_second: dict[str, Seconds]
    latency: dict[str, Summary]
    errors: dict[str, Count]
    waited: dict[str, Seconds]
    server_seconds: float
    """The sum of the time that all requests took."""
    generator: Generator
    intervals: list[Interval]
    ledgers: list[str]
    settings: dict[str, dict[str, Any]]
    processes: int = 1
    stopped: str = ""
    reason: str = ""
    expectations: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    """The steps of a search for the limit."""
    limit: dict[str, Any] | None = None
    """The result of the search: the `last_good` rate per second, if any, and `why` the next one failed."""
    cleaned_up: dict[str, Any] | None = None
    format: str = FORMAT
    version: int = VERSION

    def latencies(self, name: str) -> list[Latencies]:
        """The latencies of each interval; `name` is `intended` or `actual`."""
        texts = (getattr(interval, name) for interval in self.intervals)
        return [Latencies.decoded(text) if text else Latencies() for text in texts]


def rates(requests: Mapping[str, int], changes: int, sizes: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Throughput per second."""
    figures = {"requests": requests["ok"] + requests["failed"], "changes": changes, "bytes": sizes["sent"]}
    return {name: round(value / seconds, 3) if seconds else 0.0 for name, value in figures.items()}


def merged(parts: Sequence[Measurement]) -> Measurement:
    """The measurements of generators that worked at the same time as one. Counts and histograms add up exactly."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    longest = max(part.interval_seconds for part in parts)
    columns = [_stretched(part, longest) for part in parts]
    count = max(len(column) for column in columns)
    rows = [[column[index] for column in columns if index < len(column)] for index in range(count)]
    summaries = {
        name: Summary.of(Latencies.merged(Latencies.decoded(part.latency[name].histogram) for part in parts))
        for name in first.latency
    }
    seconds = max(part.seconds for part in parts)
    requests, sizes = _sum([p.requests for p in parts]), _sum([p.bytes for p in parts])
    accepted = sum(part.accepted for part in parts)
    worst = max(parts, key=lambda part: Cause[part.stopped.upper()].exit_code if part.stopped else 0)
    busiest = max(parts, key=lambda part: (part.generator.is_bottleneck, part.generator.cpu_share))
    return msgspec.structs.replace(
        first,
        started=min(part.started for part in parts),
        seconds=seconds,
        interval_seconds=longest,
        requests=requests,
        changes=_sum([part.changes for part in parts]),
        accepted=accepted,
        bytes=sizes,
        per_second=rates(requests, accepted, sizes, seconds),
        latency=summaries,
        errors=_sum([p.errors for p in parts]),
        waited=_sum([p.waited for p in parts]),
        server_seconds=sum(part.server_seconds for part in parts),
        generator=msgspec.structs.replace(busiest.generator, lag_ms=max(part.generator.lag_ms for part in parts)),
        intervals=[together(row) for row in rows],
        ledgers=[ledger for part in parts for ledger in part.ledgers],
        processes=len(parts),
        stopped=worst.stopped,
        reason=worst.reason,
    )


def together(intervals: Sequence[Interval]) -> Interval:
    """Merge intervals of several generators at the same time into one."""
    return _folded(intervals, sum(map(attrgetter("in_flight"), intervals)), sum(map(attrgetter("limit"), intervals)))


def in_a_row(intervals: Sequence[Interval]) -> Interval:
    """Merge consecutive intervals into one."""
    return _folded(intervals, max(map(attrgetter("in_flight"), intervals)), intervals[-1].limit)


def _folded(intervals: Sequence[Interval], in_flight: int, limit: int) -> Interval:
    sums = {name: sum(map(attrgetter(name), intervals)) for name in _COUNTS}
    return Interval(
        **sums,
        in_flight=in_flight,
        limit=limit,
        waited=_sum([interval.waited for interval in intervals]),
        intended=_one([interval.intended for interval in intervals]),
        actual=_one([interval.actual for interval in intervals]),
    )


def _one(histograms: Sequence[str]) -> str:
    known = [Latencies.decoded(text) for text in histograms if text]
    return Latencies.merged(known).encoded() if known else ""


def _stretched(part: Measurement, seconds: float) -> list[Interval]:
    """Its intervals, merged to this length, which is their own length times a power of two."""
    times = round(seconds / part.interval_seconds)
    starts = range(0, len(part.intervals), times)
    return [in_a_row(part.intervals[start : start + times]) for start in starts] if times > 1 else part.intervals


def _sum(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for part in parts:
        for name, value in part.items():
            total[name] += value
    return {name: round(value, 6) for name, value in total.items()}


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Write a measurement as JSON.

    Raises:
        ConfigurationError: When the file cannot be written.

    """
    try:
        with open_private(path, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(measurement), indent=2) + b"\n")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def read_measurement(path: Path) -> Measurement:
    """Read what `write_measurement` wrote.

    Raises:
        ConfigurationError: When the file is not a measurement, or has another version.

    """
    try:
        content = msgspec.json.decode(read_small(path, _LARGEST))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not a measurement of batcher load: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigurationError(f"{path} is not a measurement of batcher load; create one with batcher load -o FILE")
    if content.get("version") != VERSION:
        raise ConfigurationError(f"{path} has version {content.get('version')}; this batcher reads version {VERSION}")
    try:
        measurement = msgspec.convert(content, Measurement)
        _check(measurement)
    except (msgspec.ValidationError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged: {error}") from None
    return measurement


def _check(measurement: Measurement) -> None:
    """Check that everything is there that is used later.

    Raises:
        ValueError: When something is missing or invalid.

    """
    wanted = {
        "requests": {"sent", "ok", "failed", "late", "dropped", "retried", "split"},
        "bytes": {"sent", "received"},
        "per_second": {"requests", "changes", "bytes"},
        "latency": {"intended", "actual"},
    }
    for name, keys in wanted.items():
        if missing := keys - getattr(measurement, name).keys():
            raise ValueError(f"{name} lacks {min(missing)}")
    for name, summary in measurement.latency.items():
        if summary.percentiles.keys() != {f"p{percent:g}" for percent in PERCENTILES}:
            raise ValueError(f"latency.{name} has unexpected percentiles")
        Latencies.decoded(summary.histogram)
        measurement.latencies(name)
    if not {"files", "synthetic"} & measurement.input.keys() or measurement.interval_seconds <= 0:
        raise ValueError("input or interval_seconds is empty or invalid")
    for items, keys in (
        (measurement.expectations, {"text", "found", "holds"}),
        (measurement.steps, {"requests_per_second", "why", "errors", "intended.p50", "intended.p99"}),
        ([measurement.limit] if measurement.limit is not None else [], {"last_good", "why"}),
    ):
        if any(keys - item.keys() for item in items):
            raise ValueError("expectations, steps or limit are incomplete")
    if measurement.cleaned_up is not None and "changes" not in measurement.cleaned_up:
        raise ValueError("cleaned_up lacks changes")
    if not math.isfinite(datetime.fromisoformat(measurement.started).timestamp()):
        raise ValueError("started is not a valid time")


def write_log(path: Path, measurement: Measurement, started: float) -> None:
    """Write an HDR histogram log, which HdrHistogram's tools can plot.

    Each line is an interval, tagged `intended` or `actual`.

    Args:
        path: The file to write.
        measurement: The measurement whose intervals are written.
        started: When the measurement started (UTC seconds).

    Raises:
        ConfigurationError: When the file cannot be written.

    """
    # The writer of hdrhistogram fails on the start time and does not support tags.
    lines = ["#[Histogram log format version 1.3]", f"#[StartTime: {started:.3f} (seconds since epoch)]"]
    lines.append('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"')
    length = measurement.interval_seconds
    for name in ("intended", "actual"):
        for index, latencies in enumerate(measurement.latencies(name)):
            if len(latencies):
                head = f"Tag={name},{index * length:.3f},{length:.3f},{latencies.percentile(100) * 1000:.3f}"
                lines.append(f"{head},{latencies.encoded()}")
    try:
        with open_private(path, "wb") as file:
            file.write(("\n".join(lines) + "\n").encode("ascii"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
