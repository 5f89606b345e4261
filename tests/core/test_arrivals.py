from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.arrivals import Arrivals, ArrivalStage, parse_arrivals
from batcher.core.errors import ConfigurationError

STAGES = st.lists(
    st.builds(ArrivalStage, st.floats(0, 500), st.floats(0.5, 500), st.floats(0.5, 20)), min_size=1, max_size=4
)


def rate_at(stages, moment):
    for stage in stages:
        if moment <= stage.seconds:
            return stage.first + (stage.last - stage.first) * moment / stage.seconds
        moment -= stage.seconds
    return 0.0


def counted(stages, moment, steps=2000):
    """How many requests were due by a moment: the rate's integral, added up in small steps."""
    width = moment / steps
    return sum(rate_at(stages, (step + 0.5) * width) * width for step in range(steps))


@given(STAGES)
def test_a_request_is_due_when_the_rate_has_added_up_to_it(stages):
    arrivals = Arrivals(stages)
    total = len(arrivals)
    dues = [arrivals.due(number) for number in range(0, total, max(1, total // 7))]
    assert dues == sorted(dues)
    assert all(0 <= due <= arrivals.seconds + 1e-6 for due in dues)
    for number, due in list(zip(range(0, total, max(1, total // 7)), dues, strict=True))[-2:]:
        assert counted(stages, due) == pytest.approx(number, rel=0.01, abs=0.5)


@given(STAGES, st.integers(1, 5))
def test_the_shares_are_the_whole(stages, parts):
    whole = Arrivals(stages)
    shares = [whole.share(part, parts) for part in range(parts)]
    assert sum(map(len, shares)) == len(whole)
    step = max(1, len(whole) // 50)
    for number in range(0, len(whole), step):
        share = shares[number % parts]
        assert share.due(number // parts) == pytest.approx(whole.due(number), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("10/s", 50, 5),
        ("10/s for 2s", 20, 2),
        ("0..10/s for 2s", 10, 2),
        ("10..0/s for 2s", 10, 2),
        ("60/min for 1m", 60, 60),
        ("0.5/s for 4s", 2, 4),
        ("10/s for 1s, 20/s for 1s\n# a comment\n30/s for 1s  # and one", 60, 3),
    ],
)
def test_schedules_as_people_write_them(text, count, seconds):
    arrivals = parse_arrivals(text, 5.0)
    assert (len(arrivals), arrivals.seconds) == (count, seconds)


@pytest.mark.parametrize(
    "text", ["", "#", "0/s", "10", "10/day", "10/s for", "10/s for 0s", "-1/s", "1..2..3/s", "nan/s", "10/s for 5"]
)
def test_what_is_no_schedule(text):
    with pytest.raises(ConfigurationError):
        parse_arrivals(text, 5.0)


def test_the_warm_up_is_at_the_first_rate():
    arrivals = parse_arrivals("10..20/s for 10s", 1.0).after_warm_up(2.0)
    assert arrivals.seconds == 12
    assert len(arrivals) == 20 + 150
    assert parse_arrivals("0..20/s for 10s", 1.0).after_warm_up(1.0).stages[0].first == 20
