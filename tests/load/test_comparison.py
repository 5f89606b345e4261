"""`compare`: finds what became slower, and does not cry wolf. Twenty repetitions, on virtual time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from play import Server, play

from batcher.core.comparing import LEAST_STRETCHES, compare_means, compare_percentiles
from batcher.core.errors import ConfigurationError
from batcher.core.expectations import Expectation
from batcher.core.verdict import Cause
from batcher.load.comparison import compare
from batcher.load.latencies import LONGEST, Latencies, Summary
from batcher.load.measurement import Interval, merged, read_measurement, write_log, write_measurement
from batcher.load.thresholds import judged

SEEDS = [pytest.param(seed, marks=[pytest.mark.thorough] if seed > 2 else []) for seed in range(20)]


@cache
def played():
    with TemporaryDirectory() as folder:
        return play(Path(folder), Server(lambda now: 0.01 + 0.005 * (now % 1)), arrivals="100/s for 20s")


@cache
def measured(factor, seed):
    """A server of 5 ms and a tail, with good and bad moments, for twenty seconds with a hundred requests each."""
    rng = np.random.default_rng(seed)
    seconds = [factor * rng.uniform(0.95, 1.05) * (0.005 + rng.exponential(0.002, 25)) for _ in range(80)]
    stretches = [Interval(sent=25, ok=25, intended=Latencies.of(part).encoded()) for part in seconds]
    summary = Summary.of(Latencies.of(np.concatenate(seconds)))
    return msgspec.structs.replace(played(), intervals=stretches, latency={"intended": summary, "actual": summary})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_is_ten_percent_slower_is_found(seed):
    found = compare(measured(1.0, seed), measured(1.1, 1000 + seed), 0.05)
    assert found.is_worse
    assert not compare(measured(1.1, 1000 + seed), measured(1.0, seed), 0.05).is_worse


@pytest.mark.parametrize("seed", SEEDS)
def test_two_runs_of_the_same_server_are_not_different(seed):
    found = compare(measured(1.0, seed), measured(1.0, 500 + seed), 0.05)
    assert not found.is_worse
    median = found.lines[0]
    assert median.name == "p50"
    assert median.change.low < median.change.change < median.change.high


def test_more_errors_are_worse_and_what_never_left_is_an_error():
    with TemporaryDirectory() as folder:
        bad = Server(status=lambda number: 503 if number % 50 == 7 else 204)
        failing = play(Path(folder), bad, arrivals="100/s for 20s")
    found = compare(measured(1.0, 0), failing, 0.05)
    assert [line.name for line in found.lines if line.is_worse][-1] == "errors"
    assert not compare(failing, failing, 0.0).is_worse
    fewer = [msgspec.structs.replace(part, dropped=part.dropped + 2) for part in played().intervals]
    assert compare(played(), msgspec.structs.replace(played(), intervals=fewer), 0.05).lines[-1].is_worse


@pytest.mark.parametrize("seed", range(5))
def test_chance_in_the_errors_is_no_change(seed):
    def failing(rng):
        parts = [int(rng.binomial(25, 0.03)) for _ in range(40)]
        return msgspec.structs.replace(
            played(), intervals=[msgspec.structs.replace(played().intervals[0], ok=25 - n, failed=n) for n in parts]
        )

    rng = np.random.default_rng(seed)
    assert not compare(failing(rng), failing(rng), 0.05).lines[-1].is_worse


def test_a_run_that_measured_nothing_is_not_compared(tmp_path):
    nothing = play(tmp_path, Server(), arrivals="10/s for 1s", warm_up=1.0, most=1, stop=at_once)
    assert nothing.latency["intended"].count == 0
    assert not any(item["holds"] for item in judged(nothing, [Expectation.parse("p99<9s")]))
    for pair in ((nothing, played()), (played(), nothing)):
        with pytest.raises(ConfigurationError, match="measured nothing"):
            compare(*pair, 0.05)


async def at_once(shutdown):
    shutdown.stop(Cause.INTERRUPT, "SIGINT was received")


def test_what_is_not_alike_or_too_short_is_said():
    with TemporaryDirectory() as folder:
        short = play(Path(folder), Server(), arrivals="10/s for 1s")
    found = compare(measured(1.0, 0), short, 0.05)
    assert any("arrivals" in note for note in found.notes)
    assert any("too short" in note for note in found.notes)
    assert not found.is_worse


@pytest.mark.parametrize("stretches", [LEAST_STRETCHES - 1, LEAST_STRETCHES, LEAST_STRETCHES + 1])
def test_too_few_stretches_tell_nothing(stretches):
    def series(value):
        return [(np.array([value]), np.array([5]))] * stretches

    (change,) = compare_percentiles(series(100), series(200), [50.0])
    assert np.isfinite(change.low) == (stretches >= LEAST_STRETCHES)


def test_means_are_compared_stretch_by_stretch():
    change = compare_means([100.0, 101.0] * 20, [90.0, 91.0] * 20)
    assert change.is_fall(0.05)
    assert change.change == pytest.approx(-0.0995, abs=0.001)
    assert not compare_means([100.0, 110.0] * 20, [99.0, 111.0] * 20).is_fall(0.0)


def test_a_measurement_comes_back_as_it_was_written(tmp_path):
    found = played()
    write_measurement(tmp_path / "a.json", found)
    assert read_measurement(tmp_path / "a.json") == found
    write_log(tmp_path / "a.hlog", found, 1_800_000_000.0)
    lines = (tmp_path / "a.hlog").read_text().splitlines()
    logged = [line.split(",") for line in lines if line.startswith("Tag=intended")]
    assert sum(len(Latencies.decoded(fields[-1])) for fields in logged) == found.latency["intended"].count
    assert sum(float(fields[2]) for fields in logged) == pytest.approx(found.seconds, abs=0.3)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "batcher-load", "version": 2}', '{"format": "batcher-load", "version": 1}', "\x00"],
)
def test_what_is_no_measurement_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"a\.json"):
        read_measurement(tmp_path / "a.json")


def test_a_damaged_histogram_is_refused(tmp_path):
    found = measured(1.0, 0)
    broken = msgspec.structs.replace(found.intervals[0], intended="HISTnonsense")
    write_measurement(tmp_path / "a.json", msgspec.structs.replace(found, intervals=[broken]))
    with pytest.raises(ConfigurationError, match="damaged"):
        read_measurement(tmp_path / "a.json")


def test_parts_of_several_generators_are_one(tmp_path):
    def part(number):
        server = Server(lambda now: 0.01 + 0.001 * (now % 1))
        return play(tmp_path, server, arrivals="30/s for 65s", part=number, parts=3, name=f"{number}.ledger"), server

    parts = [part(number) for number in range(3)]
    long = play(tmp_path, Server(), arrivals="1/s for 200s", name="long.ledger")
    one = merged([found for found, _ in parts])
    assert one.requests["sent"] == 30 * 65
    assert one.processes == 3
    times = sorted(moment for _, server in parts for moment in server.sends)
    gaps = np.diff(times)
    assert gaps.max() - gaps.min() < 1e-5  # together as even as one
    whole = Latencies.merged(Latencies.decoded(found.latency["intended"].histogram) for found, _ in parts)
    assert [*Latencies.decoded(one.latency["intended"].histogram).counts] == [*whole.counts]
    assert sum(interval.sent for interval in one.intervals) == one.requests["sent"]
    mixed = merged([parts[0][0], long])
    assert mixed.interval_seconds == long.interval_seconds == 1.0
    assert sum(interval.sent for interval in mixed.intervals) == mixed.requests["sent"] == 650 + 200


@pytest.mark.parametrize("micros", [1, 2047, 2048, 2049, 4095, 4096, 4097, LONGEST - 1, LONGEST, LONGEST + 1])
def test_buckets_at_their_bounds(micros):
    latencies = Latencies.of([micros / 1e6])
    again = Latencies.decoded(latencies.encoded())
    assert [*again.values] == [*latencies.values]
    assert latencies.values[0] == pytest.approx(min(micros, LONGEST), rel=0.001)
