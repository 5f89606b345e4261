"""Closed loops, files, bad pairs, stops, and what becomes of it all in the ledger."""

from __future__ import annotations

import anyio
import pytest
from harness import Target, slow, write_changes
from play import Server, play

from batcher.core.errors import ConfigurationError, LedgerError
from batcher.core.verdict import Cause
from batcher.engine.jobs.job import reopen
from batcher.engine.jobs.reaching import NOTHING_ANEW
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.ledger.writer import LedgerWriter
from batcher.load.arrival_dispatch import ArrivalDispatch
from batcher.load.synthetic import Synthetic
from batcher.simulator.behaviour import Behaviour, Fault, Stage


@pytest.mark.parametrize("places", [1, 2, 7])
def test_a_closed_loop_sends_as_soon_as_a_place_is_free(tmp_path, places):
    server = Server(lambda _: 0.1)
    found = play(tmp_path, server, arrivals="", seconds=10.0, settings={"rate_max_in_flight": places})
    assert found.loop == "closed"
    assert found.per_second["requests"] == pytest.approx(10 * places, rel=0.03)
    assert found.latency["actual"].max == pytest.approx(100, rel=0.001)
    assert found.intervals[3].in_flight == places
    assert found.requests["dropped"] == 0


@pytest.mark.parametrize(("seconds", "is_late"), [(0.0, False), (0.005, False), (0.1, True)])
def test_a_generator_that_has_nothing_ready_is_the_bottleneck(tmp_path, seconds, is_late):
    found = play(
        tmp_path,
        Server(takes=lambda _: 0.01),
        settings={"rate_max_in_flight": 4, "limits_max_changes": 5000},
        executor=slow(seconds),
        arrivals="",
        seconds=1.0,
    )
    assert found.generator.is_bottleneck == is_late
    assert ("no request was ready during" in found.generator.reason) == is_late


def test_bad_pairs_are_refused_one_by_one(tmp_path):
    target = Target(Behaviour(bad_users=frozenset(range(11, 111)), latency_seconds=0.01))
    changes = {"users": 10, "groups": 50, "bad_share": 0.05, "remove_share": 0.0, "seed": 3}
    settings = {"limits_max_changes": 40}
    found = play(tmp_path, target, arrivals="5/s for 10s", synthetic=changes, settings=settings)
    assert found.changes["failed"] > 0
    assert found.requests["split"] > 0
    assert found.errors == {"400": found.requests["failed"]}
    assert found.accepted == found.changes["applied"]
    with LedgerReader(tmp_path / "load.ledger") as reader:
        assert differences(reader) == []
        for state in reader.windows():
            bad = (state.status == 5).nonzero()[0]
            assert set(state.window.columns.user.codes[bad].tolist()) <= set(range(11, 111))
    assert all(user <= 10 for user, _ in target.members())


def test_a_file_keeps_the_last_word(tmp_path):
    changes = [("add" if row % 3 else "remove", row % 7, row % 5) for row in range(400)]
    files = [str(write_changes(tmp_path / f"{n}.jsonl", changes[n : n + 100])) for n in range(0, 400, 100)]
    target = Target(Behaviour(latency_seconds=0.05, jitter_seconds=0.2, seed=4))
    found = play(tmp_path, target, arrivals="200/s for 60s", files=tuple(files), settings={"limits_max_changes": 3})
    wishes = {(user, group): op for op, user, group in changes}
    assert target.members() == {pair for pair, op in wishes.items() if op == "add"}
    assert sum(found.changes.values()) == 400
    assert found.changes["pending"] == 0
    assert found.requests["dropped"] == 0  # the file was over before the schedule


def test_what_was_lost_and_comes_late_does_not_undo_a_files_last_word(tmp_path):
    """Windows of one file, of which the first one's request is applied after the second one could have left."""
    add, remove = (write_changes(tmp_path / f"{op}.jsonl", [(op, 5, 53)]) for op in ("add", "remove"))
    lost = Behaviour(faults=(Fault("late", 1.0),), late_seconds=4.0)
    target = Target(lost, stages=(Stage(Behaviour(), after_requests=1),))
    given = {"retry_grace_seconds": 8.0, "retry_base_seconds": 0.1}
    found = play(tmp_path, target, arrivals="10/s for 30s", files=(str(add), str(remove)), settings=given)
    assert found.changes["applied"] == 2
    target.world.catch_up(1e6)
    assert target.members() == set()


def test_an_outage_stops_the_load(tmp_path):
    found = play(tmp_path, Server(status=lambda number: 503 if number > 20 else 204), arrivals="10/s for 1h")
    assert found.stopped == "outage"
    assert found.requests["ok"] == 21
    assert found.seconds < 1800


def test_a_signal_ends_it_in_good_order(tmp_path):
    async def stop(shutdown):
        await anyio.sleep(2.005)
        shutdown.stop(Cause.INTERRUPT, "SIGINT was received")

    found = play(tmp_path, Server(lambda _: 0.5), arrivals="10/s for 1h", stop=stop)
    assert found.stopped == "interrupt"
    assert found.requests["sent"] == found.requests["ok"] == 21  # what was in flight came back
    assert found.seconds == pytest.approx(2.5, abs=0.1)
    assert found.requests["dropped"] == 0


def test_a_signal_is_heard_while_nothing_is_due(tmp_path):
    async def stop(shutdown):
        await anyio.sleep(5.0)
        shutdown.stop(Cause.TERMINATED, "SIGTERM was received")

    found = play(tmp_path, Server(), arrivals="1/min for 10m", stop=stop)
    assert found.seconds == pytest.approx(5.0, abs=0.1)
    assert found.requests["sent"] == 1


def test_windows_that_were_made_in_vain_are_forgotten(tmp_path):
    found = play(tmp_path, Server(lambda _: 0.5), arrivals="", seconds=4.9, settings={"rate_max_in_flight": 2})
    assert found.requests["sent"] == 20
    with LedgerReader(tmp_path / "load.ledger") as reader:
        assert len(reader.window_ids()) <= 3
        assert differences(reader) == []
        assert sum(reader.tally().values()) == sum(found.changes.values())


def test_lost_replies_and_refusals_inside_a_200_are_errors(tmp_path):
    found = play(tmp_path, Server(status=lambda n: None if n == 3 else 204), arrivals="10/s for 2s", name="a.ledger")
    assert found.errors == {"no reply": 1}
    assert found.requests["failed"] == 1
    target = Target(Behaviour(faults=(Fault("html", 0.3),), seed=2))
    found = play(tmp_path, target, kind="scrutinizer", arrivals="10/s for 2s", name="b.ledger")
    assert found.errors["refused inside a 200"] == found.requests["failed"] > 0
    assert found.requests["sent"] == found.requests["ok"] + found.requests["failed"] == len(target.sends)


def test_the_same_seed_sends_the_same(tmp_path):
    bodies = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        server = Server()
        play(
            tmp_path, server, arrivals="20/s for 2s", synthetic={"seed": seed, "profiles": True}, name=f"{name}.ledger"
        )
        bodies.append(server.bodies)
    assert bodies[0] == bodies[1] != bodies[2]


def test_skew_and_shares():
    plain = Synthetic(groups=50, remove_share=0.3, bad_share=0.2, users=100, seed=1).window(0, 0, 20_000).columns
    assert (plain.action == 1).mean() == pytest.approx(0.3, abs=0.02)
    assert (plain.user.codes > 100).mean() == pytest.approx(0.2, abs=0.02)
    assert plain.user.codes.max() <= 200
    assert (plain.group.codes == 1).mean() == pytest.approx(1 / 50, abs=0.01)
    skewed = Synthetic(groups=50, skew=1.0, seed=1).window(0, 0, 20_000).columns.group.codes
    assert (skewed == 1).mean() == pytest.approx(2 * (skewed == 2).mean(), rel=0.2)
    with pytest.raises(ConfigurationError, match="skew"):
        Synthetic(skew=float("nan")).check()


def test_a_load_ledger_is_not_gone_on_with(tmp_path):
    play(tmp_path, Server(), arrivals="10/s for 1s")
    ledger = LedgerWriter.open(tmp_path / "load.ledger")
    try:
        with pytest.raises(LedgerError, match="load run"):
            reopen(ledger, None, None, NOTHING_ANEW)
    finally:
        ledger.close()
    with pytest.raises(ExceptionGroup) as error:
        play(tmp_path, Server(), arrivals="10/s for 1s")
    assert "already holds a run" in str(error.value.exceptions[0])


def test_a_target_that_refuses_everything_ends_it_and_nothing_is_booked_on_changes(tmp_path):
    """As any run: twenty changes that were refused on their own, trials of others, and a harmless request."""
    target = Target(Behaviour(bad_users=frozenset(range(1, 10_200)), latency_seconds=0.01))
    found = play(tmp_path, target, arrivals="20/s for 5m", settings={"limits_max_changes": 4})
    assert found.stopped == "suspicion"
    assert found.changes["failed"] == 0
    assert found.seconds < 200


def test_what_is_refused_for_its_size_is_smaller_from_then_on(tmp_path):
    target = Target(Behaviour(max_changes=10, latency_seconds=0.01))
    found = play(tmp_path, target, arrivals="10/s for 20s", settings={"limits_max_changes": 40})
    assert found.changes["failed"] == 0
    assert found.accepted == found.changes["applied"]
    assert found.requests["split"] < 20  # the first ones only
    assert found.requests["failed"] < 20


def test_a_failure_budget_and_a_deadline_are_of_other_runs(tmp_path):
    target = Target(Behaviour(bad_users=frozenset(range(1, 500)), latency_seconds=0.01))
    settings = {"guard_max_failures": "1", "guard_deadline": "1s", "limits_max_changes": 3}
    found = play(tmp_path, target, arrivals="10/s for 10s", settings=settings)
    assert found.stopped == ""
    assert found.changes["failed"] > 1
    assert found.seconds == pytest.approx(10, abs=0.2)


def test_a_trial_waits_for_what_is_due_and_the_schedule_goes_on(tmp_path):
    """Changes of one user and of others: the run is suspected, cleared, and every arrival is answered."""
    changes = [("add", 5, group) for group in range(30)] + [("add", 100 + row, row) for row in range(70)]
    file = str(write_changes(tmp_path / "changes.jsonl", changes))
    target = Target(Behaviour(bad_users=frozenset({5}), latency_seconds=0.01))
    found = play(tmp_path, target, arrivals="20/s for 60s", files=(file,), settings={"limits_max_changes": 1})
    assert found.stopped == ""
    assert (found.changes["failed"], found.changes["applied"], found.changes["pending"]) == (30, 70, 0)
    assert target.members() == {(user, group) for _, user, group in changes if user != 5}


def test_files_of_a_load_run_need_not_wait_for_each_other(tmp_path):
    files = [str(write_changes(tmp_path / f"{n}.jsonl", [("add", n, 53)])) for n in range(2)]
    server = Server(lambda _: 5.0)
    found = play(tmp_path, server, arrivals="2/s for 30s", files=tuple(files))
    assert found.changes["applied"] == 2
    assert server.sends[1] - server.sends[0] == pytest.approx(0.5, abs=0.01)


def test_a_run_whose_end_fails_ends(tmp_path, monkeypatch):
    """Whatever was raised: what still writes must not wait for more."""

    def fails(_):
        raise ZeroDivisionError

    monkeypatch.setattr(ArrivalDispatch, "_finding", fails)
    with pytest.raises(BaseExceptionGroup) as raised:
        play(tmp_path, Server(), arrivals="", seconds=1.0)
    assert raised.group_contains(ZeroDivisionError)
