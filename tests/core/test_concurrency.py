"""The adaptive limit against targets of a few lines: what it does, reply by reply."""

from __future__ import annotations

import heapq
import random

import pytest

from batcher.core.concurrency import AdaptiveLimit, FixedLimit


def rounds(limit, count, took, *, now=0.0, changes=100, in_flight=None):
    """So many rounds of replies that all took as long."""
    for _ in range(count):
        for _ in range(max(limit.limit, 8)):
            now += took / limit.limit
            limit.succeeded(now, took, changes, limit.limit if in_flight is None else in_flight)
    return now


def play(limit, replies, *, capacity=10**9, service=0.1, jitter=0.0, most=10**9, growth=0.0):
    """A closed loop: as many in flight as allowed, a target with `capacity` servers that refuses beyond `most`.

    Returns the seconds it took, how many were refused, and the limits in the order of the replies.
    """
    rng = random.Random(1)
    now, refused, done = 0.0, 0, 0
    flying: list[tuple[float, float, bool]] = []
    free = [0.0] * min(capacity, 1000)
    limits = []
    while done < replies:
        while len(flying) < limit.limit:
            if len(flying) >= most:
                heapq.heappush(flying, (now + service, now, True))
                continue
            start = max(now, heapq.heappop(free))
            end = start + service + jitter * rng.random() + growth * now
            heapq.heappush(free, end)
            heapq.heappush(flying, (end, now, False))
        now, departed, is_refused = heapq.heappop(flying)
        if is_refused:
            refused += 1
            limit.pushed_back(now, now - departed)
        else:
            done += 1
            limit.succeeded(now, now - departed, 100, len(flying) + 1)
        limits.append(limit.limit)
    return now, refused, limits


def test_it_doubles_at_first_up_to_its_ceiling():
    limit = AdaptiveLimit(start=4, ceiling=20)
    seen = []
    for _ in range(4):
        rounds(limit, 1, 0.1)
        seen.append(limit.limit)
    assert seen[-1] == 20
    assert seen == sorted(seen)
    assert "20 of 20" in repr(limit)


def test_it_does_not_grow_where_it_is_not_reached():
    limit = AdaptiveLimit(start=4)
    rounds(limit, 10, 0.1, in_flight=3)
    assert limit.limit == 4


def test_push_back_shrinks_it_once_for_what_flew_together():
    limit = AdaptiveLimit(start=20)
    limit.pushed_back(10.0, 1.0)
    limit.pushed_back(10.5, 1.0)
    assert limit.limit == 16
    limit.pushed_back(11.0, 1.0)
    assert limit.limit == 12


def test_it_never_falls_below_one():
    limit = AdaptiveLimit()
    for now in range(100):
        limit.pushed_back(now * 10.0, 1.0)
    assert limit.limit == 1


def test_it_is_soon_just_below_what_was_too_many_and_patient_beyond():
    limit = AdaptiveLimit(start=20)
    limit.pushed_back(0.0, 1.0)
    now = rounds(limit, 4, 0.1, now=1.0)
    assert limit.limit == 19
    rounds(limit, 3, 0.1, now=now)
    assert limit.limit == 19
    now = rounds(limit, 1, 0.1, now=100.0)
    assert limit.limit == 20
    rounds(limit, 1, 0.1, now=now)
    assert limit.limit == 22  # a whole round with what was too many once: that is over


def test_after_an_outage_it_starts_again():
    limit = AdaptiveLimit(start=20)
    for now in range(20):
        limit.pushed_back(now * 10.0, 1.0)
    limit.start_again()
    rounds(limit, 5, 0.1, now=300.0)
    assert limit.limit == 32


def test_slower_replies_shrink_it_and_what_did_not_help_is_taken_back():
    limit = AdaptiveLimit(start=16, ceiling=16)
    now = rounds(limit, 3, 0.1)
    now = rounds(limit, 1, 0.3, now=now)
    assert limit.limit == 8
    limit.succeeded(now + 0.1, 0.3, 100, 16)  # one that was sent before
    rounds(limit, 1, 0.3, now=now + 1)
    assert limit.limit == 16


def test_small_requests_are_no_measure_for_large_ones():
    """A split's quick pieces do not make the next whole batch look slow."""
    limit = AdaptiveLimit(start=16, ceiling=16)
    now = rounds(limit, 3, 0.01, changes=1)
    rounds(limit, 3, 0.2, now=now, changes=1000)
    assert limit.limit == 16


@pytest.mark.parametrize(("capacity", "highest"), [(4, 12), (8, 24)])
def test_a_busy_target_is_kept_busy_and_hardly_more(capacity, highest):
    """Beyond its capacity, more in flight only makes replies longer."""
    seconds, _, limits = play(AdaptiveLimit(), 3000, capacity=capacity)
    settled = limits[500:]
    assert max(settled) <= highest
    assert min(settled) >= capacity * 3 // 4
    assert 3000 / seconds >= 0.9 * capacity / 0.1


@pytest.mark.parametrize("most", [3, 8, 20])
def test_a_target_that_refuses_beyond_a_number_is_hardly_asked_for_more(most):
    seconds, refused, _ = play(AdaptiveLimit(), 10_000, most=most, jitter=0.05)
    assert refused <= 0.02 * 10_000
    assert 10_000 / seconds >= 0.9 * most / 0.125


def test_neither_jitter_nor_a_target_that_gets_slower_by_itself_costs_throughput():
    for world in ({"jitter": 1.0}, {"growth": 0.02}):
        alone, _, _ = play(FixedLimit(32), 5000, **world)
        found, _, _ = play(AdaptiveLimit(), 5000, **world)
        assert alone / found >= 0.9, world


def test_a_fixed_limit_never_moves():
    """The user decided."""
    limit = FixedLimit(3)
    limit.pushed_back(0.0, 1.0)
    limit.start_again()
    rounds(limit, 3, 0.1)
    assert limit.limit == limit.ceiling == 3
