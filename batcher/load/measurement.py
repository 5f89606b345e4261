"""What a load run found, as its JSON says it (docs/load.md), and how the parts of several generators become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from batcher.core.errors import ConfigurationError
from batcher.load.latencies import Latencies, Summary

FORMAT, VERSION = "batcher-load", 1
_COUNTS = ("sent", "ok", "failed", "changes", "bytes_sent", "bytes_received", "late", "dropped")


class Interval(msgspec.Struct, frozen=True):
    """A stretch of the run. Requests count where they left, replies and latencies where they ended."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    changes: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    late: int = 0
    dropped: int = 0
    in_flight: int = 0
    """The most."""
    limit: int = 0
    """As many might have been at the end."""
    waited: dict[str, float] = {}
    intended: str = ""
    """HDR histograms of latency from the intended and from the actual start."""
    actual: str = ""


class Generator(msgspec.Struct, frozen=True):
    """How well the load was made."""

    cpu_share: float
    """Of one core, of the busiest process."""
    lag_ms: float
    """99 % of the requests were ready at most so long after they were due, whatever the target did."""
    is_bottleneck: bool
    reason: str = ""


class Measurement(msgspec.Struct, frozen=True):
    """All of it; times in seconds, latencies in milliseconds, the warm-up left out."""

    started: str
    target: str
    url: str
    loop: str
    arrivals: str
    input: dict[str, Any]
    seconds: float
    warm_up_seconds: float
    interval_seconds: float
    requests: dict[str, int]
    changes: dict[str, int]
    """Of the whole run, the warm-up too, as the ledger has them."""
    accepted: int
    """Changes."""
    bytes: dict[str, int]
    per_second: dict[str, float]
    latency: dict[str, Summary]
    errors: dict[str, int]
    waited: dict[str, float]
    server_seconds: float
    """Of all requests together."""
    generator: Generator
    intervals: list[Interval]
    ledgers: list[str]
    settings: dict[str, Any]
    processes: int = 1
    stopped: str = ""
    reason: str = ""
    expectations: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    """Of a search for the limit."""
    cleaned_up: dict[str, Any] | None = None
    format: str = FORMAT
    version: int = VERSION

    def latencies(self, name: str) -> list[Latencies]:
        """Interval by interval; `intended` or `actual`."""
        texts = (getattr(interval, name) for interval in self.intervals)
        return [Latencies.decoded(text) if text else Latencies() for text in texts]


def rates(requests: Mapping[str, int], changes: int, sizes: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Throughput."""
    figures = {"requests": requests["ok"] + requests["failed"], "changes": changes, "bytes": sizes["sent"]}
    return {name: round(value / seconds, 3) if seconds else 0.0 for name, value in figures.items()}


def merged(parts: Sequence[Measurement]) -> Measurement:
    """Several generators that worked side by side, as one. Counts and histograms add up exactly."""
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
        stopped=next((part.stopped for part in parts if part.stopped), ""),
        reason=next((part.reason for part in parts if part.stopped), ""),
    )


def together(intervals: Sequence[Interval]) -> Interval:
    """Intervals of several generators at the same time as one."""
    return _folded(intervals, sum(map(attrgetter("in_flight"), intervals)), sum(map(attrgetter("limit"), intervals)))


def in_a_row(intervals: Sequence[Interval]) -> Interval:
    """Intervals that follow each other as one."""
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
    """Its intervals, made as long as those of another; their lengths are one another's multiples by powers of two."""
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
    """As JSON.

    Raises:
        ConfigurationError: When the file cannot be written.

    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(measurement), indent=2) + b"\n")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def read_measurement(path: Path) -> Measurement:
    """What `write_measurement` wrote.

    Raises:
        ConfigurationError: When it is none, or of another version.

    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is no measurement of batcher load: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigurationError(f"{path} is no measurement of batcher load; it is written by batcher load -o FILE")
    if content.get("version") != VERSION:
        raise ConfigurationError(f"{path} has format {content.get('version')}, this batcher reads {VERSION}")
    try:
        measurement = msgspec.convert(content, Measurement)
        for name in ("intended", "actual"):
            measurement.latencies(name)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigurationError(f"{path} is damaged: {error}") from None
    return measurement


def write_log(path: Path, measurement: Measurement, started: float) -> None:
    """An HDR histogram log, which HdrHistogram's own tools plot: an interval per line, tagged by the start it is from.

    Args:
        path: Where.
        measurement: Whose intervals.
        started: When (UTC seconds).

    Raises:
        ConfigurationError: When the file cannot be written.

    """
    # hdrhistogram's own writer fails at the start time and knows no tags.
    lines = ["#[Histogram log format version 1.3]", f"#[StartTime: {started:.3f} (seconds since epoch)]"]
    lines.append('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"')
    length = measurement.interval_seconds
    for name in ("intended", "actual"):
        for index, latencies in enumerate(measurement.latencies(name)):
            if len(latencies):
                head = f"Tag={name},{index * length:.3f},{length:.3f},{latencies.percentile(100) * 1000:.3f}"
                lines.append(f"{head},{latencies.encoded()}")
    try:
        path.write_text("\n".join(lines) + "\n", "ascii")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
