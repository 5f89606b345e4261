"""What one generator saw, interval by interval, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from batcher.core.report import Waited
from batcher.load.flight import Exchange, Flight
from batcher.load.latencies import Latencies
from batcher.load.measurement import Interval

LATE_SECONDS = 0.001
"""A request that leaves later than so after it was due is late."""
_SHORTEST = 0.25
_MOST_INTERVALS = 240


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is looked at when an interval ends: places taken and allowed, and all waits so far."""

    in_flight: int
    limit: int
    waited: Waited


@dataclass(slots=True, eq=False)
class _Open:
    """The interval that is being filled."""

    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    intended: list[float] = field(default_factory=list)
    actual: list[float] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Closed:
    counts: Counter[str]
    in_flight: int
    limit: int
    waited: dict[str, float]
    intended: Latencies
    actual: Latencies

    def followed_by(self, other: _Closed) -> _Closed:
        """Both as one."""
        return _Closed(
            self.counts + other.counts,
            max(self.in_flight, other.in_flight),
            other.limit,
            {name: self.waited[name] + seconds for name, seconds in other.waited.items()},
            Latencies.merged([self.intended, other.intended]),
            Latencies.merged([self.actual, other.actual]),
        )

    def as_interval(self) -> Interval:
        return Interval(
            **self.counts,
            in_flight=self.in_flight,
            limit=self.limit,
            waited={name: round(seconds, 6) for name, seconds in self.waited.items()},
            intended=self.intended.encoded() if len(self.intended) else "",
            actual=self.actual.encoded() if len(self.actual) else "",
        )


class Recorder:
    """Counts from `begin` (monotonic seconds) on; what was due before is warm-up and not counted."""

    def __init__(self, begin: float, gauges: Callable[[], Gauges]) -> None:
        self.begin = begin
        self.length = _SHORTEST
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.server_seconds = 0.0
        self.lags: list[Latencies] = []
        self.last = begin
        """When the last reply came."""
        self._lags: list[float] = []
        self._gauges = gauges
        self._before: Waited | None = None
        self._open = _Open()
        self._closed: list[_Closed] = []
        self._ends = begin + self.length

    def __repr__(self) -> str:
        return f"<Recorder {self.requests} in {len(self._closed)} intervals>"

    def launched(self, flight: Flight, ready_after: float) -> None:
        """An arrival was ready so many seconds after it could have been."""
        if flight.due >= self.begin:
            self._lags.append(ready_after)

    def landed(self, flight: Flight, now: float, *, changes: int, refused: int) -> None:
        """Everything of an arrival has its final word.

        Args:
            flight: The arrival.
            now: Monotonic seconds.
            changes: How many of its changes the target accepted.
            refused: How many of its exchanges brought a refusal inside a reply of success.

        """
        if flight.due < self.begin:
            return
        self._catch_up(now)
        counts, first = self._open.counts, True
        for exchange in flight.exchanges:
            self._count(exchange, counts)
            if first and exchange.departed is not None:
                counts["late"] += exchange.departed - flight.due > LATE_SECONDS
                first = False
        if refused:
            counts["ok"] -= refused
            counts["failed"] += refused
            self.errors["refused inside a 200"] += refused
        counts["changes"] += changes
        if flight.exchanges:
            self._open.intended.append(flight.exchanges[-1].ended - flight.due)
            self.last = max(self.last, flight.exchanges[-1].ended)

    def dropped(self, due: float, now: float) -> None:
        """An arrival never left: it took at least as long as it has waited by now."""
        if due >= self.begin:
            self._catch_up(now)
            self._open.counts["dropped"] += 1
            self._open.intended.append(now - due)

    def look(self, now: float) -> None:
        """Note how many are in flight; close intervals that have ended."""
        self._catch_up(now)
        self._open.in_flight = max(self._open.in_flight, self._gauges().in_flight)

    def finish(self, now: float) -> list[Interval]:
        """No more; all intervals."""
        self._catch_up(now)
        if self._open.counts or self._open.intended:
            self._close()
        self.lags.append(Latencies.of(self._lags))
        self._lags = []
        for closed in self._closed:
            self.requests.update(closed.counts)
        return [closed.as_interval() for closed in self._closed]

    def latencies(self, name: str) -> Latencies:
        """Of all intervals that have ended; `intended` or `actual`."""
        return Latencies.merged(getattr(closed, name) for closed in self._closed)

    def _count(self, exchange: Exchange, counts: Counter[str]) -> None:
        if exchange.departed is None:
            self.errors[exchange.error] += 1
            return
        counts["sent"] += 1
        counts["bytes_sent"] += exchange.bytes_sent
        counts["bytes_received"] += exchange.bytes_received
        took = exchange.ended - exchange.departed
        self._open.actual.append(took)
        self.server_seconds += took
        if exchange.status is not None and exchange.status < 400:  # noqa: PLR2004 — RFC 9110 §15.5
            counts["ok"] += 1
        else:
            counts["failed"] += 1
            self.errors[exchange.error or str(exchange.status)] += 1

    def _catch_up(self, now: float) -> None:
        if self._before is None:
            self._before = replace(self._gauges().waited)
        while now >= self._ends:
            self._close()
            self._ends += self.length

    def _close(self) -> None:
        ended, self._open = self._open, _Open()
        gauges = self._gauges()
        before = self._before or Waited()
        waited = {name: value - getattr(before, name) for name, value in asdict(gauges.waited).items()}
        self._before = replace(gauges.waited)
        most = max(ended.in_flight, gauges.in_flight)
        intended, actual = Latencies.of(ended.intended), Latencies.of(ended.actual)
        self._closed.append(_Closed(ended.counts, most, gauges.limit, waited, intended, actual))
        self.lags.append(Latencies.of(self._lags))
        self._lags = []
        if len(self._closed) == _MOST_INTERVALS:
            self._closed = [a.followed_by(b) for a, b in zip(self._closed[::2], self._closed[1::2], strict=True)]
            self.lags = [Latencies.merged(self.lags)]
            self.length *= 2
