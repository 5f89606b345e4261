"""Small decisions: retry, late requests, lanes, blame, health, units, secrets, replies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from columns import batch_of, columns_of, product_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Settlement
from batcher.core.blame import SUSPICIOUS, Blame, Refusal
from batcher.core.errors import ConfigurationError
from batcher.core.health import Health
from batcher.core.http import Request, Response, printable
from batcher.core.identity import fingerprints
from batcher.core.in_doubt import InDoubtRequests
from batcher.core.keys import Keys
from batcher.core.model import Action
from batcher.core.ordering import OrderBy, ordering_keys, shared
from batcher.core.rate import Rate
from batcher.core.replies import unsuccessful
from batcher.core.report import exit_code
from batcher.core.retry import RetryPolicy, wish_of
from batcher.core.schedule import Schedule
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.units import parse_duration, parse_failures, parse_rate, spoken
from batcher.core.verdict import Cause, Retry, Split, Stop
from batcher.core.wire import digits

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("1.5", 1.5),
        ("-4", 0.0),
        ("999999999", 3600.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("3, 5", 5.0),
        ("3, soon", None),
        ("inf", None),
        ("nan", None),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999999", None),
    ],
)
def test_retry_after_in_each_of_its_forms(text, seconds):
    """Seconds, decimals, dates, past, negative, absurd, none."""
    wish = wish_of({"retry-after": text}, NOW)
    assert (wish and wish.seconds) == seconds
    if seconds == 3600.0:
        assert text in str(wish)


@pytest.mark.parametrize(
    ("name", "text", "seconds"),
    [
        ("retry-after", "1800000030", 30.0),
        ("retry-after", "1800000030000", 30.0),
        ("retry-after", "1799999990", 0.0),
        ("retry-after", "2027-01-15T08:00:30Z", 30.0),
        ("retry-after", "1m30s", 90.0),
        ("retry-after", "250ms", 0.25),
        ("retry-after", "6m0s", 360.0),
        ("retry-after-ms", "1500", 1.5),
        ("x-ms-retry-after-ms", "200", 0.2),
        ("x-retry-after", "7", 7.0),
        ("x-ratelimit-reset", "42", 42.0),
        ("x-ratelimit-reset", "1800000042", 42.0),
        ("x-ratelimit-reset", "1800000042000", 42.0),
        ("x-rate-limit-reset", "1800000042", 42.0),
        ("x-ratelimit-reset-after", "1.25", 1.25),
        ("ratelimit-reset", "9", 9.0),
        ("x-ratelimit-reset-requests", "6m0s", 360.0),
        ("x-ratelimit-reset-tokens", "soon", None),
        ("ratelimit", "limit=100, remaining=0, reset=50", 50.0),
        ("ratelimit", '"default";r=0;t=50', 50.0),
        ("ratelimit", '"burst";r=0;t=5, "daily";r=10;t=70', 5.0),
        ("ratelimit", '"burst";r=0;t=5, "daily";r=0;t=70', 70.0),
        ("ratelimit", '"default";r=50', None),
        ("x-ratelimit-reset", "tomorrow", None),
    ],
)
def test_when_to_come_back_in_the_spellings_in_use(name, text, seconds):
    wish = wish_of({name: text}, NOW, or_reset=True)
    assert (wish and wish.seconds) == seconds
    if "reset" in name or name == "ratelimit":
        assert wish_of({name: text}, NOW) is None  # it comes with every reply


def test_of_several_kinds_that_are_counted_the_one_that_is_used_up_says_when():
    headers = {"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "60s"}
    assert wish_of(headers, NOW, or_reset=True).seconds == 60
    assert wish_of(headers | {"x-ratelimit-remaining-requests": "0"}, NOW, or_reset=True).seconds == 2


@pytest.mark.parametrize(("seconds", "is_cut"), [(3599, False), (3600, False), (3601, True)])
def test_a_wish_that_is_cut_says_what_was_received(seconds, is_cut):
    found = unsuccessful(Response(429, {"retry-after": str(seconds)}), "slow down", NOW)
    assert found.after == min(seconds, 3600)
    assert (f"retry-after: {seconds}" in found.reason) is is_cut


@given(
    st.text(max_size=40),
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "ratelimit", "x-ratelimit-reset-x"]),
)
def test_a_wish_never_raises(text, name):
    """Whatever a server writes."""
    wish = wish_of({name: text}, NOW, or_reset=True)
    assert wish is None or 0 <= wish.seconds <= 3600


def test_back_off_doubles_up_to_its_ceiling_with_jitter():
    """Between half and all of the ceiling."""
    policy = RetryPolicy(8, 0.5, 60, 900, lambda: 0.0)
    assert [policy.delay(n) for n in (1, 2, 3, 20, 2000)] == [0.25, 0.5, 1.0, 30.0, 30.0]
    assert RetryPolicy(8, 0.5, 60, 900, lambda: 0.999).delay(3) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (301, "", Stop),
        (400, "bad", Split),
        (400, "操作过于频繁", Retry),
        (400, "Rate limit exceeded", Retry),
        (401, "", Stop),
        (402, "", Stop),
        (403, "", Stop),
        (404, "", Stop),
        (405, "", Stop),
        (408, "", Retry),
        (413, "", Split),
        (422, "", Split),
        (425, "", Retry),
        (429, "", Retry),
        (500, "", Retry),
        (503, "", Retry),
    ],
)
def test_what_statuses_mean(status, said, kind):
    """Refusals split, outages are tried again, the run's own faults stop it."""
    assert isinstance(unsuccessful(Response(status), said, NOW), kind)


def test_429_and_425_are_not_lost_and_429_uses_up_no_attempt():
    """A refusal to work is no accident on the way."""
    verdict = unsuccessful(Response(429, {"retry-after": "2"}), "", NOW)
    assert verdict == Retry(verdict.reason, 2.0, lost=False, counted=False, back_pressure=True)
    assert unsuccessful(Response(502), "", NOW).lost
    assert unsuccessful(Response(400), "too many requests", NOW).counted


@pytest.mark.parametrize(
    ("text", "rate"),
    [("50/min", Rate(50, 60)), ("5/s", Rate(5, 1)), (" 1000 / H ", Rate(1000, 3600)), ("none", None)],
)
def test_rates(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "5", "0/s", "-1/s", "5/week", "1.5/s"])
def test_what_is_no_rate(text):
    with pytest.raises(ConfigurationError, match="50/min"):
        parse_rate(text)


def test_durations_and_budgets():
    assert [parse_duration(t) for t in ("30s", "15m", "2h", "1.5h", "1d")] == [30, 900, 7200, 5400, 86400]
    assert parse_failures("100") == (100, None)
    assert parse_failures("5%") == (None, 0.05)
    for text in ("", "x", "101%", "-1"):
        with pytest.raises(ConfigurationError):
            parse_failures(text)
    with pytest.raises(ConfigurationError):
        parse_duration("soon")
    assert [spoken(s) for s in (4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]


def test_secrets_are_masked_the_longest_first():
    secrets = Secrets()
    secrets.add("tok/en+1", "abc", "tok/en+1-longer")
    assert secrets.scrub("x tok/en+1-longer tok%2Fen%2B1 abc") == "x *** *** abc"
    assert "tok" not in repr(secrets)
    assert "tok" not in repr(Credentials("tok/en+1", "id", "sec"))
    assert "sec" not in repr(Request("GET", "http://x", {"Authorization": "sec"}, b"sec"))


def test_foreign_text_is_one_printable_line():
    assert printable("a\x1b[31mb\nc\x00") == "a [31mb c"


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30))
def test_digits_counts_characters(ids):
    assert digits(np.array(ids, np.int64)).tolist() == [len(str(i)) for i in ids]


def test_fingerprints_are_the_same_in_any_window():
    """Ids and names keep their identity whatever their codes; an id is never its own text."""
    one = columns_of([("add", 5, "g"), ("add", "5", "g"), ("add", "x", 7)])
    other = columns_of([("add", "x", 7), ("add", "y", "g"), ("add", 5, "g")])
    a, b = fingerprints(one.user, one.group), fingerprints(other.user, other.group)
    assert a[0].tolist() == b[2].tolist()
    assert a[2].tolist() == b[0].tolist()
    assert len({tuple(row) for row in [*a.tolist(), *b.tolist()]}) == 4
    assert (
        fingerprints(Keys.of([5]), Keys.of([7])).tolist()
        == fingerprints(Keys.of([5, "n"]), Keys.of([7, "m"]))[:1].tolist()
    )


def test_lanes():
    user, group = Keys.of([1, 2, 1]), Keys.of([9, 9, 8])
    assert len(set(ordering_keys(user, group, OrderBy.PAIR).tolist())) == 3
    assert len(set(ordering_keys(user, group, OrderBy.GROUP).tolist())) == 2
    assert len(set(ordering_keys(user, group, OrderBy.INPUT).tolist())) == 1
    assert shared(np.array([3, 5], np.uint64), np.array([1, 5, 9], np.uint64)).tolist() == [False, True]
    assert shared(np.array([3], np.uint64), np.empty(0, np.uint64)).tolist() == [False]


def _keys(values):
    return np.array(values, np.uint64)


def test_only_opposite_changes_wait_for_late_requests_and_only_for_the_grace():
    """Law 2, late requests."""
    late = InDoubtRequests(30.0, own_too=False)
    adds, removes = np.array([Action.ADD], np.int8), np.array([Action.REMOVE], np.int8)
    late.lost(1, _keys([1, 2]), np.array([Action.ADD, Action.REMOVE], np.int8), at=100.0)
    assert late.any(2, 129.9)
    assert late.until(2, _keys([1]), removes) == 130.0
    assert late.until(2, _keys([1]), adds) == -math.inf
    assert late.until(2, _keys([2]), adds) == 130.0
    assert late.until(2, _keys([3]), adds) == -math.inf
    assert not late.any(2, 130.0)


@pytest.mark.parametrize("own_too", [True, False])
def test_within_a_window_only_wider_lanes_wait_for_their_own_late_requests(own_too):
    """A pair has one wish per window."""
    late = InDoubtRequests(30.0, own_too=own_too)
    late.lost(1, _keys([1]), np.array([Action.ADD], np.int8), at=100.0)
    assert late.any(1, 101.0) is own_too
    assert late.until(1, _keys([1]), np.array([Action.REMOVE], np.int8)) == (130.0 if own_too else -math.inf)
    assert "1 windows" in repr(late)


@pytest.mark.parametrize("whole", [True, False])
def test_where_groups_are_written_back_everything_of_a_lane_waits(whole):
    """A late request may undo what another one has done to other members of the group."""
    late = InDoubtRequests(30.0, own_too=True, whole_lanes=whole)
    late.lost(1, _keys([1]), np.array([Action.ADD], np.int8), at=100.0)
    assert late.until(1, _keys([1]), np.array([Action.ADD], np.int8)) == (130.0 if whole else -math.inf)
    assert late.until(1, _keys([1]), np.array([Action.REMOVE], np.int8)) == 130.0
    assert late.until(1, _keys([2]), np.array([Action.ADD], np.int8)) == -math.inf


def test_the_same_loss_a_thousand_times_takes_no_more_memory():
    late = InDoubtRequests(30.0, own_too=False)
    for number in range(1000):
        late.lost(1, _keys(range(100)), np.zeros(100, np.int8), at=float(number))
    losses = late._windows[1]
    assert len(losses.of(Action.ADD)) == 100
    assert losses.until == 1029.0


def _refusal(user, group):
    batch = batch_of([("add", user, group)])
    return Refusal(batch, Settlement(0, 1, batch.rows, np.array([Status.FAILED], np.int8), {}, 0.0, ()))


@pytest.mark.parametrize(("count", "suspect"), [(SUSPICIOUS - 1, False), (SUSPICIOUS, True), (SUSPICIOUS + 1, True)])
def test_twenty_refusals_in_a_row_are_suspect(count, suspect):
    """n−1, n, n+1."""
    blame = Blame()
    for user in range(count):
        blame.refused(_refusal(user, 1))
    assert blame.is_suspect is suspect
    assert blame.holds == count
    assert not blame.is_fair_trial(product_of("add", [900], [1, 2]))
    assert not blame.is_fair_trial(product_of("add", [3, 900], [2]))
    assert blame.is_fair_trial(product_of("add", [900], [2]))
    assert len(blame.accepted()) == count
    assert not blame.is_suspect
    assert blame.accepted_once


def test_three_refused_trials_prove_the_run_guilty_unless_something_is_accepted():
    """n−1, n; an accepted request starts anew."""
    blame = Blame()
    assert [blame.trial_refused() for _ in range(2)] == [False, False]
    blame.refused(_refusal(1, 1))
    blame.accepted()
    assert [blame.trial_refused() for _ in range(3)] == [False, False, True]


def test_health():
    health = Health()
    for number in range(1, 7):
        health.tries(float(number))
        health.failed("503", float(number), number + 0.5, is_probe=number % 2 == 0 and health.is_down)
        assert health.is_down is (number >= 5)
    assert (health.trying_since, health.probes) == (1.0, 1)
    assert not health.has_used_up(6)
    assert health.has_used_up(5)
    assert health.has_used_up(2)
    health.succeeded()
    assert not health.has_used_up(2)
    assert (health.trying_since, health.failures, health.probes, health.accepted) == (None, 0, 0, 1)
    for _ in range(32):
        health.failed("reset", 10.0, 11.0, is_probe=False)
    assert (health.failures, health.is_down) == (1, False)  # they flew together


def test_a_suspect_run_sends_nothing_but_a_trial():
    """Of users and groups that have nothing to do with the refused ones."""
    blame = Blame()
    schedule = Schedule(OrderBy.PAIR, InDoubtRequests(30, own_too=False), blame)
    same, other = batch_of([("add", 1, 7)], 1), batch_of([("add", 500, 8)], 2)
    schedule.add([same, other])
    for user in range(SUSPICIOUS):
        blame.refused(_refusal(user, 7))
    turn = schedule.take(0.0)
    assert turn.batch is other
    assert turn.is_trial
    assert schedule.take(0.0).batch is None
    assert schedule.done(other) is True
    assert not schedule.has_fair_trial()
    assert schedule.take(0.0).batch is None


def test_pieces_go_first_and_held_batches_let_others_pass():
    late = InDoubtRequests(30, own_too=False)
    schedule = Schedule(OrderBy.PAIR, late, Blame())
    opposite, other = batch_of([("remove", 1, 7)], 1), batch_of([("add", 2, 7)], 2)
    columns = columns_of([("add", 1, 7)])
    late.lost(9, ordering_keys(columns.user, columns.group, OrderBy.PAIR), columns.action, 0.0)
    schedule.add([opposite, other])
    assert schedule.take(0.0).batch is other
    assert schedule.take(0.0).at == 30.0
    piece = batch_of([("add", 3, 7)], 3)
    schedule.done(other, [piece])
    assert schedule.take(1.0).batch is piece
    assert schedule.take(30.0).batch is opposite
    schedule.done(opposite)
    schedule.done(piece)
    assert schedule.is_idle


def test_in_input_order_one_flies_and_none_overtakes():
    late = InDoubtRequests(30, own_too=True)
    schedule = Schedule(OrderBy.INPUT, late, Blame())
    first, second = batch_of([("add", 1, 7)], 1), batch_of([("remove", 2, 8)], 2)
    schedule.add([first, second])
    assert schedule.take(0.0).batch is first
    assert schedule.take(0.0).batch is None
    columns = columns_of([("add", 1, 7)])
    late.lost(9, ordering_keys(columns.user, columns.group, OrderBy.INPUT), columns.action, 0.0)
    schedule.done(first)
    assert schedule.take(1.0).at == 30.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_by_group_no_two_batches_of_a_group_fly_together(steps):
    """And nothing is lost: against a plain model."""
    schedule = Schedule(OrderBy.GROUP, InDoubtRequests(30, own_too=True), Blame())
    flying, added, taken = {}, 0, 0
    for number, (is_take, group) in enumerate(steps):
        if not is_take:
            schedule.add([batch_of([("add", number, group)], number)])
            added += 1
        elif (batch := schedule.take(0.0).batch) is not None:
            taken += 1
            assert batch.group.value(int(batch.pairs()[2][0])) not in flying.values()
            flying[batch.id] = batch.group.value(int(batch.pairs()[2][0]))
            if len(flying) > 2:
                oldest = next(iter(flying))
                del flying[oldest]
                schedule.done(batch if batch.id == oldest else batch_of([("add", oldest, 0)], oldest))
    rest = 0
    while not schedule.is_idle:
        for number in list(flying):
            del flying[number]
            schedule.done(batch_of([("add", number, 0)], number))
        batch = schedule.take(0.0).batch
        if batch is not None:
            rest += 1
            flying[batch.id] = 0
    assert taken + rest == added


@pytest.mark.parametrize(
    ("changes", "stopped", "complete", "code"),
    [
        ({Status.APPLIED: 1}, None, True, 0),
        ({Status.SUPERSEDED: 1, Status.UNCHANGED: 2}, None, True, 0),
        ({Status.FAILED: 1}, None, True, 3),
        ({Status.REJECTED: 1}, None, True, 3),
        ({Status.UNKNOWN: 1}, None, True, 3),
        ({Status.PENDING: 1}, None, True, 6),
        ({Status.APPLIED: 1}, None, False, 6),
        ({Status.FAILED: 1}, Cause.CREDENTIALS, False, 4),
        ({Status.FAILED: 1, Status.PENDING: 1}, Cause.INTERRUPT, False, 130),
        ({}, Cause.HANGUP, True, 129),
        ({}, Cause.TERMINATED, True, 143),
        ({}, Cause.QUOTA, True, 6),
    ],
)
def test_exit_codes(changes, stopped, complete, code):
    assert exit_code(changes, stopped, input_complete=complete) == code
