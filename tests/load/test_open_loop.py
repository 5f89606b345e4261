"""What an open loop measures, against a plain model: places that are taken in order, and a clock."""

from __future__ import annotations

import heapq
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import Server, play

from batcher.core.arrivals import parse_arrivals
from batcher.load.latencies import Latencies

EXACT = 0.001
"""Three digits."""


def model(dues, places, takes):
    """When each arrival departs and ends: the first one that is due takes the first place that is free."""
    free = [0.0] * places
    flights = []
    for due in dues:
        departed = max(due, heapq.heappop(free))
        ended = departed + takes(departed)
        heapq.heappush(free, ended)
        flights.append((due, departed, ended))
    return flights


def percentile(values, percent):
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values) - 1e-9) - 1)]


def whole(measurement, name):
    return Latencies.decoded(measurement.latency[name].histogram)


def stalls(start, seconds, otherwise):
    """A server that answers nobody for a while."""
    return lambda now: (start + seconds - now if start <= now < start + seconds else 0.0) + otherwise


@pytest.mark.parametrize("places", [1, 8, 256])
def test_a_stall_of_a_second_shows_as_theory_says(tmp_path, places):
    takes = stalls(4.995, 1.0, 0.004)
    found = play(tmp_path, Server(takes), settings={"rate_max_in_flight": places}, arrivals="100/s for 20s")
    dues = [number / 100 for number in range(2000)]
    flights = model(dues, places, takes)
    for name, expected in (
        ("intended", [ended - due for due, _, ended in flights]),
        ("actual", [ended - departed for _, departed, ended in flights]),
    ):
        for text, value in found.latency[name].percentiles.items():
            assert value == pytest.approx(1000 * percentile(expected, float(text[1:])), rel=EXACT), (name, text)
        assert found.latency[name].max == pytest.approx(1000 * max(expected), rel=EXACT)
    assert found.latency["intended"].percentiles["p99"] > 700  # it does not vanish, however few places there are
    if places == 1:
        assert found.latency["actual"].percentiles["p99"] < 10  # from the actual start it would
    assert found.requests["sent"] == found.requests["ok"] == 2000
    assert found.requests["late"] == sum(departed - due > 0.001 for due, departed, _ in flights)


@given(
    rate=st.integers(5, 60),
    last=st.integers(5, 60),
    places=st.integers(1, 6),
    base=st.floats(0.001, 0.3),
    swing=st.floats(0.0, 0.3),
)
@settings(max_examples=25, deadline=None)
def test_any_schedule_and_any_server(rate, last, places, base, swing):
    def takes(now):
        return base + swing * (1 + math.sin(7 * now))

    text = f"{rate}..{last}/s for 3s"
    schedule = parse_arrivals(text, 1.0)
    dues = [schedule.due(number) for number in range(len(schedule))]
    flights = model(dues, places, takes)
    kept = [flight for flight in flights if flight[1] <= 3.0 + 5.0 + 1e-9]  # sums of floats
    with tempfile.TemporaryDirectory() as folder:
        server = Server(takes)
        found = play(Path(folder), server, settings={"rate_max_in_flight": places}, arrivals=text)
    if len(kept) < len(flights):  # what did not leave in time was dropped, and counts as long as it waited
        assert found.requests["dropped"] == len(dues) - len(server.sends)
        assert len(kept) <= len(server.sends) <= len(kept) + 1  # one more was waiting for its place already
        return
    assert server.sends == pytest.approx([departed for _, departed, _ in flights], abs=1e-6)
    expected = Latencies.of([ended - due for due, _, ended in flights])
    assert [*whole(found, "intended").counts] == [*expected.counts]
    assert whole(found, "intended").values == pytest.approx(expected.values, rel=2 * EXACT)
    assert found.requests["dropped"] == 0


def test_what_was_dropped_is_not_forgotten(tmp_path):
    found = play(tmp_path, Server(lambda _: 1.0), settings={"rate_max_in_flight": 1}, arrivals="10/s for 10s")
    sent, dropped = found.requests["sent"], found.requests["dropped"]
    assert sent + dropped == 100
    assert 15 <= sent <= 17  # one per second, for ten seconds and five of overtime
    assert found.latency["intended"].count == 100
    assert found.latency["intended"].percentiles["p50"] > 8_000
    assert found.latency["actual"].max == pytest.approx(1000, rel=EXACT)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_count_is_exact(tmp_path, count):
    server = Server()
    found = play(tmp_path, server, arrivals="10/s for 1h", most=count)
    assert len(server.sends) == found.requests["sent"] == count
    assert found.requests["dropped"] == 0


@pytest.mark.parametrize("requests", [1, 15, 16, 17, 47, 48, 49, 200])
def test_no_more_is_made_than_is_sent(tmp_path, requests):
    """What was made and not sent would stay pending, and whoever cleans up would wait for it."""
    found = play(tmp_path, Server(), arrivals=f"{requests}/s for 1s", synthetic={"users": 10**9})
    assert found.requests["sent"] == requests
    assert found.changes["applied"] == sum(found.changes.values()) == 5 * requests


def test_the_warm_up_is_not_counted(tmp_path):
    slow_at_first = Server(lambda now: 0.5 if now < 2 else 0.01)
    found = play(tmp_path, slow_at_first, arrivals="50/s for 4s", warm_up=2.0)
    assert len(slow_at_first.sends) == 300
    assert found.requests["sent"] == 200
    assert found.latency["intended"].max == pytest.approx(10, rel=EXACT)
    assert found.seconds == pytest.approx(4.0, abs=0.02)
    assert found.per_second["requests"] == pytest.approx(50, rel=0.01)
    assert sum(found.changes.values()) >= 1500  # the ledger knows of all


def test_intervals_add_up(tmp_path):
    server = Server(lambda now: 0.01 + now % 0.1, lambda number: 503 if number % 10 == 3 else 204)
    found = play(tmp_path, server, arrivals="40/s for 100s", settings={"retry_base_seconds": 0.01})
    assert len(found.intervals) < 240
    assert found.interval_seconds == 0.5
    for name in ("sent", "ok", "failed", "late", "dropped"):
        assert sum(getattr(interval, name) for interval in found.intervals) == found.requests[name]
    assert found.requests["sent"] == found.requests["ok"] + found.requests["failed"] == len(server.sends)
    assert found.errors == {"503": found.requests["failed"]}
    for name in ("intended", "actual"):
        parts = Latencies.merged(found.latencies(name))
        assert [*parts.counts] == [*whole(found, name).counts]
    assert found.latency["intended"].count == 4000
    assert found.latency["actual"].count == found.requests["sent"]
    assert found.accepted == found.changes["applied"]
    assert sum(interval.changes for interval in found.intervals) == found.accepted
    assert found.requests["retried"] == found.requests["failed"]


def test_what_is_waited_for_is_told(tmp_path):
    server = Server(status=lambda number: 429 if number == 20 else 204, headers={"retry-after": "2"})
    found = play(tmp_path, server, arrivals="10/s for 5s")
    assert found.waited["retry_after"] == pytest.approx(2.0, abs=0.05)
    assert found.errors == {"429": 1}
    assert found.latency["intended"].max == pytest.approx(2020, rel=0.01)


def test_a_rate_of_its_own_holds_back_what_is_due(tmp_path):
    server = Server()
    found = play(tmp_path, server, arrivals="20/s for 4s", settings={"rate_requests": "10/s"})
    assert found.waited["rate"] > 3
    gaps = [b - a for a, b in zip(server.sends, server.sends[1:], strict=False)]
    assert min(gaps) > 0.1
    assert found.latency["intended"].percentiles["p50"] > 1000
    assert found.latency["actual"].max < 100
