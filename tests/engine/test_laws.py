"""The laws, on whole runs against a sequential model, on virtual time."""

from __future__ import annotations

import random
from collections import Counter

import orjson
import pytest
from harness import Play, Target, final_state, settings_for
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour, Fault

KINDS = ["minapp", "scrutinizer"]
FAST = {"retry_base_seconds": 0.1, "retry_grace_seconds": 5.0}


def random_changes(count, seed, users=2000, groups=40):
    rng = random.Random(seed)
    return [(rng.choice(["add", "add", "remove"]), rng.randrange(users), rng.randrange(groups)) for _ in range(count)]


def check(play, report, changes, refused=lambda *_: False):
    """State, counts, blame and the ledger's own consistency."""
    last = {(user, group): line for line, (_, user, group) in enumerate(changes)}
    assert play.target.members() == final_state(changes, refused)
    assert report.total == len(changes)
    assert sum(report.changes.values()) == len(changes)
    statuses = [status for _, status in play.statuses()]
    assert Counter(statuses) == {status.label: n for status, n in report.changes.items() if n}
    for line, ((_, user, group), status) in enumerate(zip(changes, statuses, strict=True)):
        is_last = last[user, group] == line
        if refused(user, group):
            assert status == "failed" if is_last else status in {"failed", "superseded"}
        else:
            assert status == "applied" if is_last else status in {"applied", "superseded"}
    with LedgerReader(play.ledger) as reader:
        assert differences(reader) == []


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_flight", [1, 32])
@pytest.mark.parametrize("is_atomic", [True, False])
def test_60000_conflicting_changes_end_as_the_sequential_model_says(tmp_path, kind, in_flight, is_atomic):
    """With a target that refuses some pairs: they and only they are failed."""
    changes = random_changes(60_000, seed=in_flight + is_atomic)
    pairs = sorted({(user, group) for _, user, group in changes})
    bad = frozenset(random.Random(5).sample(pairs, 12))
    target = Target(Behaviour(bad_pairs=bad, is_atomic=is_atomic, latency_seconds=0.01, jitter_seconds=0.02))
    settings = settings_for(kind, rate_max_in_flight=in_flight, limits_max_changes=2000)
    play = Play(tmp_path, target, settings, window_rows=20_000)
    report = play.apply(changes)
    check(play, report, changes, lambda *pair: pair in bad)
    assert report.exit_code == 3
    assert target.highest_in_flight <= in_flight


@pytest.mark.parametrize(("kind", "count"), [("minapp", 5000), ("scrutinizer", 5000)])
def test_one_bad_pair_in_a_batch_of_5000(tmp_path, kind, count):
    """It alone fails, for at most 3·log₂(5000)+12 = 48 more requests."""
    changes = [("add", 1000 + n // 50, 7 + n % 50) for n in range(count)]
    bad = frozenset({(1033, 30)})
    settings = settings_for(kind, limits_max_changes=count, limits_max_bytes=1 << 20)
    plays = []
    for number, behaviour in enumerate((Behaviour(), Behaviour(bad_pairs=bad))):
        folder = tmp_path / str(number)
        folder.mkdir()
        play = Play(folder, Target(behaviour), settings)
        plays.append(play.apply(changes))
        check(play, plays[-1], changes, lambda *pair, b=behaviour: pair in b.bad_pairs)
    assert plays[1].requests.sent - plays[0].requests.sent <= 48
    assert plays[1].changes[Status.FAILED] == 1


_CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=60
)
_FAULTS = st.lists(
    st.sampled_from(["503", "429", "500", "drop-before", "drop-after", "late", "html", "cut"]), max_size=3, unique=True
)


@given(
    changes=_CHANGES,
    kinds=_FAULTS,
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    window=st.sampled_from([1, 7, 1000]),
    order=st.sampled_from(["pair", "group", "input"]),
    stop=st.one_of(st.none(), st.floats(0.01, 4)),
    atomic=st.booleans(),
)
def test_faults_windows_orders_and_interruptions_change_nothing_in_the_end(
    tmp_path_factory, changes, kinds, seed, kind, window, order, stop, atomic
):
    """Laws 1, 2, 4 and 6 under any mixture, resumed until it is done."""
    bad = frozenset({(1, 1), (2, 3)})
    target = Target(
        Behaviour(
            faults=tuple(Fault(name, 0.12) for name in kinds),
            late_seconds=4.0,
            latency_seconds=0.05,
            jitter_seconds=0.1,
            bad_pairs=bad,
            is_atomic=atomic,
            shuffles=True,
            seed=seed,
        )
    )
    ordering = {"input_ordered": True} if order == "input" else {"target_order_by": order}
    settings = settings_for(kind, limits_max_changes=5, **ordering, **FAST)
    play = Play(tmp_path_factory.mktemp("p"), target, settings, window_rows=window)
    play.stop_at, play.stop = stop, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "test")
    report = play.apply(changes)
    assert sum(report.changes.values()) == report.total
    play.stop_at = None
    for _ in range(12):
        if not report.changes[Status.PENDING] and report.input_complete:
            break
        report = play.resume()
    for _ in range(12):
        if not report.changes[Status.UNKNOWN]:
            break
        report = play.retry()
    target.world.catch_up(play.seconds + 100)
    check(play, report, changes, lambda *pair: pair in bad)


def test_a_superseded_change_settles_with_its_winner_whatever_became_of_it(tmp_path):
    target = Target(Behaviour(bad_pairs=frozenset({(1, 1)})))
    play = Play(tmp_path, target, settings_for("minapp"))
    report = play.apply([("add", 1, 1), ("remove", 1, 1), ("add", 2, 1)])
    assert play.statuses() == [(1, "superseded"), (2, "failed"), (3, "applied")]
    assert report.exit_code == 3


def test_no_request_ever_contains_a_pair_that_nobody_wished(tmp_path):
    """Law 3, on the wire."""
    changes = random_changes(1_500, seed=9, users=60)  # a single window
    target = Target()
    Play(tmp_path, target, settings_for("minapp", limits_max_users=7, limits_max_groups=3)).apply(changes)
    wishes = {(user, group): op for op, user, group in changes}
    asked = Counter()
    for _, _, body in target.sends:
        for op in orjson.loads(body):
            assert len(op["users"]) <= 7
            assert len(op["groups"]) <= 3
            for user in op["users"]:
                for group in op["groups"]:
                    assert wishes[user, group] == op["op"]
                    asked[user, group] += 1
    assert set(asked.values()) == {1}


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.thorough) for n in (1, 2, 3))])
def test_a_stop_at_any_moment_ends_in_good_order_and_can_be_resumed(tmp_path, first):
    """Also between an answer and its commit, which closes a window for which the next one waits."""
    changes = [("add", 1, 1), ("remove", 1, 1), ("add", 1, 1), ("add", 2, 1)]
    for quarter in range(first, 100, 4):
        folder = tmp_path / str(quarter)
        folder.mkdir()
        target = Target(Behaviour(latency_seconds=8.0))
        run = Play(folder, target, settings_for("minapp", retry_grace_seconds=0.1))
        run.window_rows, run.work_seconds = 1, 1.0
        run.stop_at, run.stop = quarter / 4, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "SIGINT was received")
        stopped = run.apply(changes)
        assert stopped.exit_code in (0, 130), quarter
        run.stop_at = None
        if stopped.exit_code:
            assert run.resume().exit_code == 0, quarter
        assert run.target.members() == {(1, 1), (2, 1)}, quarter
