"""What a sync does in each situation that a night can bring."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import anyio
import pytest
from harness import EPOCH, Target, runtime, settings_for
from nights import Nights

from batcher.core.clock import Clock
from batcher.core.errors import (
    ConfigurationError,
    GuardrailError,
    InputError,
    LedgerError,
    LedgerHeldError,
    NotBegunError,
    StateError,
)
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import settings_of
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.run.session import make_target
from batcher.engine.sync.goal import Goal, SyncBasis, check_goal
from batcher.engine.sync.rotation import rotate
from batcher.engine.sync.sync import Terms, sync
from batcher.ledger.lock import lock
from batcher.ledger.reader import LedgerReader
from batcher.simulator.behaviour import Behaviour, Fault
from batcher.simulator.virtual_time import run_virtual
from batcher.state.store import Known, StateStore

ALL = [(user, group) for user in range(1, 41) for group in (1, 2)]
FREE = {
    "guard_max_shrink": "none",
    "guard_max_removal_share": "none",
    "guard_max_group_share": "none",
    "guard_max_addition_share": "none",
}


@pytest.fixture
def nights(tmp_path):
    return Nights(tmp_path)


def credentials():
    return Credentials(token="a-token")


def of_ledger(ledger, world, **more):
    """The context in which the run of a ledger is continued."""
    return RunContext(settings_of(ledger), credentials(), ledger, world, **more)


def facts_of(ledger):
    with LedgerReader(ledger) as reader:
        return reader.facts()


def test_nothing_is_sent_when_nothing_differs(nights):
    assert nights.sync(ALL).changes[Status.APPLIED] == 80
    sent = len(nights.target.sends)
    report = nights.sync(ALL + ALL)
    assert (report.exit_code, report.total) == (0, 0)
    assert report.feed == {"lines": 160, "rejected": 0, "pairs": 80}
    assert len(nights.target.sends) == sent


def test_a_first_night_from_a_snapshot_sends_only_what_differs(tmp_path):
    nights = Nights(tmp_path, snapshot=[*ALL[:79], (99, 1), (99, 7)])
    for user, group in nights.snapshot:
        nights.target.world.membership.groups[group].add(user)
    assert nights.sync(ALL).total == 2  # one is missing, and 99 is in a group of which the feed is master
    assert nights.target.members() == {*ALL, (99, 7)}


def test_an_uncertain_pair_is_sent_as_the_feed_wants_it(nights):
    nights.target.world.behave(Behaviour(faults=(Fault.parse("drop-after=1"),)))
    report = nights.sync(ALL[:2], retry_max_attempts=1, retry_max_wait="1m")
    assert report.changes[Status.APPLIED] == 0
    assert nights.known(Known.UNCERTAIN) == {*ALL[:2]}
    assert nights.target.members() == {*ALL[:2]}
    nights.target.world.behave(Behaviour())
    report = nights.sync([ALL[0], (7, 2)], **FREE)
    assert report.changes[Status.APPLIED] == 3
    assert nights.target.members() == {ALL[0], (7, 2)}
    assert not nights.known(Known.UNCERTAIN)


def test_what_failed_is_sent_again_and_the_state_does_not_forget_it(nights):
    nights.target.world.behave(Behaviour(bad_users=frozenset({3})))
    assert nights.sync(ALL).changes[Status.FAILED] == 2
    assert nights.sync(ALL).changes[Status.FAILED] == 2
    nights.target.world.behave(Behaviour())
    assert nights.sync(ALL).changes[Status.APPLIED] == 2
    assert nights.sync(ALL).total == 0


def test_what_an_outage_cut_short_goes_on_without_anybody(nights):
    """Neither additions nor removals that were judged once are judged again."""
    nights.options = {"limits_max_changes": 10, "retry_max_wait": "1m"}
    nights.sync(ALL)
    gone, come = ALL[:8], [(user, 1) for user in range(100, 130)]
    sends = len(nights.target.sends)
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > sends
    assert nights.sync(ALL[8:] + come).exit_code == 6
    nights.target.refuse_connections = lambda _: False
    gone, come = ALL[:16], [*come, *[(user, 1) for user in range(130, 160)]]
    assert nights.sync(ALL[16:] + come).exit_code == 0
    assert nights.target.members() == {*ALL[16:], *come}
    assert not nights.lies()
    assert gone


def test_a_ledger_that_was_resumed_meanwhile_is_taken_in(nights):
    nights.options = {"limits_max_changes": 10, "retry_max_wait": "1m"}
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > 2
    assert nights.sync(ALL).exit_code == 6
    nights.target.refuse_connections = lambda _: False
    first = nights.ledger
    report = nights.play(lambda world: resume(of_ledger(first, world)))
    assert report.exit_code == 0
    sent = len(nights.target.sends)
    assert nights.sync(ALL).total == 0
    assert len(nights.target.sends) == sent
    for job in (resume, retry):
        with pytest.raises(LedgerError, match="was closed by a later run"):
            nights.play(lambda world, job=job: job(of_ledger(first, world)))


def test_a_refused_night_leaves_the_ledger_before_it_open(nights):
    nights.target.world.behave(Behaviour(bad_users=frozenset({3})))
    nights.sync(ALL)
    first = nights.ledger
    with pytest.raises(GuardrailError):
        nights.sync([])
    nights.target.world.behave(Behaviour())
    assert nights.play(lambda world: retry(of_ledger(first, world))).exit_code == 0
    assert nights.sync(ALL).total == 0


def test_a_ledger_that_is_gone_makes_uncertain_what_it_was_to_change(nights):
    nights.options = {"limits_max_changes": 10, "retry_max_wait": "1m"}
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > 2
    nights.sync(ALL)
    nights.target.refuse_connections = lambda _: False
    nights.ledger.unlink()
    nights.state.with_name("hr.state.lock").unlink()
    report = nights.sync(ALL[:70], **FREE)
    assert report.changes[Status.APPLIED] == 50  # all but the 30 pairs of which it is known that they are in
    assert nights.target.members() == {*ALL[:70]}


def test_somebody_at_work_on_the_last_ledger_or_on_the_state(nights):
    nights.sync(ALL)
    for path in (nights.ledger, nights.state.with_name("hr.state.lock")):
        held = lock(path, create=False)
        with pytest.raises(LedgerHeldError):
            nights.sync(ALL)
        nights.number = 1
        os.close(held)
    assert nights.sync(ALL).exit_code == 0


def test_the_state_is_of_one_target(nights):
    nights.sync(ALL)
    with pytest.raises(StateError, match="is the state of minapp at"):
        nights.sync(ALL, target_env="E")
    nights.kind = "scrutinizer"
    with pytest.raises(StateError, match="is the state of minapp at"):
        nights.sync(ALL)


def test_adds_only_and_removals_only(nights):
    nights.sync(ALL)
    feed = [*ALL[4:], (50, 1)]
    assert nights.sync(feed, sync_changes="add").total == 1
    assert nights.target.members() == {*ALL, (50, 1)}
    assert nights.sync([*feed, (51, 1)], sync_changes="remove").total == 4
    assert nights.target.members() == {*ALL[4:], (50, 1)}
    assert nights.sync([*feed, (51, 1)]).total == 1


def test_removals_that_were_not_sent_are_judged_when_they_are(nights):
    nights.sync(ALL)
    few = ALL[:50]
    nights.sync(few, sync_changes="add", guard_max_shrink="none")
    with pytest.raises(GuardrailError, match="removal-share: 30 of 80"):
        nights.sync(few)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, {(99, 7)}),
        ({"sync_master_groups": ["1", "7"]}, {(1, 2), (2, 2)}),
        ({"sync_master_users": ["1", "2"]}, {(99, 1), (99, 7)}),
        ({"sync_master_groups": ["7"]}, {(1, 1), (1, 2), (2, 1), (2, 2), (99, 1)}),
    ],
)
def test_strangers_are_left_alone(tmp_path, options, left):
    """A feed without users 1 and 2; the target has a stranger, 99, and a group that no feed names, 7."""
    everybody = [*ALL, (99, 1), (99, 7)]
    nights = Nights(tmp_path, snapshot=everybody, options=options | FREE)
    for user, group in everybody:
        nights.target.world.membership.groups[group].add(user)
    nights.sync(ALL[4:])
    assert nights.target.members() == {*ALL[4:]} | left
    assert not nights.lies()


def test_a_group_that_the_feed_has_named_before_can_lose_its_last_member(nights):
    nights.sync([*ALL, (1, 3)])
    assert nights.sync(ALL).changes[Status.APPLIED] == 1
    assert nights.target.members() == {*ALL}


@pytest.mark.parametrize("order", ["adds-first", "removals-first"])
def test_one_kind_waits_until_all_of_the_other_is_settled(nights, order):
    nights.options = {"limits_max_changes": 3, **FREE}
    nights.target.world.behave(Behaviour(latency_seconds=1.0, jitter_seconds=5.0))
    nights.sync(ALL)
    sends = len(nights.target.sends)
    finished = []
    answer = nights.target.world.handle

    def handle(arrival, now):
        reply = answer(arrival, now)
        kind = "add" if b'"add"' in arrival.body else "remove"
        finished.append((kind, now, now + reply.delay))
        return reply

    nights.target.world.handle = handle
    nights.sync([(user, group) for user in range(21, 61) for group in (1, 2)], sync_order=order)
    assert len(nights.target.sends) > sends + 20
    adds = [item for item in finished if item[0] == "add"]
    removals = [item for item in finished if item[0] == "remove"]
    first, second = (adds, removals) if order == "adds-first" else (removals, adds)
    assert max(end for _, _, end in first) <= min(start for _, start, _ in second)


def test_the_order_holds_after_a_resumption_too(nights):
    nights.options = {"limits_max_changes": 3, "retry_max_wait": "1m", **FREE}
    nights.sync(ALL)
    sends = len(nights.target.sends)
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > sends + 4
    assert nights.sync([(user, group) for user in range(21, 61) for group in (1, 2)]).exit_code == 6
    nights.target.refuse_connections = lambda _: False
    sends = len(nights.target.sends)
    assert nights.play(lambda world: resume(of_ledger(nights.ledger, world, window_rows=5))).exit_code == 0
    kinds = [b'"add"' in body for _, _, body in nights.target.sends[sends:]]
    assert kinds == sorted(kinds, reverse=True)
    assert {*kinds} == {True, False}


@pytest.mark.parametrize("canary", [1, 49, 80, 81])
def test_a_canary_goes_first(nights, canary):
    report = nights.sync(ALL, guard_canary=canary)
    assert report.exit_code == 0
    sizes = [body.count(b'"op"') for _, _, body in nights.target.sends]
    assert len(sizes) == (2 if canary < 80 else 1)
    assert nights.target.members() == {*ALL}


@pytest.mark.parametrize("canary", [1, 50])
def test_a_canary_that_dies_stops_the_others(nights, canary):
    nights.target.world.behave(Behaviour(bad_users=frozenset(range(1, 41))))
    report = nights.sync(ALL, guard_canary=canary)
    assert (report.exit_code, report.stopped) == (6, Cause.CANARY)
    assert f"of the first {canary} changes were not applied" in report.reason
    assert report.changes[Status.FAILED] == canary
    nights.target.world.behave(Behaviour())
    assert nights.play(lambda world: resume(of_ledger(nights.ledger, world))).exit_code == 3
    assert nights.sync(ALL, guard_canary=canary).exit_code == 0
    assert nights.target.members() == {*ALL}
    assert not nights.lies()


def test_what_a_feed_may_not_touch(nights):
    with pytest.raises(
        GuardrailError, match=r"protected: it would change the protected group 1, user 7;.*--override protected"
    ):
        nights.sync(ALL, guard_protected_groups=["1"], guard_protected_users=["7"])
    assert not nights.state.exists()  # nothing was begun
    report = nights.sync(ALL, guard_protected_groups=["1"], override=["protected"])
    assert report.exit_code == 0
    facts = facts_of(nights.ledger)
    assert facts["reason"] == "a test"
    assert '"guardrail":"protected","refuses":true,"overridden":true' in facts["guardrails"]


def test_absolute_bounds(nights):
    with pytest.raises(GuardrailError, match=r"additions: 80 additions, guard\.max_additions allows 79"):
        nights.sync(ALL, guard_max_additions=79)
    assert nights.sync(ALL, guard_max_additions=80).exit_code == 0
    with pytest.raises(GuardrailError, match=r"removals: 2 removals, guard\.max_removals allows 1"):
        nights.sync(ALL[2:], guard_max_removals=1)


def test_invalid_lines_of_a_feed(nights):
    text = "user,group\n" + "".join(f"{user},{group}\n" for user, group in ALL)
    with pytest.raises(GuardrailError, match="rejected-share: 1 of 81 lines of the feed are invalid"):
        nights.sync(text + "x,1\n")
    report = nights.sync(text + "x,1\n", guard_max_rejected_share="2%")
    assert report.exit_code == 3
    assert report.feed["rejected"] == 1
    with pytest.raises(InputError, match=r"--strict: 1 of 81 lines are invalid.*line 82"):
        nights.sync(text + "x,1\n", guard_max_rejected_share="2%", input_strict=True)


@pytest.mark.parametrize("feed", ["", "user,group\n", "\ufeffuser,group\n", "\n\n"])
def test_a_feed_in_which_there_is_nothing(nights, feed):
    nights.sync(ALL)
    with pytest.raises(GuardrailError, match="empty-feed: the feed names 0 pairs in 0 lines; no valid line in"):
        nights.sync(feed)


def test_a_late_request_of_last_night_does_not_undo_tonight(nights):
    """The process dies with a request on its way; the next run wants the opposite, and waits for the grace."""
    nights.sync(ALL)
    nights.target.world.behave(Behaviour(faults=(Fault.parse("late=1"),), late_seconds=20.0))
    come_back = nights.crash_at(1)
    nights.sync([*ALL, (50, 1)], retry_max_wait="1m", retry_max_attempts=1)
    come_back()
    nights.target.world.behave(Behaviour())
    nights.seconds = nights.target.sends[-1][0] + 1  # at once
    nights.sync(ALL, day=False)
    nights.target.world.catch_up(nights.seconds + 100)
    assert nights.target.members() == {*ALL}
    nights.sync(ALL)
    assert nights.target.members() == {*ALL}
    assert not nights.lies()


def test_a_stop_before_anything_is_sent(nights):
    shutdown = Shutdown()
    shutdown.stop(Cause.TERMINATED, "SIGTERM")
    with pytest.raises(NotBegunError, match="SIGTERM; nothing was sent") as refused:
        nights.sync(ALL, shutdown=shutdown)
    assert refused.value.exit_code == 143
    assert not nights.ledger.exists()
    assert not nights.state.exists()
    assert nights.sync(ALL).exit_code == 0
    assert nights.target.members() == {*ALL}


def _long_after(nights, seconds=1e6):
    return Clock(lambda: 0.0, lambda: EPOCH + nights.seconds + seconds)


def test_a_ledger_that_alone_knows_what_may_still_arrive_stays(nights):
    nights.target.world.behave(Behaviour(faults=(Fault.parse("late=1"),), late_seconds=20.0))
    nights.sync(ALL[:2], retry_max_attempts=2, retry_base_seconds=0.1)
    nights.target.world.behave(Behaviour())
    assert nights.sync(ALL[:3], day=False).exit_code == 0
    gone = [rotate(nights.state, 0, _long_after(nights, seconds), 60.0) for seconds in (1, 1000)]
    assert [[path.name for path in paths] for paths in gone] == [[], ["night-1.ledger"]]


def test_old_ledgers_go(nights):
    for day in range(4):
        nights.sync([*ALL, (50 + day, 1)])
    assert [path.name for path in rotate(nights.state, 2, _long_after(nights), 60.0)] == [
        "night-1.ledger",
        "night-2.ledger",
    ]
    assert sorted(path.name for path in nights.folder.glob("night-*")) == [
        f"night-{n}.ledger{suffix}" for n in (3, 4) for suffix in ("", ".adds.csv", ".removals.csv")
    ]
    assert nights.sync(ALL).exit_code == 0
    assert rotate(nights.state, 0, _long_after(nights), 60.0) == [
        nights.folder / "night-3.ledger",
        nights.folder / "night-4.ledger",
    ]


def test_two_snapshots_without_a_state(tmp_path):
    target = Target()
    nights = Nights(tmp_path, target)
    feed, current = nights.write("feed.csv", ALL[2:]), nights.write("now.csv", [*ALL[:70], (99, 8)])

    async def main():
        goal = Goal([feed], None, [current])
        ledger = tmp_path / "l"
        return await sync(goal, RunContext(settings_for("minapp"), credentials(), ledger, runtime(target)), Terms())

    report = run_virtual(main)
    assert report.total == 12
    assert not nights.state.exists()


def test_what_cannot_be_compared(tmp_path):
    feed = tmp_path / "feed.csv"
    feed.write_text("user,group\n", encoding="utf-8")
    state = tmp_path / "s"
    for goal, wrong in (
        (Goal([feed]), "nothing to compare"),
        (Goal([feed], None, [feed], is_first=True), "give its path with"),
        (Goal([feed], state, [feed]), "needs --bootstrap"),
    ):
        with pytest.raises(ConfigurationError, match=wrong):
            check_goal(goal)
    with pytest.raises(InputError, match="no such file"):
        check_goal(Goal([tmp_path / "none"], state))


def test_a_snapshot_must_be_whole(tmp_path):
    for text, wrong in (("user,group\n1,2\nx,2\n", "1 of 2 lines are invalid"), ("user,group\n", "contains no pair")):
        nights = Nights(tmp_path, snapshot=text)
        with pytest.raises(InputError, match=wrong):
            nights.sync(ALL)
        assert not nights.state.exists()


def test_a_ledger_is_never_overwritten(nights):
    nights.sync(ALL)
    nights.number = 0
    with pytest.raises(LedgerError, match="already exists; to continue it"):
        nights.sync(ALL)


def test_credentials_that_end_in_the_night(nights):
    nights.options = {"limits_max_changes": 10}
    nights.target.answer = lambda count, _: Response(401, {}, b"") if count > 3 else None
    assert nights.sync(ALL).exit_code == 4
    assert not nights.lies()
    nights.target.answer = lambda *_: None
    assert nights.sync(ALL).exit_code == 0
    assert nights.target.members() == {*ALL}


def test_names_for_scrutinizer(tmp_path):
    nights = Nights(tmp_path, kind="scrutinizer")
    people = [(user, group) for user in ("eve, the 1st", 'bob "b"', "émile", " x ", "007") for group in ("a b", "ü")]
    text = "user_name,group_name\n" + "".join(f'"{u.replace(chr(34), chr(34) * 2)}","{g}"\n' for u, g in people)
    assert nights.sync(text).exit_code == 0
    assert nights.target.members() == {*people}
    assert nights.sync(text).total == 0
    assert replace(nights).known(Known.IN) == {*people}


def test_a_change_that_was_lost_and_then_refused_is_uncertain(nights):
    """The remove was applied, its reply lost, and the repeat refused: nobody knows."""
    nights.sync(ALL)
    first = len(nights.target.sends)
    handle = nights.target.world.handle

    def lose_then_refuse(arrival, now):
        if len(nights.target.sends) == first + 1:
            handle(arrival, now)
            return replace(handle(arrival, now), status=None)
        nights.target.world.behave(Behaviour(bad_users=frozenset({1})))
        return handle(arrival, now)

    nights.target.world.handle = lose_then_refuse
    report = nights.sync(ALL[1:])
    nights.target.world.handle = handle
    assert report.changes[Status.FAILED] == 1
    assert nights.known(Known.UNCERTAIN) == {ALL[0]}
    nights.target.world.behave(Behaviour())
    assert nights.sync(ALL).changes[Status.APPLIED] == 1
    assert nights.target.members() == {*ALL}


def test_a_run_that_the_state_does_not_know_of_is_not_resumed(nights, monkeypatch):
    nights.sync(ALL)

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    monkeypatch.setattr("batcher.state.difference.FeedDifference.accept", die)
    with pytest.raises(Killed):
        nights.sync(ALL[5:])
    monkeypatch.undo()
    if nights.ledger.exists():
        with pytest.raises(
            LedgerError, match="had not begun, and nothing was sent; run its command again with another"
        ):
            nights.play(lambda world: resume(of_ledger(nights.ledger, world)))
        nights.number -= 1
        with pytest.raises(
            LedgerError, match="had not begun, and nothing was sent; run its command again with another"
        ):
            nights.sync(ALL[5:])
    assert nights.sync(ALL[5:]).changes[Status.APPLIED] == 5
    assert nights.target.members() == {*ALL[5:]}


@pytest.mark.parametrize("between", ["adds only", "interrupted", "interrupted and resumed"])
def test_a_late_request_is_waited_for_across_runs(nights, between):
    nights.sync(ALL)
    nights.target.world.behave(Behaviour(faults=(Fault.parse("late=1"),), late_seconds=25.0))
    come_back = nights.crash_at(1)
    nights.sync([*ALL, (50, 1)], retry_max_wait="1m", retry_max_attempts=1)
    come_back()
    nights.target.world.behave(Behaviour())
    lost = nights.seconds = nights.target.sends[-1][0]
    if between == "adds only":
        nights.sync(ALL, day=False, sync_changes="add")
    else:
        shutdown = Shutdown()

        async def stopped(world):
            async with anyio.create_task_group() as group:
                group.start_soon(stop_later, shutdown)
                report = await night(world)
                group.cancel_scope.cancel()
            return report

        async def stop_later(shutdown):
            await anyio.sleep(3)
            shutdown.stop(Cause.TERMINATED, "SIGTERM")

        nights.number += 1
        feed = nights.write("between.csv", ALL)

        def night(world):
            goal = Goal([feed], nights.state)
            return sync(goal, RunContext(nights.settings, credentials(), nights.ledger, world, shutdown), Terms())

        assert nights.play(stopped).exit_code == 143
        if between == "interrupted and resumed":
            nights.play(lambda world: resume(of_ledger(nights.ledger, world)))
    if between != "interrupted and resumed":
        nights.sync(ALL, day=False)
    removed = [at for at, _, body in nights.target.sends if at > lost and b'"remove"' in body]
    assert min(removed) >= lost + 30
    nights.target.world.catch_up(nights.seconds + 100)
    assert nights.target.members() == {*ALL}
    assert not nights.lies()


def test_additions_that_were_not_sent_are_judged_when_they_are(nights):
    nights.sync(ALL)
    crowd = [*ALL, *[(user, 1) for user in range(100, 200)]]
    with pytest.raises(GuardrailError, match="addition-share"):
        nights.sync(crowd)
    assert nights.sync(crowd, sync_changes="remove").total == 0
    with pytest.raises(GuardrailError, match="addition-share"):
        nights.sync(crowd)


def test_the_share_of_invalid_lines_is_of_lines(nights):
    good = "".join(f"{user},1;2;3;4;5\n" for user in range(1, 97))
    with pytest.raises(GuardrailError, match="rejected-share: 4 of 100 lines"):
        nights.sync("user,group\n" + good + "x,1\n" * 4, feed_group_separator=";")


def test_a_file_with_nothing_but_invalid_lines_is_as_good_as_empty(nights):
    nights.sync(ALL)
    good = nights.write("good.csv", ALL * 30)
    bad = nights.write("bad.csv", "user,group\nx,1\ny,1\n")
    nights.number += 1

    def night(world):
        goal = Goal([good, bad], nights.state)
        return sync(goal, RunContext(nights.settings, credentials(), nights.ledger, world), Terms())

    with pytest.raises(GuardrailError, match=r"empty-feed: .*no valid line in .*bad\.csv"):
        nights.play(night)


def test_what_was_allowed_once_heals_without_being_asked_again(nights):
    """By the shares; also when a night of additions only comes between."""
    nights.options = {"limits_max_changes": 10, "retry_max_wait": "1m", "sync_order": "removals-first"}
    nights.sync(ALL)
    sends = len(nights.target.sends)
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > sends
    names = ["removal-share", "shrink"]
    assert nights.sync(ALL[30:], override=names).exit_code == 6
    nights.target.refuse_connections = lambda _: False
    assert nights.sync([*ALL[30:], (90, 1)], sync_changes="add").exit_code == 0
    assert nights.sync([*ALL[30:], (90, 1)]).exit_code == 0
    assert nights.target.members() == {*ALL[30:], (90, 1)}


def test_patterns_of_the_scope_are_those_of_the_guardrails(tmp_path):
    people = ["CORP\\eve", "CORP\\bob", "é", "x[1]"]
    nights = Nights(tmp_path, kind="scrutinizer", options=FREE | {"sync_master_users": ["CORP\\*", "?"]})
    head = "user_name,group_name\n"
    nights.sync(head + "".join(f"{user},g\n" for user in people))
    assert nights.sync(head + "new,g\n").changes[Status.APPLIED] == 4
    assert nights.target.members() == {("new", "g"), ("x[1]", "g")}


def test_a_column_of_dates_that_was_named_must_be_there(nights):
    with pytest.raises(InputError, match="there is no column 'Autritt' for dates"):
        nights.sync("user,group,Austritt\n1,2,2020-01-01\n", feed_valid_to="Autritt")


def test_a_canary_is_not_forgotten_by_a_resumption(nights):
    nights.options = {"guard_canary": 10, "limits_max_changes": 2, "retry_max_wait": "1m"}
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > 1
    assert nights.sync(ALL).stopped is Cause.MAX_WAIT
    nights.target.refuse_connections = lambda _: False
    nights.target.world.behave(Behaviour(bad_users=frozenset(range(1, 41))))
    report = nights.play(lambda world: resume(of_ledger(nights.ledger, world)))
    assert report.stopped is Cause.CANARY
    assert report.total == 10


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_ledger_is_as_good_as_gone(nights, damage):
    nights.options = {"limits_max_changes": 10, "retry_max_wait": "1m"}
    nights.target.refuse_connections = lambda _: len(nights.target.sends) > 2
    nights.sync(ALL)
    nights.target.refuse_connections = lambda _: False
    content = nights.ledger.read_bytes()
    nights.ledger.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert nights.sync(ALL).exit_code == 0
    assert nights.target.members() == {*ALL}
    assert not nights.lies()


def test_a_bootstrap_that_dies_leaves_no_state(tmp_path, monkeypatch):
    nights = Nights(tmp_path, snapshot=ALL)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("batcher.engine.sync.goal.adopt", die)
    with pytest.raises(KeyboardInterrupt):
        nights.sync(ALL)
    monkeypatch.undo()
    assert not nights.state.exists()
    assert nights.sync(ALL).total == 0


def test_where_nothing_can_be_written(nights):
    nights.sync(ALL)
    settings = nights.settings
    feed = nights.write("feed.csv", ALL)
    for state, ledger in (
        (nights.state, nights.folder / "no" / "x"),
        (nights.folder / "no" / "s", nights.folder / "x"),
    ):
        is_first = state != nights.state
        with pytest.raises(StateError, match="No such file"):
            nights.play(
                lambda world, state=state, ledger=ledger, is_first=is_first: sync(
                    Goal([feed], state, (), is_first), RunContext(settings, credentials(), ledger, world), Terms()
                )
            )


@pytest.mark.parametrize("bounds", [{"guard_max_removals": 0}, {"guard_protected_users": ["1"]}])
def test_absolute_bounds_and_protected_ones_judge_everything_that_would_be_sent(nights, bounds):
    nights.sync(ALL)
    nights.target.world.behave(Behaviour(bad_users=frozenset({1})))
    assert nights.sync(ALL[1:]).changes[Status.FAILED] == 1
    nights.target.world.behave(Behaviour())
    with pytest.raises(GuardrailError, match=r"removals: 1 removal|protected: it would change the protected user 1"):
        nights.sync(ALL[1:], **bounds)


LONG = [(user, 1) for user in range(1, 301)]


def feed_with(*lines):
    rows = [f"{user},{group},2020-01-01\n" for user, group in LONG]
    for number, line in lines:
        rows[number] = line
    return "user,group,valid_from\n" + "".join(rows)


def test_whoever_an_invalid_line_speaks_of_loses_nothing(nights):
    nights.sync(LONG)
    report = nights.sync(feed_with((6, "7,1,01.01.2020\n"), (7, "8,x,2020-01-01\n"), (8, "9,1,2099-01-01\n")))
    assert report.exit_code == 3
    assert nights.target.members() == {*LONG} - {(9, 1)}
    listed = nights.ledger.with_name(f"{nights.ledger.name}.rejected.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[1] for line in listed] == ["line", "8", "9"]
    assert not nights.lies()


def test_an_invalid_entry_of_json_lines_takes_nothing_away_either(nights):
    nights.sync(LONG)
    lines = [f'{{"user":{user},"group":[{group}]}}' for user, group in LONG]
    lines[6] = '{"user":7,"group":"x"}'
    nights.number += 1
    feed = nights.write("feed.jsonl", "\n".join(lines) + "\n")

    def night(world):
        return sync(
            Goal([feed], nights.state), RunContext(nights.settings, credentials(), nights.ledger, world), Terms()
        )

    assert nights.play(night).exit_code == 3
    assert nights.target.members() == {*LONG}


def test_a_removal_is_no_line_of_a_feed(nights):
    text = "op,user,group\n" + "".join(f"add,{user},{group}\n" for user, group in ALL) + "remove,50,1\n"
    with pytest.raises(GuardrailError, match="rejected-share: 1 of 81 lines"):
        nights.sync(text)
    assert nights.sync(text, guard_max_rejected_share="5%").exit_code == 3
    assert nights.target.members() == {*ALL}


def test_ids_and_names_are_not_compared(tmp_path):
    nights = Nights(tmp_path, kind="scrutinizer")
    feed = nights.write("feed.csv", "user_name,group_name\nann,staff\nbob,staff\n")
    current = nights.write("now.csv", "user_id,group_name\n1,staff\n2,staff\n")

    def night(world):
        goal = Goal([feed], None, [current])
        return sync(goal, RunContext(nights.settings, credentials(), tmp_path / "l", world), Terms())

    with pytest.raises(InputError, match="so they cannot be matched"):
        nights.play(night)


@pytest.fixture
def host(tmp_path):
    """A night on a host whose runs know of each other."""
    (tmp_path / "nights").mkdir()
    return Nights(tmp_path / "nights", host=tmp_path / "host")


@pytest.mark.parametrize("tells", [True, False], ids=["listed", "ledger of an earlier version"])
def test_a_restored_state_learns_which_groups_feeds_have_named(host, tells):
    """A group that only newer feeds have named, and tonight's does not, loses its members all the same."""
    host.sync([(1, 10)], **FREE)
    backup = host.state.read_bytes()
    host.sync([(1, 10), (1, 11)], **FREE)
    if not tells:
        with closing(sqlite3.connect(host.ledger)) as connection, connection:
            assert connection.execute("DELETE FROM run WHERE key = 'named'").rowcount == 1
    host.state.write_bytes(backup)
    assert host.sync([(1, 10)], **FREE).changes[Status.APPLIED] == 1
    assert host.target.members() == {(1, 10)}


def test_a_restored_state_learns_how_large_the_last_feed_was(host):
    """Else a feed that was cut off could pass, compared with one of long ago."""
    host.sync(ALL[:5], **FREE)
    backup = host.state.read_bytes()
    host.sync(ALL, **FREE)
    host.state.write_bytes(backup)
    shrunk = FREE | {"guard_max_shrink": "50%"}
    with pytest.raises(GuardrailError, match="the last accepted one named"):
        host.sync(ALL[:6], **shrunk)
    assert host.target.members() == {*ALL}


def test_what_a_restored_state_takes_over_is_taken_over_together(host, monkeypatch):
    """Killed in between, it is taken over by the next run."""
    host.sync([(1, 10)], **FREE)
    backup = host.state.read_bytes()
    host.sync([(1, 10), (1, 11)], **FREE)
    host.state.write_bytes(backup)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StateStore, "touched", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011 — perhaps in a group
            host.sync([(1, 10)], **FREE)
    assert host.sync([(1, 10)], **FREE).changes[Status.APPLIED] == 1
    assert host.target.members() == {(1, 10)}


def test_a_state_that_was_restored_from_a_backup_learns_what_it_has_missed(host, caplog):
    """Else there would be nothing to change, and exit 0, for ever."""
    host.sync(ALL, **FREE)
    backup = host.state.read_bytes()
    host.sync(ALL[:60], **FREE)
    host.sync(ALL[:50], **FREE)
    host.state.write_bytes(backup)
    report = host.sync(ALL, **FREE)
    assert report.changes[Status.APPLIED] == 30
    assert host.target.members() == {*ALL}
    assert not host.lies()
    assert "restored from an older copy" in caplog.text
    caplog.clear()
    assert host.sync(ALL, **FREE).total == 0
    assert "restored" not in caplog.text


def test_a_restored_state_whose_later_ledgers_are_gone_is_refused(host):
    host.sync(ALL, **FREE)
    backup = host.state.read_bytes()
    host.sync(ALL[:60], **FREE)
    gone = host.ledger
    host.state.write_bytes(backup)
    gone.unlink()
    for _ in range(2):
        with pytest.raises(StateError, match="is older than the run of"):
            host.sync(ALL, **FREE)
    assert host.target.members() == {*ALL[:60]}


def test_who_looks_at_a_state_holds_nobody_up_and_changes_nothing(host):
    host.sync(ALL, **FREE)
    before = host.state.read_bytes()
    target = make_target(host.settings)
    goal = Goal([host.write("feed.csv", ALL)], host.state)
    with SyncBasis(goal, target, host.settings, host.host, is_simulated=False, is_look=True) as look:
        assert look.store.path != host.state
        assert host.sync(ALL[:60], **FREE).changes[Status.APPLIED] == 20
    assert host.state.read_bytes() != before


def test_a_plan_of_a_first_night_leaves_no_trace(host):
    host.state.parent.mkdir(exist_ok=True)
    goal = Goal([host.write("feed.csv", ALL)], host.state, (), is_first=True)
    names = {*host.state.parent.iterdir()}
    with SyncBasis(goal, make_target(host.settings), host.settings, host.host, is_simulated=False, is_look=True):
        assert {*host.state.parent.iterdir()} == names


@pytest.mark.parametrize("url", ["http://LOCALHOST:1/", "http://127.0.0.1:1"])
def test_a_state_is_of_a_target_however_its_address_is_written(host, url):
    host.sync(ALL, **FREE)
    assert host.sync(ALL, **FREE, target_url=url).total == 0
    with pytest.raises(StateError, match="is the state of"):
        host.sync(ALL, **FREE, target_url="http://127.0.0.1:2")


def test_an_undo_counts_what_it_undoes(nights):
    nights.sync([(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)])
    nights.sync([(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (7, 1), (8, 1)], guard_max_addition_share="none")
    ledger, before = nights.ledger, nights.target.members()
    compiled, report = nights.undo(ledger)
    inverse = compiled.inverse
    assert (inverse.applied, inverse.adds, inverse.removals, inverse.left_out) == (3, 1, 2, {})
    assert report.changes[Status.APPLIED] == 3
    assert nights.target.members() == (before - {(7, 1), (8, 1)}) | {(6, 1)}
