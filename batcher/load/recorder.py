"""Records what one generator measures, interval by interval, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from batcher.core.report import Waited
from batcher.delivery.delivery import Exchange
from batcher.load.flight import Flight
from batcher.load.latencies import Latencies
from batcher.load.measurement import Interval

LATE_SECONDS = 0.001
"""A request that leaves later than this after it was due is late."""
_SHORTEST = 0.25
_MOST_INTERVALS = 240
_LOOSE = 2048


@dataclass(frozen=True, slots=True)
class Gauges:
    """Values that are read when an interval ends: requests in flight, their limit, and all waits so far."""

    in_flight: int
    limit: int
    waited: Waited


@dataclass(slots=True, eq=False)
class _Filling:
    """Latencies that are added one by one, and folded into a histogram often enough that no fold takes long."""

    folded: Latencies = field(default_factory=Latencies)
    loose: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        self.loose.append(seconds)
        if len(self.loose) == _LOOSE:
            self.fold()

    def fold(self) -> Latencies:
        if self.loose:
            self.folded, self.loose = Latencies.merged([self.folded, Latencies.of(self.loose)]), []
        return self.folded


@dataclass(slots=True, eq=False)
class _Total:
    """A histogram of many, merged when it is asked for: merging delays the requests that are due meanwhile."""

    merged: Latencies = field(default_factory=Latencies)
    others: list[Latencies] = field(default_factory=list)

    def value(self) -> Latencies:
        if self.others:
            self.merged, self.others = Latencies.merged([self.merged, *self.others]), []
        return self.merged


@dataclass(slots=True, eq=False)
class _Open:
    """The interval that is being filled."""

    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    intended: _Filling = field(default_factory=_Filling)
    actual: _Filling = field(default_factory=_Filling)


@dataclass(slots=True, eq=False)
class _Closed:
    counts: Counter[str]
    in_flight: int
    limit: int
    waited: dict[str, float]
    intended: Latencies
    actual: Latencies

    def followed_by(self, other: _Closed) -> _Closed:
        """This interval and the next one, merged."""
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
    """Records from `begin` (monotonic seconds) on; the warm-up is not counted."""

    def __init__(self, begin: float, gauges: Callable[[], Gauges]) -> None:
        self.begin = begin
        self.length = _SHORTEST
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.server_seconds = 0.0
        self.last = begin
        """When the last reply came (monotonic seconds)."""
        self.lags = _Filling()
        """How late the generator itself was, per arrival."""
        self._intended, self._actual = _Total(), _Total()
        self._gauges = gauges
        self._before: Waited | None = None
        self._open = _Open()
        self._closed: list[_Closed] = []
        self._ends = begin + self.length

    def __repr__(self) -> str:
        return f"<Recorder {len(self._closed)} intervals of {self.length:g} s>"

    @property
    def intended(self) -> Latencies:
        """Latencies from the intended start, in all intervals that have ended."""
        return self._intended.value()

    @property
    def actual(self) -> Latencies:
        """Latencies from the actual start, in all intervals that have ended."""
        return self._actual.value()

    def exchanged(self, exchange: Exchange, now: float) -> None:
        """A counted request was answered, or its reply was lost."""
        self._catch_up(now)
        if exchange.departed is None:
            self.errors[exchange.error] += 1
            return
        counts = self._open.counts
        self.last = max(self.last, exchange.ended)
        counts["sent"] += 1
        counts["bytes_sent"] += exchange.bytes_sent
        counts["bytes_received"] += exchange.bytes_received
        took = exchange.ended - exchange.departed
        self._open.actual.add(took)
        self.server_seconds += took
        if not exchange.error and exchange.status is not None and exchange.status < 400:  # noqa: PLR2004 — RFC 9110
            counts["ok"] += 1
        else:
            counts["failed"] += 1
            self.errors[exchange.error or str(exchange.status)] += 1

    def ended(self, flight: Flight, now: float, *, changes: int, is_whole: bool) -> None:
        """An arrival is finished, or was given up.

        Args:
            flight: The arrival.
            now: The time in monotonic seconds.
            changes: How many of its changes the target accepted.
            is_whole: Whether the outcome of all of its changes is final; otherwise the run ended first.

        """
        if not flight.is_counted:
            return
        self._catch_up(now)
        counts, intended = self._open.counts, flight.intended
        if flight.due is not None and flight.departed is not None:
            counts["late"] += flight.departed - flight.due > LATE_SECONDS
            self.lags.add(flight.lag)
        counts["changes"] += changes
        if is_whole and flight.ended is not None and intended is not None:
            self._open.intended.add(flight.ended - intended)

    def dropped(self, due: float, now: float) -> None:
        """An arrival was never sent: its latency is at least the time that it has waited so far."""
        if due >= self.begin:
            self._catch_up(now)
            self._open.counts["dropped"] += 1
            self._open.intended.add(now - due)

    def look(self, now: float) -> None:
        """Record how many requests are in flight, and close intervals that have ended."""
        self._catch_up(now)
        self._open.in_flight = max(self._open.in_flight, self._gauges().in_flight)

    def finish(self, now: float) -> list[Interval]:
        """End the recording; returns all intervals."""
        self._catch_up(now)
        if self._open.counts or self._open.intended.fold().counts.size or not self._closed:
            self._close()
        for closed in self._closed:
            self.requests.update(closed.counts)
        return [closed.as_interval() for closed in self._closed]

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
        intended, actual = ended.intended.fold(), ended.actual.fold()
        self._closed.append(_Closed(ended.counts, most, gauges.limit, waited, intended, actual))
        self._intended.others.append(intended)
        self._actual.others.append(actual)
        if len(self._closed) == _MOST_INTERVALS:
            self._closed = [a.followed_by(b) for a, b in zip(self._closed[::2], self._closed[1::2], strict=True)]
            self.length *= 2
