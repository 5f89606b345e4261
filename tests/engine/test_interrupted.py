"""What becomes of a run whose end comes at a bad moment: before it was judged, with a retry in flight, its ledger gone."""

from __future__ import annotations

import os
import shutil

import anyio
import orjson
import pytest
from harness import Play, Target, context_of, settings_for, write_changes

from batcher.core.errors import GuardrailError, InputError, LedgerError, NotBegunError
from batcher.core.model import Action
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Pipe
from batcher.engine.run.observers import Observer
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.ledger.writer import LedgerWriter
from batcher.simulator.behaviour import Behaviour
from batcher.state.folding import outcomes
from batcher.state.store import Known

BAD = frozenset(range(10, 20))
CHANGES = [("add", user, 53) for user in range(20)]


def known(ledger, user):
    with LedgerReader(ledger) as reader:
        for columns, says in outcomes(reader):
            for row, code in enumerate(columns.user.codes.tolist()):
                if code == user:
                    return Known(int(says[row]))
    raise AssertionError(user)


def sound(play):
    with LedgerReader(play.ledger) as reader:
        return differences(reader)


@pytest.fixture
def failed(tmp_path):
    """A run of which ten changes were refused, whose reasons are gone by now."""
    play = Play(tmp_path, Target(Behaviour(bad_users=BAD)), settings_for("minapp"))
    assert play.apply(CHANGES).changes[Status.FAILED] == 10
    play.target.world.behave(Behaviour())
    return play


class Killed(BaseException):
    """As by SIGKILL."""


def kill_retry(play, *, is_applied=False):
    """Retry, and be gone when its first request has arrived."""

    async def gone(request):
        if is_applied:
            await type(play.target)._reply(play.target, request)
        raise Killed

    play.target._reply = gone
    with pytest.raises(BaseException) as error:  # noqa: PT011 — a group with it
        play.retry()
    assert "Killed" in repr(error.value)
    del play.target._reply


@pytest.mark.parametrize("applied", [True, False])
def test_a_retry_that_is_killed_in_flight_leaves_its_changes_open(failed, applied):
    """A state must not believe the old word: the request may have been applied."""
    kill_retry(failed, is_applied=applied)
    assert sound(failed) == []
    with LedgerReader(failed.ledger) as reader:
        assert reader.tally()[Status.PENDING] == 10
    assert known(failed.ledger, 15) is Known.UNCERTAIN
    with pytest.raises(LedgerError, match="has pending changes; first: batcher resume"):
        failed.retry()
    report = failed.resume()
    assert (report.exit_code, report.changes[Status.APPLIED]) == (0, 20)
    assert sound(failed) == []
    assert failed.target.members() == {(user, 53) for user in range(20)}


def test_a_killed_retry_of_a_pipe_needs_the_pipe_no_more(tmp_path):
    play = Play(tmp_path, Target(Behaviour(bad_users=BAD)), settings_for("minapp"))
    play.apply_files(Pipe("<changes>", CHANGES))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.ledger"]
    play.target.world.behave(Behaviour())
    kill_retry(play)
    report = play.resume()
    assert (report.exit_code, report.changes[Status.APPLIED]) == (0, 20)


def test_a_retry_whose_reply_is_slower_than_the_drain_is_open(failed):
    failed.target.world.behave(Behaviour(latency_seconds=50.0))
    failed.stop_at, failed.stop = 5.0, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "x")

    async def main(world, shutdown):
        from batcher.engine.jobs.retry import retry  # noqa: PLC0415 — as the harness does

        return await retry(context_of(failed, world, shutdown, Observer(), failed.window_rows))

    report = failed._run(main)
    assert (report.exit_code, report.changes[Status.PENDING]) == (130, 10)
    assert report.next == f"batcher resume {failed.ledger}"
    assert known(failed.ledger, 15) is Known.UNCERTAIN
    failed.stop_at = None
    assert failed.resume().exit_code == 0


@pytest.mark.parametrize("sent", [0, 1])
def test_what_a_retry_never_sent_keeps_its_word(failed, sent):
    """With its reason: nothing of it is open, and the next command is the same."""
    failed.settings = settings_for("minapp")
    failed.target.refuse_connections = lambda _: len(failed.target.sends) >= before + sent
    before = len(failed.target.sends)
    overrides = {"retry": {"max_wait": "1m"}, "limits": {"max_changes": 4}, "rate": {"max_in_flight": 1}}
    report = failed.retry(overrides=overrides)
    assert report.exit_code == 6
    assert report.changes[Status.FAILED] == 10 - 4 * sent
    assert report.changes[Status.PENDING] == 0
    assert report.next == f"batcher retry {failed.ledger}"
    assert sound(failed) == []
    with LedgerReader(failed.ledger) as reader:
        state = reader.state(0)
        assert {int(state.by[row]) for row in range(20) if state.status[row] == Status.FAILED} != {-1}
    failed.target.refuse_connections = lambda _: False
    assert failed.retry().exit_code == 0


def test_superseded_changes_are_open_with_the_one_that_decides(tmp_path):
    play = Play(tmp_path, Target(Behaviour(bad_users=frozenset([5]))), settings_for("minapp"))
    play.apply([("remove", 5, 53), ("add", 5, 53), ("add", 6, 53)])
    kill_retry(play)
    play.target.world.behave(Behaviour())
    assert sound(play) == []
    with LedgerReader(play.ledger) as reader:
        assert reader.tally()[Status.PENDING] == 2
    report = play.resume()
    assert (report.changes[Status.SUPERSEDED], report.changes[Status.APPLIED]) == (1, 2)
    assert sound(play) == []


# The ledger's file.


@pytest.mark.parametrize("how", ["moved", "removed", "replaced", "moved over"])
def test_a_ledger_that_goes_while_the_run_works_stops_it_and_is_not_lost(tmp_path, how):
    target = Target(Behaviour(latency_seconds=1.0))
    play = Play(tmp_path, target, settings_for("minapp", limits_max_changes=2, rate_max_in_flight=1))
    elsewhere = tmp_path / "elsewhere"

    def go(window, settlement):
        if not elsewhere.exists() and len(target.sends) == 3:
            if how in {"moved", "moved over"}:
                play.ledger.rename(elsewhere)
            else:
                play.ledger.unlink()
                elsewhere.touch()
            if how in {"replaced", "moved over"}:
                play.ledger.write_text("another")

    play.observer = Observer(settled=go)
    report = play.apply(CHANGES)
    assert (report.stopped, report.exit_code) == (Cause.LEDGER, 6)
    assert "moved, removed or replaced" in report.reason
    assert report.changes[Status.APPLIED] == 4
    assert report.changes[Status.PENDING] == 16
    place = {"moved": elsewhere, "moved over": elsewhere, "removed": play.ledger}
    found = place.get(how, tmp_path / "run.ledger.rescued-1")
    assert report.ledger == str(found)
    assert report.next == f"batcher resume {found}"
    if how in {"replaced", "moved over"}:
        assert play.ledger.read_text() == "another"
    found.replace(play.ledger)
    assert play.resume().exit_code == 0
    assert sound(play) == []
    assert play.target.members() == {(user, 53) for user in range(20)}


@pytest.mark.parametrize("left", [0, 4095])
@pytest.mark.parametrize("at", [1, 3, 10])
def test_a_ledger_that_is_cut_off_while_the_run_works_tells_no_tales(tmp_path, left, at):
    target = Target(Behaviour(latency_seconds=1.0))
    play = Play(tmp_path, target, settings_for("minapp", limits_max_changes=2, rate_max_in_flight=1))

    settled = []

    def cut(window, settlement):
        settled.append(settlement)
        if len(settled) == at:
            os.truncate(play.ledger, left)

    play.observer = Observer(settled=cut)
    with pytest.raises(LedgerError, match="was truncated during the run"):
        play.apply(CHANGES)
    assert len(settled) <= at + 1


@pytest.mark.parametrize("part", ["-wal", "-shm", "-journal", ".spool"])
def test_remains_of_another_ledger_are_not_taken_for_ones_own(tmp_path, part):
    (tmp_path / f"x{part}").write_bytes(b"of another")
    with pytest.raises(LedgerError, match="is left over from another ledger"):
        LedgerWriter.create(tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"x{part}"]


def test_what_never_began_leaves_nothing_and_takes_nothing(tmp_path):
    writer = LedgerWriter.create(tmp_path / "x")
    writer.discard()
    assert not list(tmp_path.iterdir())
    LedgerWriter.create(tmp_path / "kept").close()
    writer = LedgerWriter.create(tmp_path / "kept")
    writer.discard()
    assert (tmp_path / "kept").exists()


def test_a_reader_sees_one_moment_whatever_is_written(failed):
    writer = LedgerWriter.open(failed.ledger)
    with LedgerReader(failed.ledger) as reader, reader.at_one_moment():
        writer.set_fact("x", "y")
        assert "x" not in reader.facts()
    with LedgerReader(failed.ledger) as reader:
        assert reader.facts()["x"] == "y"
    writer.close()


def test_who_reads_a_ledger_holds_nobody_up(failed):
    with LedgerReader(failed.ledger) as reader, reader.at_one_moment():
        version = reader.version()
        assert version == reader.version()
        assert failed.retry().exit_code == 0
        assert version != reader.version()


# Before anything was judged.


def stream(*items, then=None):
    """An iterable that gives these and then waits for ever, or raises."""

    async def give():
        for item in items:
            yield item
        if then is not None:
            raise then
        await anyio.sleep_forever()

    return Pipe("<changes>", give())


@pytest.mark.parametrize(
    "guard", [{"guard_max_removals": 0}, {"guard_protected_groups": ["53"]}, {"input_strict": True}]
)
@pytest.mark.parametrize("cause", [Cause.INTERRUPT, Cause.TERMINATED])
def test_a_run_that_ends_before_its_input_was_judged_has_not_begun(tmp_path, guard, cause):
    play = Play(tmp_path, Target(), settings_for("minapp", **guard))
    play.stop_at, play.stop = 1.0, lambda shutdown: shutdown.stop(cause, "a signal")
    with pytest.raises(BaseException) as refused:  # noqa: PT011 — the harness has a group around it
        play.apply_files(stream(("remove", 5, 53), ("x", 1, 1)))
    error = refused.value.exceptions[0] if isinstance(refused.value, BaseExceptionGroup) else refused.value
    assert isinstance(error, NotBegunError)
    assert error.exit_code == cause.exit_code
    assert not list(tmp_path.iterdir())
    assert not play.target.sends


@pytest.mark.parametrize("guard", [{"guard_max_removals": 0}, {"input_strict": True}])
def test_the_deadline_also_ends_the_wait_for_an_input_that_is_to_be_judged(tmp_path, guard):
    play = Play(tmp_path, Target(), settings_for("minapp", guard_deadline="3s", **guard))
    with pytest.raises(NotBegunError, match="the deadline was reached") as refused:
        play.apply_files(stream(("add", 5, 53)))
    assert refused.value.exit_code == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["a pipe", "a file"])
def test_a_run_that_was_killed_while_its_input_was_judged_leaves_its_ledger_to_the_next(tmp_path, given):
    play = Play(tmp_path, Target(), settings_for("minapp"))
    LedgerWriter.create(play.ledger).close()
    spool = play.ledger.with_name(play.ledger.name + ".spool")
    spool.write_text("half")
    changes = [("add", 5, 53)]
    inputs = Pipe("<changes>", changes) if given == "a pipe" else write_changes(tmp_path / "changes.jsonl", changes)
    assert play.apply_files(inputs).exit_code == 0
    assert play.target.members() == {(5, 53)}
    assert not spool.exists()


def test_what_was_received_for_a_ledger_that_is_gone_is_not_lost(tmp_path):
    play = Play(tmp_path, Target(), settings_for("minapp"))
    spool = play.ledger.with_name(play.ledger.name + ".spool")
    spool.write_text("half")
    with pytest.raises(LedgerError, match=r"run\.ledger\.spool is left over from another ledger"):
        play.apply_files(Pipe("<changes>", [("add", 5, 53)]))
    assert [path.name for path in tmp_path.iterdir()] == [spool.name]


def test_what_could_not_be_judged_as_a_whole_is_not_sent(tmp_path):
    play = Play(tmp_path, Target(), settings_for("minapp", guard_max_removals=5))
    with pytest.raises(InputError, match="the whole input was to be checked first"):
        play.apply_files(stream(("add", 5, 53), then=RuntimeError("the database is gone")))
    assert not list(tmp_path.iterdir())


def test_a_file_that_changes_after_it_was_judged_is_not_read(tmp_path):
    play = Play(tmp_path, Target(), settings_for("minapp", guard_max_removals=0), window_rows=1)
    file = write_changes(tmp_path / "changes.jsonl", [("add", 5, 53)])
    later = write_changes(tmp_path / "more.jsonl", [("add", 6, 53)])

    def swap(window):
        write_changes(tmp_path / "new", [("remove", 6, 53)])
        (tmp_path / "new").replace(later)

    play.observer = Observer(opened=swap)
    report = play.apply_files(file, later)
    assert (report.exit_code, report.stopped) == (6, Cause.INPUT)
    assert "replaced by another file" in report.reason
    assert all(b"remove" not in body for _, _, body in play.target.sends)


def test_an_earlier_batchers_run_that_was_never_judged_is_judged_when_it_is_gone_on_with(tmp_path):
    play = Play(tmp_path, Target(), settings_for("minapp", guard_protected_groups=["53"]))
    file = write_changes(tmp_path / "changes.jsonl", [("add", 5, 54), ("add", 5, 53)])
    shutdown = Shutdown()
    shutdown.stop(Cause.INTERRUPT, "x")
    play.settings = settings_for("minapp")
    play.target.refuse_connections = lambda _: True
    play.apply_files(file)
    writer = LedgerWriter.open(play.ledger)
    with LedgerReader(play.ledger) as reader:
        facts = reader.facts()
    writer.set_fact("settings", settings_for("minapp", guard_protected_groups=["53"]).to_json())
    with writer._transaction():
        writer._connection.execute("DELETE FROM run WHERE key = 'judged'")
        writer._connection.execute("UPDATE run SET value = '[]' WHERE key = 'guardrails'")
    writer.close()
    assert facts["judged"] == "yes"
    play.target.refuse_connections = lambda _: False
    with pytest.raises(GuardrailError, match="protected"):
        play.resume()
    assert not play.target.sends


# What iterables do.


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("count", [1, 100, 20_000])
def test_what_an_iterable_gave_before_it_raised_is_not_lost(tmp_path, is_async, count):
    def give():
        for user in range(count):
            yield ("add", user, 53)
        raise RuntimeError("the database is gone")

    async def give_async():
        for item in give():
            yield item

    play = Play(tmp_path, Target(), settings_for("minapp"))
    report = play.apply_files(Pipe("<changes>", give_async() if is_async else give()))
    assert (report.stopped, report.exit_code) == (Cause.INPUT, 6)
    assert "RuntimeError: the database is gone" in report.reason
    assert play.resume().total == count
    assert len(play.target.members()) == count


@pytest.mark.parametrize("error", [RuntimeError("gone"), OSError("gone"), ValueError("gone")])
def test_an_iterable_that_gives_nothing_leaves_nothing(tmp_path, error):
    play = Play(tmp_path, Target(), settings_for("minapp"))
    with pytest.raises(InputError, match="gone; no input arrived before that"):
        play.apply_files(stream(then=error))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "item", [(), [], (1,), ("add", 1), ("add", 1, 2, 3), [("add", 1, 2)], None, 7, "add", {}, {1: 2}]
)
def test_no_item_vanishes_without_a_count(tmp_path, item):
    play = Play(tmp_path, Target(), settings_for("minapp"))
    report = play.apply_files(Pipe("<changes>", [("add", 1, 2), item, ("add", 3, 4)]))
    assert (report.total, report.changes[Status.REJECTED], report.changes[Status.APPLIED]) == (3, 1, 2)
    assert Action.ADD.label == "add"


@pytest.mark.parametrize("bad", [True, False])
def test_a_canary_that_was_settled_and_not_judged_is_judged_when_the_run_is_gone_on_with(tmp_path, bad):
    """The run may be killed between the two."""
    target = Target(Behaviour(bad_users=frozenset([0]) if bad else frozenset()))
    (tmp_path / "work").mkdir()
    play = Play(tmp_path / "work", target, settings_for("minapp", guard_canary=2))

    def die(window, settlement):
        if not (window.unsettled or (tmp_path / "dead").exists()):
            shutil.copytree(tmp_path / "work", tmp_path / "dead")
            raise Killed

    play.observer = Observer(settled=die)
    target.refuse_connections = lambda _: (tmp_path / "dead").exists()
    with pytest.raises(BaseException):  # noqa: B017, PT011 — a group with it
        play.apply(CHANGES)
    target.refuse_connections = lambda _: False
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "dead").rename(tmp_path / "work")
    with LedgerReader(play.ledger) as reader:
        assert (reader.next_ids()[0], reader.tally()[Status.PENDING]) == (1, 0)
    play.observer = Observer()
    report = play.resume()
    assert report.stopped is (Cause.CANARY if bad else None)
    assert len(target.members()) == (1 if bad else 20)
    if bad:  # who goes on now knows what he does
        assert play.resume().changes[Status.APPLIED] == 19


def test_a_canary_that_was_judged_is_not_judged_by_what_came_after_it(tmp_path):
    """The run was killed in its second window, of which a change has failed."""
    target = Target(Behaviour(bad_users=frozenset([2])))
    (tmp_path / "work").mkdir()
    settings = settings_for("minapp", guard_canary=2, limits_max_changes=1, rate_max_in_flight=1)
    play = Play(tmp_path / "work", target, settings)

    def die(_, settlement):
        if (settlement.status == Status.FAILED).any() and not (tmp_path / "dead").exists():
            shutil.copytree(tmp_path / "work", tmp_path / "dead")
            raise Killed

    play.observer = Observer(settled=die)
    with pytest.raises(BaseException):  # noqa: B017, PT011 — a group with it
        play.apply(CHANGES)
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "dead").rename(tmp_path / "work")
    with LedgerReader(play.ledger) as reader:
        assert reader.next_ids()[0] == 2
        assert reader.tally()[Status.FAILED] == 1
    play.observer = Observer()
    report = play.resume()
    assert report.stopped is None
    assert (report.changes[Status.APPLIED], report.changes[Status.FAILED]) == (19, 1)
    with LedgerReader(play.ledger) as reader:  # of what was open, and of nothing else, a request may still arrive
        assert [windows for _, windows in orjson.loads(reader.facts()["interrupted"])] == [[1]]


def test_a_resume_of_a_broken_stream_that_is_interrupted_at_once_is_to_be_resumed(tmp_path):
    """What arrived before the stream broke is all in its copy, and nothing of it may be forgotten."""

    async def breaks():
        for change in CHANGES:
            yield change
        raise RuntimeError("no more")

    play = Play(tmp_path, Target(), settings_for("minapp"))
    first = play.apply_files(Pipe("<changes>", breaks()))
    play.stop_at, play.stop = 0.0, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "x")
    again = play.resume()
    assert (again.exit_code, first.next, again.next) == (130, f"batcher resume {play.ledger}", first.next)
    play.stop_at = None
    last = play.resume()
    assert (last.total, last.changes[Status.APPLIED], last.next) == (20, 20, None)
