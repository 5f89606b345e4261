"""Syncs that read the target: whatever strangers do between the nights, each ends as the feed says, within its scope."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pyarrow as pa
import pytest
from harness import Target
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from nights import Nights

from batcher.core.errors import GuardrailError, NotBegunError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits
from batcher.simulator.scim_directory import id_of
from batcher.state.live import Drift, find_drift, load_live, refresh
from batcher.state.store import Known, StateStore

OPEN = {
    "guard_max_removal_share": "none",
    "guard_max_group_share": "none",
    "guard_max_addition_share": "none",
    "guard_max_shrink": "none",
    "guard_max_drift": "none",
    "guard_empty_feed": "allow",
}
WAYS = {
    "scim": ("scim", {}, ScimTraits(nested=2)),
    "scim, users by their groups": ("scim", {"target_profile": "aws"}, ScimTraits(hides_members=True, page=3)),
    "minapp": ("minapp", {"target_readable": True}, ScimTraits()),
}


def nights(folder, way="scim", *, has_state=True, **options):
    kind, more, traits = WAYS[way]
    return Nights(
        folder, Target(Behaviour(scim=traits)), kind, {**OPEN, **more, **options}, is_live=True, has_state=has_state
    )


def keys(way, user, group):
    return (user, group) if way == "minapp" else (f"u{user}", f"g{group}")


def tamper(target, user, group, *, is_in):
    members = target.world.membership.groups[group]
    (members.add if is_in else members.discard)(user)


_KEY = st.integers(1, 4)
_PAIRS = st.sets(st.tuples(_KEY, _KEY), max_size=8)
_STRANGERS = st.lists(st.tuples(st.booleans(), _KEY, st.integers(1, 6)), max_size=8)


@pytest.mark.parametrize("has_state", [True, False])
@pytest.mark.parametrize("way", WAYS)
@given(st.lists(st.tuples(_PAIRS, _STRANGERS), min_size=1, max_size=4))
@how(max_examples=12)
def test_each_night_ends_as_the_feed_says_whatever_strangers_do(tmp_path_factory, way, has_state, plan):
    """Groups that no feed has named keep whom strangers have put there."""
    play = nights(tmp_path_factory.mktemp("live"), way, has_state=has_state)
    named = set()
    for pairs, strangers in plan:
        for is_in, user, group in strangers:
            tamper(play.target, *keys(way, user, group), is_in=is_in)
        before = play.target.members()
        feed = {keys(way, user, group) for user, group in pairs}
        if has_state:
            named |= {group for _, group in feed}
        else:
            named = {group for _, group in feed}
        report = play.sync(feed)
        assert report.exit_code == 0
        has = play.target.members()
        assert {pair for pair in has if pair[1] in named} == feed
        assert {pair for pair in has if pair[1] not in named} == {pair for pair in before if pair[1] not in named}


def test_thirty_nights_with_strangers(tmp_path):
    """A larger directory, random changes on both sides, and a service that is busy or loses replies."""
    rng = random.Random(4)
    faults = tuple(Fault(kind, 0.03) for kind in ("503", "429", "drop-before", "drop-after", "truncated"))
    play = nights(tmp_path)
    play.target = Target(Behaviour(scim=ScimTraits(nested=1), faults=faults))
    feed = {(f"u{rng.randrange(300)}", f"g{rng.randrange(12)}") for _ in range(900)}
    outside = {(f"s{number}", "their own") for number in range(20)}
    for pair in outside:
        tamper(play.target, *pair, is_in=True)
    for _ in range(30):
        for pair in rng.sample(sorted(feed), 25):
            tamper(play.target, *pair, is_in=False)
        for _ in range(15):
            tamper(play.target, f"x{rng.randrange(99)}", f"g{rng.randrange(12)}", is_in=True)
        feed -= set(rng.sample(sorted(feed), 20))
        feed |= {(f"u{rng.randrange(300)}", f"g{rng.randrange(12)}") for _ in range(20)}
        report = play.sync(feed)
        assert report.exit_code == 0
        assert play.target.members() == feed | outside


def test_an_unread_group_loses_nobody(tmp_path, caplog):
    play = nights(tmp_path)
    assert play.sync([("a", "g1"), ("b", "g1"), ("a", "g2"), ("b", "g2")]).exit_code == 0
    tamper(play.target, "x", "g1", is_in=True)
    tamper(play.target, "x", "g2", is_in=True)
    cut = {"g1"}

    def answer(_, request):
        if request.method == "GET" and request.url.endswith(tuple(f"/Groups/{group}" for group in cut)):
            return Response(200, {}, b'{"id": "another", "members": []}')
        return None

    play.target.answer = answer
    with caplog.at_level(logging.WARNING):
        report = play.sync([("a", "g1"), ("a", "g2")])
    assert "group g1 could not be read" in caplog.text
    assert report.exit_code == 3  # b is still there, although the feed does not list it
    assert report.drift["unread"] == [{"group": "g1", "reason": "the reply is about the group 'another'"}]
    assert play.target.members() == {("a", "g1"), ("b", "g1"), ("x", "g1"), ("a", "g2")}
    assert report.changes[Status.APPLIED] == 2  # b and x of g2; b of g1, whom the state knows, is not removed either
    cut.clear()
    assert play.sync([("a", "g1"), ("a", "g2")]).exit_code == 0
    assert play.target.members() == {("a", "g1"), ("a", "g2")}


def test_without_a_state_an_unread_group_loses_nobody(tmp_path):
    play = nights(tmp_path, has_state=False)
    for user in ("a", "x"):
        tamper(play.target, user, "g1", is_in=True)
    play.target.world.behave(Behaviour(scim=ScimTraits(hides_members=True)))
    assert play.sync([("a", "g1"), ("b", "g1")]).exit_code == 0
    assert play.target.members() == {("a", "g1"), ("b", "g1"), ("x", "g1")}


def test_drift_is_judged(tmp_path):
    """Somebody has emptied the groups: that is not put right without being asked."""
    play = nights(tmp_path, guard_max_drift="20%")
    feed = [(f"u{user}", f"g{user % 3}") for user in range(100)]
    play.sync(feed)
    for user in range(21):
        tamper(play.target, f"u{user}", f"g{user % 3}", is_in=False)
    with pytest.raises(GuardrailError, match="drift: others have changed 21 memberships since, 100 were known"):
        play.sync(feed)
    assert len(play.target.members()) == 79
    with pytest.raises(GuardrailError, match="drift"):  # it was not taken over
        play.sync(feed)
    assert play.sync(feed, override=["drift"]).exit_code == 0
    assert len(play.target.members()) == 100
    for user in range(20):
        tamper(play.target, f"u{user}", f"g{user % 3}", is_in=False)
    assert play.sync(feed).exit_code == 0


def test_a_target_that_cannot_be_read_at_all_changes_nothing(tmp_path):
    play = nights(tmp_path)
    play.sync([("a", "g")])
    play.target.world.behave(replace(Behaviour(), faults=(Fault("503", 1.0),)))
    with pytest.raises(NotBegunError, match="cannot be read"):
        play.sync([("b", "g")])
    assert play.target.members() == {("a", "g")}


@given(
    st.dictionaries(st.tuples(_KEY, _KEY), st.sampled_from(Known), max_size=12),
    st.sets(st.tuples(_KEY, _KEY), max_size=12),
    st.sets(_KEY),
)
@how(max_examples=25)
def test_what_a_state_takes_over(tmp_path_factory, before, live, groups):
    """A plain model: of the groups that were read, the state knows what is there; of others, what it knew."""
    live = {pair for pair in live if pair[1] in groups}
    with StateStore.passing(tmp_path_factory.mktemp("drift")) as store:
        run = store.connection.execute
        for (user, group), known in before.items():
            run("INSERT INTO pair VALUES (?, ?, ?, 0, 0)", (user, group, int(known)))
        schema = pa.schema([("user", pa.int64()), ("group", pa.int64())])
        rows = pa.table([[pair[0] for pair in live], [pair[1] for pair in live]], schema=schema)
        load_live(store, rows.to_reader(), sorted(groups), "id")
        find_drift(store)
        rows = run('SELECT "user", "group", known FROM pair_now').fetchall()
        to_become = {(user, group): Known(known) for user, group, known in rows}
        drift = refresh(store)
        after = {
            (user, group): Known(known)
            for user, group, known in run('SELECT "user", "group", known FROM pair').fetchall()
        }
    expected = {
        pair: (Known.IN if pair in live else Known.OUT) if pair[1] in groups else before[pair]
        for pair in before.keys() | live
    }
    assert after == to_become == expected
    gained = {pair for pair in live if before.get(pair, Known.OUT) is Known.OUT}
    lost = {pair for pair, known in before.items() if known is Known.IN and pair[1] in groups and pair not in live}
    known = sum(value is Known.IN and group in groups for (_, group), value in before.items())
    assert (drift.gained, drift.lost, drift.known) == (len(gained), len(lost), known)
    assert sum(one.gained + one.lost for one in drift.groups) == len(gained) + len(lost)
    assert Drift() == Drift(0, 0, 0, ())


@pytest.mark.parametrize("has_state", [True, False])
def test_members_by_names_are_not_taken_for_others(tmp_path, has_state):
    """A service that lists names where the feed has ids: nobody is removed."""
    play = nights(tmp_path, has_state=has_state)
    play.target = Target(Behaviour(scim=ScimTraits(lists_user_names=True)))
    users = [id_of("Users", f"{number}") for number in range(4)]
    for code in (0, 3):  # at first the group is empty
        assert play.sync([(user, "g") for user in users[:3]]).exit_code == code
        assert play.target.members() == {(user, "g") for user in users[:3]}
    assert not any(method == "PATCH" and b"remove" in body for _, method, body in play.target.sends)


def test_an_outage_while_reading_changes_nothing(tmp_path):
    """It ends within the patience of a run, however many groups there are."""
    play = nights(tmp_path, retry_max_wait="60s")
    play.sync([(f"u{number}", f"g{number}") for number in range(40)])
    there = Behaviour()
    play.target.world.behave(there)
    play.target.answer = lambda count, _: Response(503) if count > 60 else None
    play.seconds += 1
    began = play.seconds
    with pytest.raises(NotBegunError, match="cannot be read"):
        play.sync([("u1", "g1")])
    assert len(play.target.members()) == 40
    assert play.seconds - began < 86_400 + 600


def test_what_may_still_arrive_is_waited_for(tmp_path):
    """A request whose reply was lost arrives after the next night has begun."""
    play = nights(tmp_path, retry_grace_seconds=30.0)
    play.is_live = False
    play.target = Target(Behaviour(late_seconds=20.0, faults=(Fault("late", 1.0),)))
    shutdown = Shutdown()
    play.target.answer = lambda _, request: shutdown.stop(Cause.TERMINATED, "") if request.method == "PATCH" else None
    first = play.sync([("x", "g")], shutdown=shutdown)
    assert first.exit_code == 143
    play.target.answer = lambda *_: None
    play.target.world.behave(Behaviour(late_seconds=20.0))
    play.is_live = True
    second = play.sync([("y", "g")], day=False)
    assert second.exit_code == 0
    assert play.target.members() == {("y", "g")}
