"""The pacer's bound holds in every sliding window, and is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.rate import Meter, Pacer, Rate, Turn, Waiting

_RATES = st.builds(Rate, st.integers(1, 30), st.sampled_from([1, 60, 3600]))


def _greedy(meter, costs, pauses):
    """Send as soon as the meter allows, after pauses of one's own."""
    now, sends = 0.0, []
    for cost, pause in zip(costs, pauses, strict=True):
        now += pause
        now += meter.delay(now, cost)
        assert meter.delay(now, cost) == 0
        meter.take(now, cost)
        sends.append((now, cost))
    return sends


def _highest(sends, seconds):
    """The most that any window of this length holds; a microsecond is beyond the clock."""
    return max(sum(c for t, c in sends if start <= t < start + seconds - 2e-6) for start, _ in sends)


@given(
    _RATES,
    st.integers(1, 10),
    st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=120),
    st.sampled_from([0.0, 0.03]),
)
def test_no_sliding_window_holds_more_than_the_rate(rate, burst, pauses, margin):
    """Burst included, whatever the pauses."""
    pauses = [pause * rate.seconds for pause in pauses]
    sends = _greedy(Meter(rate, burst, margin), [1] * len(pauses), pauses)
    assert _highest(sends, rate.seconds) <= rate.count


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1, allow_nan=False)), min_size=1, max_size=80))
def test_the_bound_holds_for_costs_of_any_size(steps):
    """Changes per minute: large requests between small ones."""
    rate = Rate(50, 60)
    sends = _greedy(Meter(rate), [cost for cost, _ in steps], [pause * 60 for _, pause in steps])
    assert _highest(sends, 60) <= 50


@pytest.mark.parametrize("rate", [Rate(20, 1), Rate(50, 60), Rate(1, 60), Rate(5000, 60)])
def test_a_greedy_sender_uses_at_least_95_percent(rate):
    """The margin costs three per cent, rounding hardly anything."""
    count = max(40, rate.count * 3)
    sends = _greedy(Meter(rate), [1] * count, [0.0] * count)
    span = sends[-1][0]
    assert (count - 1) / span >= 0.95 * rate.count / rate.seconds
    assert _highest(sends[: min(count, 6000) : max(1, count // 300)], rate.seconds) <= rate.count


def test_sends_are_evenly_spaced_without_a_burst():
    """50 a minute is one every 1.236 s, not fifty at once."""
    sends = _greedy(Meter(Rate(50, 60)), [1] * 5, [0.0] * 5)
    assert [round(t, 6) for t, _ in sends] == [0.0, 1.236, 2.472, 3.708, 4.944]


def test_a_burst_goes_back_to_back_when_asked_for():
    """And only so many."""
    sends = _greedy(Meter(Rate(10, 1), burst=3, margin=0.0), [1] * 5, [0.0] * 5)
    assert [round(t, 6) for t, _ in sends] == [0.0, 0.0, 0.0, 0.1, 0.2]


def test_a_fast_rate_keeps_a_short_log():
    """A million per hour must not become a million entries."""
    meter = Meter(Rate(1_000_000, 3600))
    for step in range(50_000):
        meter.take(step * 0.004)
    assert len(meter._log) <= 1_001


def test_the_pacer_names_what_it_waits_for():
    """The longest wait counts; quiet beats the rate."""
    pacer = Pacer(Meter(Rate(1, 1), margin=0.0), Meter(Rate(10, 60), margin=0.0))
    assert pacer.turn(0.0, 5) == Turn(0.0, Waiting.NOTHING)
    assert pacer.try_take(0.0, 5).seconds == 0
    assert pacer.try_take(0.0, 5).seconds == 30.0  # spacing: five of ten a minute
    assert pacer.turn(0.0, 0) == Turn(1.0, Waiting.RATE)
    assert pacer.turn(0.0, 6) == Turn(60.0, Waiting.RATE)
    pacer.quiet(90.0, Waiting.RETRY_AFTER)
    pacer.quiet(80.0, Waiting.BACKOFF)
    assert pacer.turn(30.0, 0) == Turn(60.0, Waiting.RETRY_AFTER)
    assert Pacer(None, None).turn(0.0, 10**9) == Turn(0.0, Waiting.NOTHING)
    assert "quiet_until=90" in repr(pacer)
