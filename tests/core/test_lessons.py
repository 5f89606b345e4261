"""What refusals teach: sizes, and who travels apart."""

from __future__ import annotations

import numpy as np
import pytest
from columns import columns_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Batch, Limits
from batcher.core.lessons import Lessons
from batcher.core.pack import pack
from batcher.core.split import first_alone, halves
from batcher.targets import create

LIMITS = Limits(1000, 100, 50, 5000, 1 << 20)
TARGETS = {"minapp": create("minapp", "", ""), "scrutinizer": create("scrutinizer", "https://example.org", "")}
IDS = iter(range(1, 10**9))


def batch_of(pairs, kind="minapp"):
    columns = columns_of([("add", user, group) for user, group in pairs])
    (ops,) = pack(columns, np.arange(len(pairs)), LIMITS, TARGETS[kind].wire)
    return Batch(next(IDS), 0, ops, columns.user, columns.group)


def split(lessons, batch, *, is_certain=False):
    pieces = [Batch(next(IDS), 0, ops, batch.user, batch.group) for ops in halves(batch.ops)]
    lessons.sizes.was_split(batch, pieces, is_certain=is_certain)
    return pieces


def pairs_of(ops, batch):
    found = []
    for op in ops:
        users, groups = op.pairs()
        found += zip(batch.user.values(users), batch.group.values(groups), op.rows.tolist(), strict=True)
    return found


def large(count=100):
    return batch_of([(user, 1) for user in range(count)])


def test_a_refused_batch_that_is_fine_in_halves_was_too_large():
    """Told so, one is enough."""
    lessons = Lessons()
    one, other = split(lessons, large(), is_certain=True)
    assert not lessons.was_accepted(one)
    assert lessons.was_accepted(other)
    assert lessons.sizes.most == 50
    assert [sum(map(len, ops)) for ops in lessons.cut(large(120))] == [30, 30, 30, 30]
    assert lessons.cut(large(50)) == []
    assert "most=50" in repr(lessons)


def test_without_being_told_it_takes_two():
    lessons = Lessons()
    for expected in (None, 50):
        for piece in split(lessons, large()):
            lessons.was_accepted(piece)
        assert lessons.sizes.most == expected


def test_a_large_batch_that_goes_well_meanwhile_takes_the_suspicion_back():
    lessons = Lessons()
    for _ in range(3):
        for piece in split(lessons, large()):
            lessons.was_accepted(piece)
        lessons.was_accepted(large())
    assert lessons.sizes.most is None


def test_halves_of_which_one_is_refused_teach_nothing_of_sizes():
    lessons = Lessons()
    for _ in range(3):
        one, other = split(lessons, large(), is_certain=True)
        lessons.was_accepted(one)
        lessons.sizes.was_refused(other)
    assert lessons.sizes.most is None


def test_a_smaller_size_replaces_a_larger_never_the_other_way_round():
    lessons = Lessons()
    for count, most in ((100, 50), (20, 10), (60, 10)):
        for piece in split(lessons, large(count), is_certain=True):
            lessons.was_accepted(piece)
        assert lessons.sizes.most == most


@pytest.mark.parametrize(("refusals", "told"), [(2, []), (3, ["user 7"])])
def test_who_is_refused_alone_in_three_pairs_travels_apart(refusals, told):
    lessons = Lessons()
    said = [who for group in range(refusals) for who in lessons.quarantine.was_refused_alone(batch_of([(7, group)]))]
    assert said == told
    batch = batch_of([(user, group) for user in range(5, 10) for group in (50, 51)])
    parts = [{(user, group) for user, group, _ in pairs_of(ops, batch)} for ops in lessons.cut(batch)]
    if told:
        assert parts[1] == {(7, 50), (7, 51)}
        assert parts[0] == {(user, group) for user in (5, 6, 8, 9) for group in (50, 51)}
        assert lessons.quarantine.was_refused_alone(batch_of([(7, 9)])) == []
    else:
        assert parts == []


def test_to_be_accepted_clears_a_user_also_before_it_is_apart():
    lessons = Lessons()
    for group in range(2):
        lessons.quarantine.was_refused_alone(batch_of([(7, group)]))
    lessons.was_accepted(batch_of([(7, 8)]))
    assert lessons.quarantine.was_refused_alone(batch_of([(7, 3)])) == []
    for group in (4, 5):
        lessons.quarantine.was_refused_alone(batch_of([(7, group)]))
    assert lessons.cut(batch_of([(7, 8), (8, 8)]))
    lessons.was_accepted(batch_of([(7, 8)]))
    assert lessons.cut(batch_of([(7, 8), (8, 8)])) == []


_KEYS = {"minapp": st.integers(0, 6), "scrutinizer": st.one_of(st.integers(0, 4), st.sampled_from("abc"))}


@pytest.mark.parametrize("kind", TARGETS)
@given(data=st.data())
def test_what_is_cut_asks_for_exactly_the_same(kind, data):
    """Whatever was learned: no pair more, none less, no part that mixes those apart with others."""
    keys = _KEYS[kind]
    pairs = data.draw(st.lists(st.tuples(keys, keys), min_size=1, max_size=30, unique=True))
    batch = batch_of(pairs, kind)
    lessons = Lessons()
    users, groups = data.draw(st.frozensets(keys, max_size=2)), data.draw(st.frozensets(keys, max_size=2))
    for user in users:
        for group in range(100, 103):
            lessons.quarantine.was_refused_alone(batch_of([(user, group)], kind))
    for group in groups:
        for user in range(100, 103):
            lessons.quarantine.was_refused_alone(batch_of([(user, group)], kind))
    lessons.sizes.most = data.draw(st.one_of(st.none(), st.integers(1, 8)))
    parts = lessons.cut(batch) or [batch.ops]
    found = [pair for ops in parts for pair in pairs_of(ops, batch)]
    assert sorted(found, key=repr) == sorted(pairs_of(batch.ops, batch), key=repr)
    for ops in parts:
        told = pairs_of(ops, batch)
        assert lessons.sizes.most is None or len(told) <= lessons.sizes.most
        assert len({user in users or group in groups for user, group, _ in told}) == 1


def ask_until_done(lessons, batch, accepts, in_flight=1):
    """Ask for a batch as a run does: cut before it leaves, halve what was refused. Gives how many requests that takes."""
    waiting, requests = [batch], 0
    while waiting:
        flying = []
        while waiting and len(flying) < in_flight:
            current = waiting.pop(0)
            parts = lessons.cut(current)
            if parts:
                waiting[:0] = [Batch(next(IDS), 0, ops, current.user, current.group) for ops in parts]
            else:
                flying.append(current)
        for current in flying:
            requests += 1
            if all(accepts(user, group) for user, group, _ in pairs_of(current.ops, current)):
                lessons.was_accepted(current)
            elif len(current) == 1:
                lessons.sizes.was_refused(current)
                lessons.quarantine.was_refused_alone(current)
            else:
                waiting[:0] = split(lessons, current)
    return requests


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("in_flight", [1, 32])
@pytest.mark.parametrize("count", [100, 1000])
def test_a_dead_group_costs_little_more_than_a_request_per_change(kind, in_flight, count):
    """To halve what is guilty as a whole would cost two; at first nobody knows that it is, in as many branches as fly."""
    batch = batch_of([(user, 53) for user in range(count)], kind)
    requests = ask_until_done(Lessons(), batch, lambda user, group: False, in_flight)
    assert count <= requests <= count + 12 + 6 * in_flight


@given(st.sets(st.integers(0, 499), max_size=8), st.sampled_from(sorted(TARGETS)), st.integers(1, 32))
def test_a_few_bad_ones_in_a_living_group_do_not_cost_it(bad, kind, in_flight):
    """Who was suspected wrongly is cleared by the first that is accepted: no more leave alone than fly at once."""
    batch = batch_of([(user, 53) for user in range(500)], kind)
    requests = ask_until_done(Lessons(), batch, lambda user, group: user not in bad, in_flight)
    assert requests <= 2 * 10 * (len(bad) + 1) + (len(bad) + 1) * in_flight


@given(st.integers(1, 40), st.sampled_from(sorted(TARGETS)), st.integers(1, 3))
def test_one_alone_and_the_others_ask_for_the_same(users, kind, groups):
    batch = batch_of([(user, group) for user in range(users) for group in range(groups)], kind)
    wanted = sorted(pairs_of(batch.ops, batch))
    if len(batch) == 1:
        with pytest.raises(ValueError, match="no others"):
            first_alone(batch.ops)
        return
    one, others = first_alone(batch.ops)
    assert sum(map(len, one)) == 1
    assert sorted(pairs_of(one, batch) + pairs_of(others, batch)) == wanted


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("after", [3, 4, 5])
def test_what_need_not_be_asked_about(kind, after):
    """n−1, n, n+1 of the refusals that the user wants to see; a key that was accepted once is asked about again."""
    lessons = Lessons(after)
    batch = batch_of([(user, group) for user in range(10, 20) for group in (1, 53)], kind)
    for user in range(4):
        lessons.quarantine.was_refused_alone(batch_of([(user, 53)], kind))
    kept, rest, reasons = lessons.quarantine.hopeless(batch)
    assert bool(rest) is (after <= 4)
    assert len(pairs_of(kept, batch)) + len(pairs_of(rest, batch)) == len(batch)
    assert {group for _, group, _ in pairs_of(rest, batch)} <= {53}
    assert set(reasons) <= {
        f"not sent: group 53 was refused in 4 changes and accepted in none (after_refusals = {after})"
    }
    lessons.was_accepted(batch_of([(99, 53)], kind))
    assert not lessons.quarantine.hopeless(batch)[1]
    assert not Lessons().quarantine.hopeless(batch)[1]


def test_a_request_to_one_group_never_becomes_one_of_several_ops():
    """Whoever is apart, user or group: each request that goes out instead has one op."""
    lessons = Lessons()
    for group in (1, 2, 3):
        lessons.quarantine.was_refused_alone(batch_of([(7, group)]))
        lessons.quarantine.was_refused_alone(batch_of([(group + 100, 50)]))
    for batch in (batch_of([(user, 1) for user in (5, 6, 7, 8)]), batch_of([(user, 50) for user in (5, 7, 101)])):
        parts = lessons.cut(batch) or [batch.ops]
        assert all(len(ops) == 1 for ops in parts)
        assert sorted(pair for ops in parts for pair in pairs_of(ops, batch)) == sorted(pairs_of(batch.ops, batch))
