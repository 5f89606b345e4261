"""The fast lane records what would have been recorded otherwise, and takes what can take it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from harness import Play, Target, settings_for, write_changes
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.errors import NotSentError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.engine.run.observers import Observer
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour, Fault

ADDS = [("add", user, user % 7) for user in range(400)]
SMALL = {"limits_max_changes": 4, "rate_max_in_flight": 4}


def played(folder, target, changes, kind="minapp", **options):
    folder.mkdir(exist_ok=True)
    play = Play(folder, target, settings_for(kind, **options), window_rows=100)
    return play, play.apply(changes)


def attempts(play):
    """Of each row: its status, its reason, and its attempts without their times and batches."""
    with LedgerReader(play.ledger) as reader:
        assert differences(reader) == []
        found = []
        for state in reader.windows():
            for row, number in enumerate(state.sent_by.tolist()):
                history = state.settlements[number].history if number >= 0 else ()
                made = [replace(attempt, at=0.0, batch=0, boot=0.0) for attempt in history]
                found.append((int(state.window.columns.line[row]), int(state.status[row]), made))
        return found


CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 30), st.integers(0, 3)), max_size=120)


@pytest.mark.parametrize("kind", ["minapp", "scrutinizer"])
@given(changes=CHANGES, bad=st.sets(st.integers(0, 30), max_size=2), size=st.integers(1, 9))
def test_both_ways_end_alike(kind, changes, bad, size):
    """Whatever is asked for and refused: the same members, statuses, replies and reasons."""
    ended = []
    with tempfile.TemporaryDirectory() as name:
        for offers_lines in (True, False):
            target = Target(Behaviour(bad_users=frozenset(bad)), offers_lines=offers_lines)
            options = {"limits_max_changes": size, "rate_max_in_flight": 1}
            play, report = played(Path(name) / str(offers_lines), target, changes, kind, **options)
            assert offers_lines or not target.on_lines
            ended.append((target.members(), report.changes, report.exit_code, attempts(play)))
    assert ended[0] == ended[1]


def test_most_requests_take_it(tmp_path):
    target = Target()
    play, report = played(tmp_path, target, ADDS, **SMALL)
    assert report.exit_code == 0
    assert report.requests.fast == target.on_lines > 90
    assert report.requests.sent == report.requests.ok == len(target.sends)
    assert "fast" not in report.as_dict()["requests"]
    assert {status for _, status, _ in attempts(play)} == {Status.APPLIED}
    assert all(len(made) == 1 and made[0].http_status == 204 for _, _, made in attempts(play))


@pytest.mark.parametrize(
    ("options", "observer"),
    [
        ({"input_ordered": True}, Observer()),
        ({}, Observer(delivered=lambda *_: None)),
    ],
    ids=["in the order of the input", "traces"],
)
def test_who_cannot_use_it_does_not(tmp_path, options, observer):
    target = Target()
    play = Play(tmp_path, target, settings_for("minapp", **SMALL | options), observer=observer)
    assert play.apply(ADDS).exit_code == 0
    assert not target.on_lines


def test_who_wants_each_exchange_is_told_of_each(tmp_path):
    target, told = Target(), []
    observer = Observer(exchanged=lambda batch, exchange: told.append((len(batch), exchange)))
    play = Play(tmp_path, target, settings_for("minapp", **SMALL), observer=observer)
    assert play.apply(ADDS).exit_code == 0
    assert target.on_lines
    assert sum(changes for changes, _ in told) == 400
    assert [exchange.departed for _, exchange in told] == [at for at, _, _ in target.sends]
    assert {(exchange.status, exchange.error) for _, exchange in told} == {(204, "")}
    assert [exchange.bytes_sent for _, exchange in told] == [len(body) for _, _, body in target.sends]


def test_a_rate_is_kept(tmp_path):
    target = Target()
    _, report = played(tmp_path, target, ADDS, **SMALL | {"rate_requests": "10/s"})
    assert target.on_lines > 90
    times = [at for at, _, _ in target.sends]
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[10:], strict=False))
    assert report.waited.rate == pytest.approx(times[-1] - times[0], rel=0.05)


def test_as_many_are_in_flight_as_may_be(tmp_path):
    target = Target(Behaviour(latency_seconds=1.0))
    _, report = played(tmp_path, target, ADDS, **SMALL)
    assert (target.highest_in_flight, report.exit_code) == (4, 0)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_what_is_not_plain_success_is_tried_again_as_ever(tmp_path, status):
    """The answer to the fiftieth request; later ones succeed."""
    target = Target(answer=lambda number, _: Response(status, {"retry-after": "1"}) if number == 50 else None)
    _, report = played(tmp_path, target, ADDS, **SMALL)
    assert report.exit_code == (4 if status == 401 else 0)
    if status != 401:
        assert len(target.members()) == 400
        assert report.requests.fast > 50
    if status in {429, 503}:
        (pause,) = [b - a for (a, *_), (b, *_) in zip(target.sends, target.sends[1:], strict=False) if b - a > 0.9]
        assert pause >= 1.0


@pytest.mark.parametrize("fault", ["drop-before", "drop-after"])
def test_lost_replies(tmp_path, fault):
    target = Target(Behaviour(faults=(Fault(fault, 0.1),)))
    play, report = played(tmp_path, target, ADDS, **SMALL)
    assert report.exit_code == 0
    assert len(target.members()) == 400
    lost = sum(attempt.lost for _, _, made in attempts(play) for attempt in made)
    assert lost


def test_no_new_connections_are_made_where_none_can_be(tmp_path):
    """And not again and again; the requests take the other way."""
    asked = []

    class Closed(Target):
        async def line(self, _):
            asked.append(anyio.current_time())
            raise NotSentError("connection refused")

    target = Closed()
    _, report = played(tmp_path, target, ADDS, **SMALL)
    assert report.exit_code == 0
    assert len(asked) <= len(target.sends)


def test_a_run_that_is_stopped_records_what_is_answered(tmp_path):
    """Requests in flight on the lane are waited for; what waits for its turn stays pending."""
    target = Target(Behaviour(latency_seconds=3.0))
    play = Play(tmp_path, target, settings_for("minapp", **SMALL), stop_at=16.0)
    play.stop = lambda shutdown: shutdown.stop(Cause.INTERRUPT, "a signal")
    play.apply_files(write_changes(tmp_path / "changes.jsonl", ADDS))
    with LedgerReader(play.ledger) as reader:
        tally = reader.tally()
    assert tally[Status.APPLIED] == len(target.members()) > 0
    assert tally[Status.PENDING] == 400 - len(target.members())
    play.stop_at = None
    assert play.resume().exit_code == 0
    assert len(target.members()) == 400
