"""Runs of one host on one target: whatever follows what, the last word wins, and a clock that is set decides nothing."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing

import anyio
import pytest
from harness import EPOCH, Play, Target, final_state, settings_for
from hypothesis import example, given
from hypothesis import strategies as st

from batcher.core.address import place_of
from batcher.core.clock import Clock, Stamp
from batcher.core.errors import GuardrailError
from batcher.core.status import Status
from batcher.host.run_registry import RegisteredRun, RunRegistry, state_file
from batcher.simulator.behaviour import Behaviour, Fault, Stage

GRACE = 8.0
LATE = 4.0
LOSES = Behaviour(faults=(Fault("late", 1.0),), late_seconds=LATE)


class Neighbours:
    """Runs of one host after each other, each with a folder of its own, against one target."""

    def __init__(self, folder, target):
        self.folder, self.target, self.seconds, self.number = folder, target, 0.0, 0

    def play(self, url="http://127.0.0.1:1", **settings):
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        given = {"retry_grace_seconds": GRACE, "retry_base_seconds": 0.1, "retry_max_attempts": 2, "target_url": url}
        settings = settings_for("minapp", **(given | settings))
        return Play(folder, self.target, settings, state=self.folder / "host", seconds=self.seconds)

    def ran(self, play):
        self.seconds = play.seconds


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://LOCALHOST:1/", "http://[::1]:1"])
@pytest.mark.parametrize("first", ["settled", "stopped", "killed"])
def test_the_last_word_wins_also_across_runs(tmp_path, first, url):
    """The add of the first run is lost and applied later; the removal of the second one must come after that."""
    stages = (Stage(Behaviour(), after_requests=2),)
    host = Neighbours(tmp_path, Target(LOSES, stages=stages))
    one = host.play(
        retry_max_attempts=2 if first == "settled" else 50, retry_base_seconds=0.1 if first == "settled" else 60.0
    )
    if first == "stopped":
        one.stop_at, one.stop = 1.0, lambda shutdown: shutdown.stop(_cause(), "x")
    if first == "killed":
        kill(one, [("add", 5, 53)])
    else:
        one.apply([("add", 5, 53)])
    host.ran(one)
    if first == "settled":
        host.target.world.behave(Behaviour())
    two = host.play(url)
    report = two.apply([("remove", 5, 53)])
    assert report.exit_code == 0
    later(host.target, two.seconds + 100)
    assert host.target.members() == set()


@pytest.mark.parametrize("first", ["stopped", "killed", "stopped twice"])
def test_a_session_that_settles_what_another_left_open_does_not_make_it_forgotten(tmp_path, first):
    """The interrupted session's request is applied late, the one that `resume` sent at once."""
    host = Neighbours(tmp_path, Target(LOSES, stages=(Stage(Behaviour(), after_requests=2),)))
    one = host.play(retry_max_attempts=50, retry_base_seconds=60.0)
    if first == "killed":
        kill(one, [("add", 5, 53)])
    else:
        one.stop_at, one.stop = 1.0, lambda shutdown: shutdown.stop(_cause(), "x")
        one.apply([("add", 5, 53)])
    if first == "stopped twice":
        one.stop_at = one.seconds + 1.0
        one.resume()
    one.stop_at = None
    host.target.world.behave(Behaviour())
    assert one.resume().exit_code == 0
    host.ran(one)
    two = host.play()
    assert two.apply([("remove", 5, 53)]).exit_code == 0
    later(host.target, two.seconds + 100)
    assert host.target.members() == set()


@pytest.mark.parametrize("then", ["gone", "moved", "another run's", "no ledger"])
@pytest.mark.parametrize("first", ["settled", "killed"])
def test_a_ledger_that_cannot_be_read_any_more_may_have_lost_anything(tmp_path, first, then, caplog):
    host = Neighbours(tmp_path, Target(LOSES, stages=(Stage(Behaviour(), after_requests=2),)))
    one = host.play(retry_max_attempts=2, retry_base_seconds=0.1)
    kill(one, [("add", 5, 53)]) if first == "killed" else one.apply([("add", 5, 53)])
    host.ran(one)
    host.target.world.behave(Behaviour())
    one.ledger.rename(tmp_path / "moved.ledger")
    if then == "gone":
        (tmp_path / "moved.ledger").unlink()
    if then == "no ledger":
        one.ledger.write_bytes(b"nothing")
    if then == "another run's":
        Play(one.ledger.parent, Target(Behaviour()), settings_for("minapp")).apply([("add", 1, 1)])
    two = host.play()
    assert two.apply([("remove", 5, 53)]).exit_code == 0
    assert "which of its requests may still arrive is not known" in caplog.text
    later(host.target, two.seconds + 100)
    assert host.target.members() == set()


def test_a_run_that_lost_nothing_is_missed_by_nobody(tmp_path, caplog):
    """Whoever removes his ledgers as soon as they are complete does not wait."""
    host = Neighbours(tmp_path, Target(Behaviour()))
    one = host.play()
    one.apply([("add", 5, 53)])
    host.ran(one)
    one.ledger.unlink()
    report = host.play().apply([("remove", 5, 53)])
    assert (report.exit_code, report.waited.grace) == (0, 0.0)
    assert not caplog.text


def _cause():
    from batcher.core.verdict import Cause  # noqa: PLC0415 — of this helper alone

    return Cause.INTERRUPT


class Killed(BaseException):
    """As by SIGKILL: nothing is tidied up."""


def kill(play, changes):
    """Send, and be gone before anything comes back; the ledger's files are as they were then."""
    assert killed(play, lambda: play.apply(changes)) is None


def killed(play, job, after=1.0):
    """Let a job be gone with its first reply, or `after` so many seconds; the report of one that sent nothing."""
    before, at, report = play.target._reply, [], None

    async def reply(request):
        with anyio.move_on_after(after):
            await before(request)
        at.append(anyio.current_time())
        raise Killed

    play.target._reply = reply
    try:
        report = job()
    except BaseException as error:
        if "Killed" not in repr(error):
            raise
    finally:
        play.target._reply = before
    if not at:
        return report
    play.seconds = at[0]
    # The session's end was never written.
    with closing(sqlite3.connect(play.ledger)) as connection, connection:
        last = "(SELECT max(id) FROM session)"
        connection.execute(f"UPDATE session SET ended = NULL, ended_mark = NULL WHERE id = {last}")  # noqa: S608
    for file in play.state.glob("*.sqlite"):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE runs SET ended = NULL WHERE ledger = ?", (str(play.ledger),))
    return None


SECONDS, PAUSES = st.sampled_from([0.05, 1.0, 3.0]), st.sampled_from([0.0, 0.0, 1.0, GRACE - 1, GRACE + 1])
SESSIONS = st.lists(
    st.tuples(st.sampled_from(["well", "killed", "stopped"]), st.booleans(), SECONDS, PAUSES), max_size=2
)
WORDS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from([5, 5, 6])), min_size=1, max_size=2)
RUNS = st.lists(st.tuples(WORDS, SESSIONS, st.booleans()), min_size=2, max_size=3)
ADDED, REMOVED = [("add", 5)], ([("remove", 5)], [], False)


@given(RUNS)
@example([(ADDED, [("killed", True, 1.0, 0.0)], False), REMOVED])
@example([(ADDED, [("stopped", True, 1.0, 0.0), ("killed", True, 1.0, 0.0)], False), REMOVED])
@example([(ADDED, [("well", True, 1.0, 0.0)], True), REMOVED])
def test_whatever_sessions_follow_each_other_the_last_word_wins(tmp_path_factory, runs):
    """Each run is killed, stopped or loses requests for some sessions, and is then gone on with until it is complete.

    The model is that the changes of all runs were made one after the other.
    """
    folder = tmp_path_factory.mktemp("host")
    host, wanted = Neighbours(folder, Target(Behaviour())), []
    for words, sessions, is_removed in runs:
        changes = [(op, user, 53) for op, user in words]
        wanted += changes
        play = host.play()
        play.window_rows, play.stop = 1, lambda shutdown: shutdown.stop(_cause(), "x")
        job = lambda play=play, changes=changes: play.apply(changes)  # noqa: E731
        for ending, loses, seconds, pause in sessions:
            host.target.world.behave(LOSES if loses else Behaviour(latency_seconds=0.3))
            play.stop_at = seconds if ending == "stopped" else None
            job = job and _session(play, job, seconds if ending == "killed" else None)
            play.seconds += pause
        host.target.world.behave(Behaviour())
        play.stop_at = None
        while job is not None:
            job = _session(play, job, None)
        host.ran(play)
        if is_removed:
            play.ledger.unlink()
    later(host.target, host.seconds + 100)
    assert host.target.members() == final_state(wanted)


def _session(play, job, kill_after):
    """One session; gives what goes on with the run, None when nothing is left to do."""
    report = job() if kill_after is None else killed(play, job, kill_after)
    if report is None:
        return play.resume
    ways = {"batcher retry": play.retry, "batcher resume": play.resume}
    return next((way for command, way in ways.items() if (report.next or "").startswith(command)), None)


def later(target, moment):
    target.world.catch_up(moment)


def test_the_second_run_does_not_wait_for_what_is_long_over(tmp_path):
    host = Neighbours(tmp_path, Target(LOSES, stages=(Stage(Behaviour(), after_requests=2),)))
    one = host.play()
    one.apply([("add", 5, 53)])
    for wait, waits in ((GRACE - 1, True), (GRACE + 1, False)):
        two = host.play()
        two.seconds = one.seconds + wait
        report = two.apply([("remove", 5, 53)])
        assert (report.waited.grace > 0) is waits


def test_a_killed_run_that_nobody_resumes_costs_one_wait_and_not_one_per_run(tmp_path):
    host = Neighbours(tmp_path, Target(LOSES, stages=(Stage(Behaviour(), after_requests=1),)))
    one = host.play()
    kill(one, [("add", 5, 53)])
    waited = []
    for pause in (0.0, 1000.0, 2000.0):
        two = host.play()
        two.seconds = 1.0 + pause
        waited.append(two.apply([("remove" if pause != 1000.0 else "add", 5, 53)]).waited.grace)
    assert waited[0] > 0
    assert waited[1:] == [0.0, 0.0]


def test_a_run_that_was_resumed_after_another_is_the_newer_one(tmp_path):
    """Sequence numbers decide: to go on with the other one now would undo the first one's changes."""
    host = Neighbours(tmp_path, Target(Behaviour(bad_users=frozenset([7]))))
    one, two = host.play(), host.play()
    one.apply([("add", 5, 53), ("add", 7, 53)])
    two.seconds = one.seconds
    two.apply([("add", 6, 53), ("add", 7, 54)])
    one.seconds = two.seconds
    with pytest.raises(GuardrailError, match="a newer run"):
        one.retry()
    one.retry(despite_later_runs=True)
    two.seconds = one.seconds
    with pytest.raises(GuardrailError, match="a newer run"):
        two.retry()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e6, 1e6)), min_size=1, max_size=12),
    st.sampled_from("abcd"),
)
def test_the_order_of_runs_is_that_in_which_they_came_whatever_the_clock_said(tmp_path_factory, touches, asked):
    register = RunRegistry(tmp_path_factory.mktemp("host"), "minapp", "https://x", "")
    for run, started in touches:
        register.touch(RegisteredRun(run, tmp_path_factory.getbasetemp() / run), started)
    order = list(dict.fromkeys(run for run, _ in reversed(touches)))
    if asked in order:
        found = [path.rsplit("/", 1)[1] for path in register.later_than(asked, 0.0)]
        assert found == order[: order.index(asked)]


def test_what_an_earlier_batcher_has_registered_is_known(tmp_path):
    old = state_file(tmp_path, "minapp", "https://x/", "e", suffix="sqlite")
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TABLE run (run TEXT PRIMARY KEY, ledger TEXT, started REAL) WITHOUT ROWID")
        connection.executemany("INSERT INTO run VALUES (?, ?, ?)", [("a", "/a", 2.0), ("b", "/b", 1.0)])
        connection.commit()
    register = RunRegistry(tmp_path, "minapp", "https://x/", "e")
    assert register.later_than("b", 1.0) == ["/a"]
    assert register.later_than("a", 2.0) == []
    assert register.later_than("c", 1.5) == ["/a"]


SAME = [
    ["https://h", "https://H", "https://h/", "https://h:443", "https://h.", "http://h", "http://h:80/"],
    [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://LOCALHOST:8080",
        "http://[::1]:8080",
        "http://127.1:8080",
    ],
    ["https://h/a", "https://H/a/", "https://h/%61", "https://h/./b/../a", "https://h/../a/.", "https://h/a/b/.."],
    ["https://h/a%2fb", "https://h/a%2Fb", "https://h/%61%2fb"],
    ["https://h/A"],
    ["https://h:8443", "http://h:8443"],
]


def test_one_place_has_one_name():
    names = [{place_of(url) for url in urls} for urls in SAME]
    assert [len(found) for found in names] == [1] * len(SAME)
    assert len(set.union(*names)) == len(SAME)


@pytest.mark.parametrize("step", [-1e6, -1.0, 0.0, 1.0, 1e6])
def test_how_long_ago_a_moment_was_does_not_depend_on_the_wall_clock(step):
    times = {"now": 100.0, "wall": 0.0}
    clock = Clock(lambda: times["now"], lambda: 1.8e9 + times["now"] + times["wall"], lambda: times["now"], "a")
    then = Stamp.parse(str(clock.stamp()))
    times["now"], times["wall"] = 107.0, step
    assert clock.age(then) == 7.0
    after = Clock(lambda: 0.0, lambda: 1.8e9 + step, lambda: 3.0, "another start")
    assert after.age(then) == 3.0
    assert Clock(lambda: 0.0, lambda: then.utc + step).age(then) == max(0.0, step)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_between_runs_changes_nothing(tmp_path, monkeypatch, step):
    """Grace and pace are kept by the kernel's clock."""
    import harness  # noqa: PLC0415 — its runtime is changed

    wall = {"step": 0.0}
    before = harness.runtime

    def runtime(target, state=None, work_seconds=0.0):
        world = before(target, state, work_seconds)
        utc = lambda: EPOCH + anyio.current_time() + wall["step"]  # noqa: E731 — as the harness has it
        clock = Clock(anyio.current_time, utc, anyio.current_time, "a-start")
        return harness.Runtime(clock, world.rng, world.executor, world.transport, world.state_folder)

    monkeypatch.setattr(harness, "runtime", runtime)
    host = Neighbours(tmp_path, Target(LOSES, stages=(Stage(Behaviour(), after_requests=2),)))
    one = host.play(rate_requests="10/s")
    one.apply([("add", 5, 53)])
    host.ran(one)
    wall["step"] = step
    two = host.play(rate_requests="10/s")
    report = two.apply([("remove", 5, 53), *(("add", user, 1) for user in range(3))])
    assert GRACE - 1 < report.waited.grace <= GRACE
    later(host.target, two.seconds + 100)
    assert (5, 53) not in host.target.members()
    times = sorted(at for at, _, _ in host.target.sends)
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(times))
    assert report.changes[Status.APPLIED] == 4
