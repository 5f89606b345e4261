"""Runs that read back what they have changed: what the target only said counts as failed, and retry puts it right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness import Play, Target, settings_for
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from batcher.core.errors import ConfigurationError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.report.of_ledger import of_ledger
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits, Stage
from batcher.simulator.scim_directory import id_of

FEW = how(max_examples=25)
"""Each opens a database."""
_KEYS = st.integers(1, 6)
_ROWS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), _KEYS, _KEYS), min_size=1, max_size=40)


def scim(folder, traits=None, *, verify_after="all", **more):
    settings = {key: more.pop(key) for key in list(more) if key.split("_")[0] in {"rate", "target", "guard", "limits"}}
    behaviour = Behaviour(scim=traits or ScimTraits(), **more)
    return Play(folder, Target(behaviour), settings_for("scim", target_verify_after=verify_after, **settings))


def consistent(play):
    with LedgerReader(play.ledger) as reader:
        return differences(reader) == []


@example([("add", 5, 1), ("add", 1, 1)], {5}, 2)
@given(_ROWS, st.sets(_KEYS), st.integers(1, 4))
@FEW
def test_whoever_is_dropped_in_silence_has_failed(tmp_path_factory, rows, unknown, windows):
    """No change of theirs counts as applied, and everything else does; the ledger stays consistent."""
    play = scim(
        tmp_path_factory.mktemp("proof"), ScimTraits(drops_unknown=True), bad_users={f"u{user}" for user in unknown}
    )
    play.window_rows = max(1, len(rows) // windows)
    changes = [(op, f"u{user}", f"g{group}") for op, user, group in rows]
    report = play.apply(changes)
    wishes = {(user, group): op for op, user, group in changes}
    was_stopped = report.stopped is Cause.UNPROVEN
    if was_stopped:  # found by the first look already
        while report.stopped is Cause.UNPROVEN:
            report = play.resume()
    else:
        assert report.proof["changes"] == len(wishes)
        assert report.proof["not_so"] == report.changes[Status.FAILED]
    has = play.target.members()
    wrong = {pair for pair, op in wishes.items() if (pair in has) != (op == "add")}
    # A change that failed before the stop may fail again in a later window.
    assert report.changes[Status.FAILED] >= len(wrong) if was_stopped else report.changes[Status.FAILED] == len(wrong)
    assert report.exit_code == (3 if wrong else 0)
    assert consistent(play)
    if wrong:
        assert report.next.startswith("batcher retry")


def test_what_is_not_so_is_said_and_put_right_by_retry(tmp_path):
    """A stranger has removed two in between: each has its line, and is there after a retry."""
    play = scim(tmp_path)
    changes = [("add", f"u{user}", f"g{user % 3}") for user in range(30)]
    asked = []

    def interfere(_, request):
        if request.method == "GET" and "/Groups/" in request.url and not asked:
            asked.append(request)
            play.target.world.membership.groups["g1"] -= {"u4", "u7"}

    play.target.answer = interfere
    report = play.apply(changes)
    assert (report.proof["not_so"], report.changes[Status.FAILED], report.exit_code) == (2, 2, 3)
    assert [line for line, status in play.statuses() if status == "failed"] == [5, 8]
    with LedgerReader(play.ledger) as reader:
        (state,) = reader.windows()
        assert "read back" in state.settlements[-1].details[0]
    again = play.retry()
    assert (again.exit_code, again.proof["not_so"]) == (0, 0)
    assert len(play.target.members()) == 30


@pytest.mark.parametrize("mode", ["sample", "all"])
def test_a_target_that_does_nothing_is_found_at_once(tmp_path, mode):
    """Within the first hundred of four thousand changes; the others are not sent, and none counts as applied."""
    users = [f"u{user}" for user in range(40)]
    play = scim(tmp_path, ScimTraits(drops_unknown=True), verify_after=mode, bad_users=set(users))
    report = play.apply([("add", user, f"g{group}") for group in range(100) for user in users])
    assert (report.stopped, report.exit_code) == (Cause.UNPROVEN, 6)
    assert "of the first 100 changes that were read back are not as the target has answered: user u" in report.reason
    assert (report.total, report.input_complete) == (100, False)
    assert report.changes[Status.FAILED] == 100
    assert consistent(play)
    play.target.world.behave(Behaviour())
    assert play.resume().changes[Status.APPLIED] == 3_900
    assert play.retry().changes[Status.APPLIED] == 4_000


def test_a_sample_tells_its_bound_and_reads_few_groups(tmp_path):
    play = scim(tmp_path, verify_after="sample")
    report = play.apply([("add", f"u{user}", f"g{group}") for group in range(400) for user in range(5)])
    assert report.exit_code == 0
    assert report.proof["groups_read"] == 20
    assert 0 < report.proof["groups_with_differences_at_most"] < 100
    gets = sum(
        "/Groups/g" in url and method == "GET"
        for url, (_, method, _) in zip(play.target.urls, play.target.sends, strict=True)
    )
    assert gets == 20 + 10


def test_what_is_not_known_is_known_afterwards(tmp_path):
    """Replies that show nothing leave changes unknown; the target knows."""
    users = [id_of("Users", f"{number}") for number in range(9)]
    names = Behaviour(scim=ScimTraits(lists_user_names=True, returns_groups=True))
    play = scim(tmp_path)
    play.target = Target(names, stages=[Stage(Behaviour(), after_requests=2)])
    first = play.apply([("add", user, "g") for user in users])
    assert (first.proof["settled"], first.changes[Status.UNKNOWN], first.exit_code) == (9, 0, 0)
    assert first.changes[Status.APPLIED] == 9
    assert play.seconds >= 30  # the grace


def test_members_by_other_values_prove_nothing(tmp_path):
    """As at a service that lists its users' names: nobody counts as missing."""
    play = scim(tmp_path, ScimTraits(lists_user_names=True))
    report = play.apply([("add", id_of("Users", f"{number}"), "g") for number in range(9)])
    assert (report.changes[Status.APPLIED], report.changes[Status.FAILED], report.exit_code) == (9, 0, 8)
    assert report.proof["changes_unread"] == 9


def test_a_lost_update_is_named_and_put_right(tmp_path):
    """A service that loses updates, and somebody else who writes at the same time."""
    traits = ScimTraits(write_seconds=0.1)
    play = scim(tmp_path, traits, latency_seconds=0.1)
    changes = [("add", f"u{user}", "g") for user in range(300)]
    world, count = play.target.world, []

    def lose(_, request):
        if request.method == "PATCH" and len(count) < 40:
            count.append(1)
            if len(count) == 2:
                world.membership.groups["g"] -= {f"u{user}" for user in range(50)}

    play.target.answer = lose
    report = play.apply(changes)
    missing = {f"u{user}" for user in range(300)} - {user for user, _ in play.target.members()}
    assert report.changes[Status.FAILED] == len(missing) == report.proof["not_so"] > 0
    assert play.retry().exit_code == 0
    assert len(play.target.members()) == 300


def test_a_proof_that_cannot_be_had_is_said(tmp_path):
    """The exit code tells it, too: 8, and nothing is booked on any change."""
    play = scim(tmp_path)
    play.target.answer = lambda _, request: None
    stages = [Stage(replace(play.target.behaviour, scim=ScimTraits(hides_members=True)), after_requests=0)]
    play.target = Target(Behaviour(scim=ScimTraits(hides_members=True)), stages=stages)
    report = play.apply([("add", "u", "g"), ("add", "v", "g")])
    assert report.changes[Status.APPLIED] == 2
    assert (report.proof["changes_unread"], report.proof["not_so"], report.exit_code) == (2, 0, 8)


def test_trouble_while_reading_back_is_borne(tmp_path):
    faults = tuple(Fault(kind, 0.08) for kind in ("503", "429", "drop-before", "drop-after", "truncated"))
    for seed in range(5):
        (tmp_path / str(seed)).mkdir()
        play = scim(tmp_path / str(seed), faults=faults, seed=seed)
        report = play.apply([("add", f"u{user}", f"g{user % 9}") for user in range(200)])
        assert (report.exit_code, report.proof["not_so"]) == (0, 0)
        assert report.proof["changes_unread"] == 0


def test_whoever_stops_a_run_while_it_reads_back_keeps_its_results(tmp_path):
    play = scim(tmp_path, rate_requests="1/s", rate_margin=0.0)
    play.stop_at, play.stop = 45.0, lambda shutdown: shutdown.stop(Cause.TERMINATED, "SIGTERM was received")
    report = play.apply([("add", "u", f"g{group}") for group in range(30)])
    assert report.changes[Status.APPLIED] == 30
    assert report.exit_code == 143
    assert report.proof["failed"] == "SIGTERM was received"


def test_a_target_that_cannot_be_read_is_refused_before_anything_is_sent(tmp_path):
    for kind, why in (("scrutinizer", "cannot be read"), ("minapp", "target.readable")):
        (tmp_path / kind).mkdir()
        play = Play(tmp_path / kind, Target(Behaviour()), settings_for(kind, target_verify_after="all"))
        with pytest.raises(ConfigurationError, match=why):
            play.apply([("add", 1, 1)])
        assert not play.target.sends


def test_minapp_too_if_its_documents_are_believed(tmp_path):
    settings = settings_for("minapp", target_verify_after="all", target_readable=True)
    play = Play(tmp_path, Target(Behaviour()), settings)
    report = play.apply([("add", user, group) for user in range(1, 2_000) for group in (1, 2)])
    assert (report.exit_code, report.proof["changes"], report.proof["requests"]) == (0, 3_998, 4)


@pytest.mark.parametrize("mode", ["sample", "all"])
def test_a_run_of_which_nothing_took_effect_has_nothing_to_prove(tmp_path, mode):
    """All were refused, or there was nothing to do."""
    play = scim(tmp_path, verify_after=mode, bad_groups=frozenset({"g1"}))
    report = play.apply([("add", "u1", "g1"), ("add", "u2", "g1")])
    assert (report.exit_code, report.proof["changes"]) == (3, 0)
    (tmp_path / "more").mkdir()
    play = scim(tmp_path / "more", verify_after=mode, bad_groups=frozenset({"g1"}))
    rows = [("add", f"u{user}", "g1") for user in range(100)] + [("add", f"u{user}", "g2") for user in range(100)]
    report = play.apply(rows)
    assert (report.exit_code, report.changes[Status.APPLIED], report.proof["not_so"]) == (3, 100, 0)


def test_whoever_was_stopped_while_it_read_back_proves_when_resumed(tmp_path):
    play = scim(tmp_path, ScimTraits(drops_unknown=True), bad_users={"u29"}, rate_requests="1/s", rate_margin=0.0)
    play.stop_at, play.stop = 45.0, lambda shutdown: shutdown.stop(Cause.TERMINATED, "SIGTERM was received")
    first = play.apply([("add", f"u{group}", f"g{group}") for group in range(30)])
    assert first.proof["failed"] == "SIGTERM was received"
    assert first.next.startswith("batcher resume")
    assert of_ledger(play.ledger, 0.0)["next"]["text"] == "The run was not finished:"
    play.stop_at = None
    last = play.resume()
    assert (last.exit_code, last.changes[Status.FAILED], last.proof["not_so"]) == (3, 1, 1)


def test_a_retry_judges_only_what_it_has_sent(tmp_path):
    """What others have changed since the run was proven is theirs."""
    play = scim(tmp_path, ScimTraits(drops_unknown=True), bad_users={"u3"})
    assert play.apply([("add", f"u{user}", "g") for user in range(9)]).changes[Status.FAILED] == 1
    play.target.world.membership.groups["g"] -= {"u1", "u2"}
    play.target.world.behave(Behaviour())
    last = play.retry()
    assert (last.exit_code, last.changes[Status.APPLIED], last.proof["changes"]) == (0, 9, 1)
    assert {user for user, _ in play.target.members()} == {"u0", "u3", "u4", "u5", "u6", "u7", "u8"}


def test_a_filter_that_is_ignored_proves_nothing(tmp_path):
    """A service that finds everybody in every group."""
    play = scim(tmp_path, ScimTraits(hides_members=True), target_profile="aws")

    def answer(_, request):
        if "/Users?filter" in request.url:
            return Response(200, {}, b'{"totalResults": 2, "Resources": [{"id": "u1"}, {"id": "u2"}]}')
        return Response(204) if request.method == "PATCH" else None

    play.target.answer = answer
    report = play.apply([("add", "u1", "g"), ("add", "u2", "g")])
    assert "group that does not exist" in report.proof["failed"]
    assert report.exit_code == 8
