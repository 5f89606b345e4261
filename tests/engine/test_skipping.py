"""What is so already is not sent: the target ends as if everything had been, and every change has its status."""

from __future__ import annotations

import pytest
from harness import Play, Target, final_state, settings_for
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from batcher.core.errors import ConfigurationError
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits
from batcher.simulator.scim_directory import id_of

WAYS = {"scim": {}, "minapp": {"target_readable": True}}
_KEY = st.integers(1, 5)
_ROWS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), _KEY, _KEY), min_size=1, max_size=30)


def play(folder, way="scim", behaviour=None, **settings):
    return Play(
        folder,
        Target(behaviour or Behaviour()),
        settings_for(way, target_skip_unchanged=True, **(WAYS.get(way, {}) | settings)),
    )


def named(way, rows):
    return [(op, *((user, group) if way == "minapp" else (f"u{user}", f"g{group}"))) for op, user, group in rows]


@pytest.mark.parametrize("way", WAYS)
@given(_ROWS, st.sets(st.tuples(_KEY, _KEY)), st.integers(1, 4))
@how(max_examples=30)
def test_only_what_differs_is_sent(tmp_path_factory, way, rows, there, windows):
    run = play(tmp_path_factory.mktemp("skip"), way)
    run.window_rows = max(1, len(rows) // windows)
    changes = named(way, rows)
    before = {pair[1:] for pair in named(way, [("add", *pair) for pair in there])}
    for user, group in before:
        run.target.world.membership.groups[group].add(user)
    report = run.apply(changes)
    wishes = {(user, group): op for op, user, group in changes}
    assert report.exit_code == 0
    assert run.target.members() == {pair for pair in before if pair not in wishes} | final_state(changes)
    assert report.total == len(changes)
    with LedgerReader(run.ledger) as reader:
        assert differences(reader) == []
    if windows == 1:
        so = {pair for pair, op in wishes.items() if (pair in before) == (op == "add")}
        assert report.changes[Status.UNCHANGED] == len(so)
        assert report.changes[Status.APPLIED] == len(wishes) - len(so)
        assert bool(report.requests.sent) == (len(so) < len(wishes))


def test_nothing_is_sent_to_an_unread_group_less(tmp_path):
    run = play(tmp_path, behaviour=Behaviour(scim=ScimTraits(hides_members=True)))
    run.target.world.membership.groups["g1"].add("u1")
    report = run.apply([("add", "u1", "g1"), ("add", "u2", "g1")])
    assert (report.changes[Status.APPLIED], report.changes[Status.UNCHANGED]) == (2, 0)


def test_a_stop_and_a_resume_lose_nothing(tmp_path):
    run = play(tmp_path, rate_requests="1/s", rate_margin=0.0)
    changes = [("add", f"u{user}", f"g{user % 6}") for user in range(60)]
    for user in range(0, 60, 2):
        run.target.world.membership.groups[f"g{user % 6}"].add(f"u{user}")
    run.stop_at, run.stop = 8.0, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "")
    first = run.apply(changes)
    assert first.exit_code == 130
    run.stop_at = None
    last = run.resume()
    assert last.exit_code == 0
    assert last.changes[Status.UNCHANGED] + last.changes[Status.APPLIED] == 60
    assert last.changes[Status.UNCHANGED] >= 15
    assert run.target.members() == final_state(changes)


def test_trouble_while_reading_is_borne(tmp_path):
    faults = tuple(Fault(kind, 0.1) for kind in ("503", "429", "drop-before", "drop-after", "truncated"))
    run = play(tmp_path, behaviour=Behaviour(faults=faults, seed=3))
    run.target.world.membership.groups["g1"] |= {"u1", "u5"}
    changes = [("add", f"u{user}", f"g{user % 4}") for user in range(40)]
    assert run.apply(changes).exit_code == 0
    assert run.target.members() == final_state(changes)


def test_a_target_that_cannot_be_read_is_refused(tmp_path):
    run = Play(tmp_path, Target(Behaviour()), settings_for("scrutinizer", target_skip_unchanged=True))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run.apply([("add", 1, 1)])


def test_a_token_that_is_refused_while_reading_stops_the_run(tmp_path):
    run = play(tmp_path, behaviour=Behaviour(token="another"))
    report = run.apply([("add", "u", "g")])
    assert (report.stopped, report.exit_code, report.changes[Status.FAILED]) == (Cause.CREDENTIALS, 4, 0)


def test_what_is_unknown_is_read_by_a_retry_and_not_sent_again(tmp_path):
    """Half of it is there; only the other half is sent."""
    users = [id_of("Users", f"{number}") for number in range(20)]
    names = Behaviour(scim=ScimTraits(lists_user_names=True, returns_groups=True))
    run = Play(tmp_path, Target(names), settings_for("scim"))
    first = run.apply([("add", user, "g") for user in users])
    assert first.changes[Status.UNKNOWN] == 20
    run.target.world.behave(Behaviour())
    run.target.world.membership.groups["g"] -= set(users[:10])
    sent = len(run.target.sends)
    last = run.retry()
    assert (last.exit_code, last.changes[Status.UNCHANGED], last.changes[Status.APPLIED]) == (0, 10, 10)
    methods = [method for _, method, _ in run.target.sends[sent:]]
    assert methods.count("PATCH") == 1
    assert run.target.members() == {(user, "g") for user in users}
    with LedgerReader(run.ledger) as reader:
        assert differences(reader) == []


def test_later_windows_know_what_was_read(tmp_path):
    """Three files of the same group: one reading, and only what differs is sent, the first hundred alone, too."""
    run = play(tmp_path, target_verify_after="all")
    users = [f"u{number}" for number in range(300)]
    run.target.world.membership.groups["g"] |= set(users[1:299])
    run.window_rows = 100
    report = run.apply([("add", user, "g") for user in users])
    assert (report.exit_code, report.changes[Status.UNCHANGED], report.changes[Status.APPLIED]) == (0, 298, 2)
    assert len(run.target.members()) == 300


def test_too_many_to_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("batcher.engine.run.skipping._MOST_KEPT", 50)
    run = play(tmp_path)
    users = [f"u{number}" for number in range(300)]
    run.target.world.membership.groups["g"] |= set(users)
    run.window_rows = 100
    report = run.apply([("remove" if number % 2 else "add", user, "g") for number, user in enumerate(users)])
    assert report.exit_code == 0
    assert report.changes[Status.UNCHANGED] == 50
    assert {user for user, _ in run.target.members()} == set(users[::2])
