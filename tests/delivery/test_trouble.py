"""What a run does when the target is not well, on virtual time, to the second."""

from __future__ import annotations

import gzip
import sqlite3

import anyio
import orjson
import pytest
from harness import EPOCH, Play, Target, settings_for

from batcher.api import _Following
from batcher.core.errors import ConfigurationError, GuardrailError, InputError, LedgerError
from batcher.core.http import Response
from batcher.core.rate import Rate
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.engine.jobs.apply import Pipe
from batcher.engine.run.observers import Observer
from batcher.ledger.reader import LedgerReader
from batcher.simulator.behaviour import Behaviour, Fault
from batcher.simulator.world import World

ADDS = [("add", user, 1) for user in range(100)]
ONE_EACH = {"limits_max_changes": 1, "rate_max_in_flight": 1}


def play(folder, target, kind="minapp", **settings):
    folder.mkdir(exist_ok=True)
    return Play(folder, target, settings_for(kind, **settings))


def only(answers):
    """Replies for certain ordinals."""
    return lambda number, _: answers.get(number)


def times(target):
    return [round(at, 3) for at, _, _ in target.sends]


def test_one_retry_after_quiets_every_worker(tmp_path):
    """Nobody sends before it is over, and it uses up no attempt."""
    target = Target(Behaviour(latency_seconds=0.5), answer=only({1: Response(429, {"retry-after": "7.5"})}))
    report = play(tmp_path, target, limits_max_changes=10, rate_max_in_flight=2).apply(ADDS)
    assert report.exit_code == 0
    assert times(target)[0] == 0.0
    assert all(at == 0.0 or at >= 7.5 for at in times(target))
    assert report.waited.retry_after >= 7.5


def test_an_outage_stops_the_run_and_books_nothing(tmp_path):
    """No success meanwhile: rows stay pending, and the target was hardly bothered."""
    target = Target(answer=lambda *_: Response(503))
    report = play(tmp_path, target, limits_max_changes=10).apply(ADDS)
    assert (report.exit_code, report.stopped) == (6, Cause.OUTAGE)
    assert report.changes[Status.PENDING] == 100
    assert len(target.sends) <= 30
    assert 30 < target.sends[-1][0] < 300


@pytest.mark.parametrize(
    ("status", "cause", "code"),
    [
        (401, Cause.CREDENTIALS, 4),
        (402, Cause.QUOTA, 6),
        (403, Cause.PERMISSION, 4),
        (404, Cause.ENDPOINT, 6),
        (405, Cause.ENDPOINT, 6),
        (302, Cause.ENDPOINT, 6),
    ],
)
def test_the_runs_own_faults_stop_it_at_the_first_request(tmp_path, status, cause, code):
    """Nothing is booked on rows."""
    target = Target(answer=lambda *_: Response(status, {"location": "https://x/"}))
    report = play(tmp_path, target, rate_max_in_flight=1).apply(ADDS)
    assert (report.stopped, report.exit_code) == (cause, code)
    assert report.changes[Status.PENDING] == 100
    assert len(target.sends) == (2 if status in {403, 404, 405} else 1)  # what changes nothing was asked, too


@pytest.mark.parametrize("status", [403, 404, 405])
@pytest.mark.parametrize("guilty", [{13}, {13, 50, 99}, set(range(100))])
def test_a_status_that_speaks_of_the_change_or_of_the_run(tmp_path, status, guilty):
    """When the target lets in who asks for nothing, the change is looked for; but nothing is booked on a word alone."""

    def answer(_, request):
        if request.method == "GET":
            return None
        named = {user for op in orjson.loads(request.body) for user in op["users"]}
        return Response(status, {}, b"user 13 does not exist") if named & guilty else None

    target = Target(answer=answer)
    report = play(tmp_path, target, rate_max_in_flight=1).apply(ADDS)
    if len(guilty) == 100:
        assert report.exit_code in {4, 6}
        assert report.changes[Status.PENDING] == 100
        return
    assert report.exit_code == 3
    assert report.changes[Status.FAILED] == len(guilty)
    assert report.changes[Status.APPLIED] == 100 - len(guilty)


def test_one_change_alone_is_not_blamed_for_an_address(tmp_path):
    target = Target(answer=lambda _, request: Response(404) if request.method == "PATCH" else None)
    report = play(tmp_path, target).apply(ADDS[:1])
    assert (report.exit_code, report.stopped) == (6, Cause.ENDPOINT)
    assert report.changes[Status.PENDING] == 1


@pytest.mark.parametrize("status", [403, 404, 405])
def test_after_a_success_they_speak_of_the_changes(tmp_path, status):
    def answer(number, request):
        refused = any(13 in op["users"] for op in orjson.loads(request.body))
        return Response(status) if refused and number > 1 else None

    report = play(tmp_path, Target(answer=answer), limits_max_changes=10, rate_max_in_flight=1).apply(ADDS)
    assert (report.exit_code, report.changes[Status.FAILED]) == (3, 1)


@pytest.mark.parametrize("status", [401, 402])
def test_credentials_and_quota_stop_also_in_the_middle(tmp_path, status):
    target = Target(answer=lambda number, _: Response(status) if number > 3 else None)
    report = play(tmp_path, target, limits_max_changes=10, rate_max_in_flight=1).apply(ADDS)
    assert report.changes[Status.APPLIED] == 30
    assert report.changes[Status.PENDING] == 70
    assert report.exit_code == {401: 4, 402: 6}[status]


LOGIN = Behaviour(client_id="id", client_secret="secret", token_uses=4, latency_seconds=0.1)


def test_a_token_is_renewed_once_per_token_whoever_notices(tmp_path):
    """Ten workers find it expired; one logs in."""
    target = Target(LOGIN)
    run = play(tmp_path, target, limits_max_changes=10, rate_max_in_flight=10)
    run.credentials = Credentials(client_id="id", client_secret="secret")
    report = run.apply(ADDS * 3)
    assert report.exit_code == 0
    logins = sum(1 for _, method, body in target.sends if method == "POST" and b"grant_type" in body)
    assert 1 <= logins <= 4
    assert target.members() == {(user, 1) for user in range(100)}


def test_a_fresh_token_that_is_refused_too_stops_the_run(tmp_path):
    def answer(_, request):
        return Response(401) if request.method == "PATCH" else None

    target = Target(LOGIN, answer=answer)
    run = play(tmp_path, target, rate_max_in_flight=1)
    run.credentials = Credentials(client_id="id", client_secret="secret")
    report = run.apply(ADDS)
    assert report.exit_code == 4
    assert "fresh token was refused" in report.reason


def test_without_any_credentials(tmp_path):
    run = play(tmp_path, Target())
    run.credentials = Credentials()
    with pytest.raises(ConfigurationError, match="BATCHER_TOKEN"):
        run.apply(ADDS)
    assert not run.ledger.exists()


def test_a_target_that_refuses_everything_stops_the_run_with_nothing_booked(tmp_path):
    """Twenty in a row, and then a trial of others."""
    target = Target(answer=lambda *_: Response(400))
    changes = [("add", user, user % 10) for user in range(2000)]
    report = play(tmp_path, target, limits_max_changes=50).apply(changes)
    assert (report.stopped, report.exit_code) == (Cause.SUSPICION, 6)
    assert report.changes[Status.PENDING] == 2000


def test_several_dead_groups_do_not_stop_the_run(tmp_path):
    """One or two refused trials may be unlucky."""
    changes = [("add", group * 1000 + user, group) for group in range(12) for user in range(60)]
    target = Target(Behaviour(bad_groups=frozenset({3, 7})))
    report = play(tmp_path, target, limits_max_changes=300, rate_max_in_flight=1).apply(changes)
    assert (report.exit_code, report.changes[Status.FAILED], report.changes[Status.APPLIED]) == (3, 120, 600)


def test_a_poisonous_change_that_is_alone_with_its_batch_is_found(tmp_path):
    """No success meanwhile, but the target answers a probe: it is there, so this is no outage."""

    def answer(_, request):
        poisonous = request.method == "PATCH" and any(13 in op["users"] for op in orjson.loads(request.body))
        return Response(500) if poisonous else None

    target = Target(answer=answer)
    report = play(tmp_path, target).apply([("add", user, 1) for user in (12, 13, 14)])
    assert (report.changes[Status.UNKNOWN], report.changes[Status.APPLIED], report.exit_code) == (1, 2, 3)


def test_a_retry_after_that_is_past_does_not_make_us_hammer(tmp_path):
    """Zero seconds, for ever: the back-off grows all the same, and so does not the history."""
    target = Target(answer=lambda *_: Response(429, {"retry-after": "0"}))
    report = play(tmp_path, target, retry_max_wait="10m").apply(ADDS)
    assert report.stopped is Cause.MAX_WAIT
    assert len(target.sends) < 40


def test_waiting_for_the_own_rate_is_no_outage(tmp_path):
    report = play(tmp_path, Target(), rate_requests="3/h", retry_max_wait="15m", limits_max_changes=50).apply(ADDS)
    assert report.exit_code == 0


def test_an_echo_of_the_token_is_masked_however_it_is_escaped(tmp_path):
    """Law 8: the reply's JSON escapes hide it from a search over its bytes."""
    token = "AbC/dEf/12345=="  # made up
    body = rb'{"error_msg":"bad \u0041bC\/dEf\/12345== here"}'
    run = play(tmp_path, Target(answer=lambda *_: Response(400, {}, body)), rate_max_in_flight=1)
    run.credentials = Credentials(token=token)
    run.apply([("add", 1, 1)])
    with LedgerReader(run.ledger) as reader:
        (state,) = reader.windows()
    assert [list(s.details.values()) for s in state.settlements] == [["400: bad *** here"]]
    assert token.encode() not in run.ledger.read_bytes()


def test_lines_that_were_added_meanwhile_are_a_changed_input(tmp_path):
    target = Target(answer=lambda number, _: Response(402) if number == 1 else None)
    run = play(tmp_path, target)
    run.apply(ADDS)
    with (tmp_path / "changes.jsonl").open("ab") as file:
        file.write(b'{"op":"remove","user":1,"group":1}\n')
    with pytest.raises(InputError, match="was changed since it was read"):
        run.resume()


def test_a_dead_group_is_proven_by_another(tmp_path):
    """Its fifty changes fail, nobody else's."""
    changes = [("add", user, 7) for user in range(50)] + [("add", 1000 + user, 8) for user in range(50)]
    target = Target(Behaviour(bad_groups=frozenset({7})))
    report = play(tmp_path, target).apply(changes)
    assert (report.exit_code, report.changes[Status.FAILED], report.changes[Status.APPLIED]) == (3, 50, 50)


def test_refusals_are_booked_when_nothing_else_is_left(tmp_path):
    """The whole input is one dead group."""
    target = Target(Behaviour(bad_groups=frozenset({1})))
    report = play(tmp_path, target).apply(ADDS)
    assert (report.exit_code, report.changes[Status.FAILED]) == (3, 100)


def test_statements_of_errors_alone_may_be_the_runs_fault_too(tmp_path):
    """Scrutinizer: a whole reply of errors, then other users and groups fare the same."""
    everybody = frozenset(range(10_000))
    changes = [("add", user, user // 200) for user in range(1600)]
    report = play(tmp_path, Target(Behaviour(bad_users=everybody)), "scrutinizer", rate_max_in_flight=1).apply(changes)
    assert (report.stopped, report.changes[Status.PENDING]) == (Cause.SUSPICION, 1600)


def test_retry_heals_what_was_healed(tmp_path):
    target = Target(Behaviour(bad_pairs=frozenset({(5, 1)})))
    run = play(tmp_path, target)
    assert run.apply(ADDS).exit_code == 3
    target.world.behave(Behaviour())
    report = run.retry()
    assert report.exit_code == 0
    assert report.next is None
    assert target.members() == {(user, 1) for user in range(100)}


def test_retry_sends_only_a_pairs_last_change(tmp_path):
    """The earlier failed one becomes superseded when the last is settled."""
    target = Target(Behaviour(bad_pairs=frozenset({(5, 1)})))
    run = play(tmp_path, target)
    run.window_rows = 1
    changes = [("add", 1, 1), ("add", 5, 1), ("remove", 5, 1)]
    paths = []
    for number, change in enumerate(changes):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(orjson.dumps(dict(zip(("op", "user", "group"), change, strict=True))) + b"\n")
        paths.append(path)
    run.apply_files(*paths)
    assert [status for _, status in run.statuses()] == ["applied", "failed", "failed"]
    target.world.behave(Behaviour())
    before = len(target.sends)
    report = run.retry()
    assert [status for _, status in run.statuses()] == ["applied", "superseded", "applied"]
    assert len(target.sends) == before + 1
    assert report.exit_code == 0


def test_a_refused_repeat_is_unknown_where_repeats_are_refused(tmp_path):
    """The first try was lost after it was applied."""
    behaviour = Behaviour(refuses_repeats=True, faults=(Fault("drop-after", 1.0),))
    target = Target(behaviour)
    real = target.world._behaviour

    def answer(number, _):
        if number == 2:
            target.world.behave(Behaviour(refuses_repeats=True))

    target.answer = answer
    for repeats, status in (("refused", Status.UNKNOWN), ("accepted", Status.FAILED)):
        folder = tmp_path / repeats
        folder.mkdir()
        target.world = type(target.world)(real)
        target.sends.clear()
        report = play(folder, target, target_repeats=repeats).apply([("add", 1, 1)])
        assert report.changes[status] == 1, repeats


def test_an_opposite_change_waits_until_a_late_request_can_not_arrive_any_more(tmp_path):
    """Applied 20 s after it was lost; the removal of the next window goes out after the grace of 30 s."""
    target = Target(Behaviour(faults=(Fault("late", 1.0),), late_seconds=20.0))

    def answer(number, _):
        if number == 2:
            target.world.behave(Behaviour())

    target.answer = answer
    run = play(tmp_path, target, **ONE_EACH)
    run.window_rows = 1
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_bytes(b'{"op":"add","user":1,"group":1}\n')
    two.write_bytes(b'{"op":"remove","user":1,"group":1}\n{"op":"add","user":2,"group":1}\n')
    report = run.apply_files(one, two)
    assert report.exit_code == 0
    removal = next(at for at, _, body in target.sends if b"remove" in body)
    assert removal >= 30.0
    assert target.members() == {(2, 1)}
    assert report.waited.grace > 25


def test_what_was_in_flight_at_a_stop_is_lost_for_resume_too(tmp_path):
    """The request is applied late, the run is stopped, resumed at once, and the removal still waits."""
    target = Target(Behaviour(faults=(Fault("late", 1.0),), late_seconds=20.0))
    run = play(tmp_path, target, **ONE_EACH)
    run.window_rows = 1
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_bytes(b'{"op":"add","user":1,"group":1}\n')
    two.write_bytes(b'{"op":"remove","user":1,"group":1}\n')
    run.stop_at, run.stop = 0.01, lambda shutdown: shutdown.stop(Cause.TERMINATED, "test")
    report = run.apply_files(one, two)
    assert report.exit_code == 143
    assert report.changes[Status.PENDING] >= 1
    run.stop_at = None
    target.world.behave(Behaviour())
    sent = len(target.sends)
    report = run.resume()
    assert report.exit_code == 0
    assert target.members() == set()
    assert target.sends[-1][0] >= 29
    assert len(target.sends) == sent + 2


@pytest.mark.parametrize(("rows", "stops"), [(900, False), (1200, True)])
def test_a_share_of_failures_is_judged_from_a_thousand_on(tmp_path, rows, stops):
    changes = [("add", user, 1) for user in range(rows)]
    bad = frozenset((user, 1) for user in range(0, rows, 5))
    report = play(
        tmp_path, Target(Behaviour(bad_pairs=bad)), "scrutinizer", guard_max_failures="5%", rate_max_in_flight=1
    ).apply(changes)
    assert (report.stopped is Cause.FAILURES) is stops


def test_the_rate_holds_in_every_window_and_is_used(tmp_path):
    """A strict server sees no violation, and at least 95 % of what it allows."""
    changes = [("add", user, 1) for user in range(400)]
    target = Target(Behaviour(limits=(Rate(20, 1),), latency_seconds=0.3, jitter_seconds=0.4))
    report = play(tmp_path, target, rate_requests="20/s", limits_max_changes=1, rate_max_in_flight=32).apply(changes)
    assert report.exit_code == 0
    assert target.world.traffic.refused == 0
    assert 399 / target.sends[-1][0] >= 0.95 * 20


def test_changes_per_minute(tmp_path):
    """A request with many changes waits for its share."""
    target = Target()
    report = play(tmp_path, target, rate_changes="60/min", limits_max_changes=20).apply(ADDS)
    assert report.exit_code == 0
    assert times(target) == [0.0, 20.6, 41.2, 61.8, 82.4]


def test_in_flight_is_bounded_and_auto_grows(tmp_path):
    changes = [("add", user, 1) for user in range(600)]
    for most in (1, 3, "auto"):
        folder = tmp_path / str(most)
        folder.mkdir()
        target = Target(Behaviour(latency_seconds=1.0))
        play(folder, target, limits_max_changes=1, rate_max_in_flight=most).apply(changes)
        assert target.highest_in_flight == (32 if most == "auto" else most)


def test_by_group_no_two_requests_of_a_group_are_in_flight(tmp_path):
    target = Target(Behaviour(latency_seconds=1.0))
    groups_in_flight: list[set[int]] = []
    plain = target._reply

    async def reply(request):
        groups = {g for op in orjson.loads(request.body) for g in op["groups"]}
        assert all(groups.isdisjoint(others) for others in groups_in_flight)
        groups_in_flight.append(groups)
        try:
            return await plain(request)
        finally:
            groups_in_flight.remove(groups)

    target._reply = reply
    changes = [("add", user, user % 3) for user in range(120)]
    report = play(tmp_path, target, target_order_by="group", limits_max_changes=5, limits_max_ops=1).apply(changes)
    assert report.exit_code == 0
    assert target.highest_in_flight == 3


def test_strict_and_guardrails_refuse_before_anything_is_sent(tmp_path):
    """And leave no ledger behind."""
    changes = [*ADDS, ("remove", 1, 2), ("nonsense", 1, 2)]
    for settings, error in (({"input_strict": True}, InputError), ({"guard_max_removals": 0}, GuardrailError)):
        target = Target()
        run = play(tmp_path, target, **settings)
        with pytest.raises(error, match="nothing was sent"):
            run.apply(changes)
        assert target.sends == []
        assert not run.ledger.exists()


def stopped_halfway(folder):
    """A run whose permission ended at the second request, and that other runs know of."""
    run = play(folder, Target(answer=lambda number, _: Response(402) if number == 1 else None))
    run.state = folder / "state"
    assert run.apply(ADDS).exit_code == 6
    return run


def test_a_newer_run_on_the_target_forbids_going_on_with_an_older_one(tmp_path):
    """Unless that is meant."""
    old = stopped_halfway(tmp_path)
    folder = tmp_path / "new"
    folder.mkdir()
    new = play(folder, Target())
    new.state, new.seconds = old.state, old.seconds + 5
    assert new.apply([("remove", 1, 1)]).exit_code == 0
    old.seconds = new.seconds + 5
    with pytest.raises(GuardrailError, match="--despite-later-runs"):
        old.resume()
    assert old.resume(despite_later_runs=True).exit_code == 0


def test_a_run_that_never_touched_the_target_forbids_nothing(tmp_path):
    old = stopped_halfway(tmp_path)
    folder = tmp_path / "new"
    folder.mkdir()
    new = play(folder, Target(refuse_connections=lambda _: True), retry_max_wait="1m")
    new.state, new.seconds = old.state, old.seconds + 5
    assert new.apply(ADDS).exit_code == 6
    old.seconds = new.seconds + 5
    assert old.resume().exit_code == 0


def test_retry_with_pending_changes_names_resume(tmp_path):
    target = Target(answer=lambda number, _: Response(402) if number == 1 else None)
    run = play(tmp_path, target)
    run.apply(ADDS)
    with pytest.raises(LedgerError, match="batcher resume"):
        run.retry()


def test_a_changed_input_is_refused_and_nothing_is_sent(tmp_path):
    target = Target(answer=lambda number, _: Response(402) if number == 1 else None)
    run = play(tmp_path, target)
    run.apply(ADDS)
    path = tmp_path / "changes.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"user":7,', b'"user":8,'))
    sent = len(target.sends)
    with pytest.raises(InputError, match="was changed"):
        run.resume()
    assert len(target.sends) == sent


def test_an_input_that_breaks_half_way_can_be_repaired(tmp_path):
    """A truncated archive stops the run with 6; the whole one goes on where it broke."""
    rows = "".join(f"add,{number},{number % 7}\n" for number in range(400_000))
    content = gzip.compress(b"op,user_id,group_id\n" + rows.encode(), 1)
    path = tmp_path / "changes.csv.gz"
    path.write_bytes(content[: len(content) * 2 // 3])
    run = play(tmp_path, Target())
    run.window_rows = 20_000  # so that something was sent before it broke
    report = run.apply_files(path)
    assert (report.stopped, report.exit_code, report.input_complete) == (Cause.INPUT, 6, False)
    assert "cannot be read" in report.reason
    assert report.next == f"batcher resume {tmp_path}/run.ledger"
    path.write_bytes(content)
    report = run.resume()
    assert (report.exit_code, report.total, report.input_complete) == (0, 400_000, True)
    assert len(run.target.members()) == 400_000


def test_a_kill_before_the_first_session_can_be_resumed(tmp_path):
    """The run is recorded, and nothing else: everything is still to be done."""
    target = Target(answer=lambda number, _: Response(402) if number == 1 else None)
    run = play(tmp_path, target)
    run.apply(ADDS)
    with sqlite3.connect(run.ledger) as connection:
        connection.executescript(
            "DELETE FROM session; DELETE FROM window; DELETE FROM unsettled; UPDATE source SET ended = NULL;"
        )
    connection.close()
    report = run.resume()
    assert (report.exit_code, report.total, report.changes[Status.APPLIED]) == (0, 100, 100)


def test_a_ledger_is_never_overwritten(tmp_path):
    run = play(tmp_path, Target())
    run.apply(ADDS)
    with pytest.raises(LedgerError, match="batcher resume"):
        run.apply(ADDS)
    assert run.resume().exit_code == 0


def test_outcomes_can_be_followed(tmp_path):
    """Each change once, when it is on disk."""
    seen = []
    run = play(tmp_path, Target(Behaviour(bad_pairs=frozenset({(5, 1)}))))
    run.observer = _Following(seen.append).observer()
    report = run.apply([("remove", 3, 1), *ADDS, ("nonsense", 1, 1)])
    assert len(seen) == report.total == 102
    by_line = {outcome.line: outcome for outcome in seen}
    assert by_line[1].status is Status.SUPERSEDED
    assert by_line[1].detail == "superseded by line 5"
    assert (by_line[7].status, by_line[7].user) == (Status.FAILED, 5)
    assert by_line[102].op is None


async def test_virtual_time_notices_a_deadlock():
    """The loop of these tests raises where a real one would hang."""
    with anyio.move_on_after(1) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_a_run_that_no_longer_moves_is_ended_with_a_reason(tmp_path):
    """A request that never comes back, not even as a time-out: the transport's own clock failed."""
    target = Target()

    async def never(request):
        await anyio.sleep_forever()

    target._reply = never
    report = play(tmp_path, target, retry_max_wait="10h").apply(ADDS)
    assert (report.stopped, report.exit_code) == (Cause.STALLED, 6)
    assert "nothing has moved for" in report.reason
    assert report.changes[Status.PENDING] == 100


def test_long_waits_that_are_meant_are_no_stall(tmp_path):
    """The own rate, a target that wants to be left alone, and a grace of an hour."""
    report = play(tmp_path / "1", Target(), rate_requests="2/h", limits_max_changes=30).apply(ADDS)
    assert report.exit_code == 0
    target = Target(answer=only({1: Response(429, {"retry-after": "3000"})}))
    report = play(tmp_path / "2", target, retry_max_wait="2h").apply(ADDS)
    assert report.exit_code == 0
    target = Target(Behaviour(faults=(Fault("late", 0.5),), late_seconds=20.0))
    run = play(tmp_path / "3", target, retry_grace_seconds=3600, **ONE_EACH)
    run.window_rows = 1
    assert run.apply([("add", 1, 1), ("remove", 1, 1)] * 3).exit_code == 0


def test_a_damaged_window_stops_a_resume_in_good_order(tmp_path):
    """Nothing of it is sent, nothing counts as done, and the run says why it stopped."""
    target = Target(answer=lambda number, _: Response(402) if number == 1 else None)
    run = play(tmp_path, target)
    run.window_rows = 50
    run.apply(ADDS)
    with sqlite3.connect(run.ledger) as connection:
        connection.execute("UPDATE window SET user = x'00' WHERE id = 0")
    connection.close()
    sent = len(target.sends)
    report = run.resume()
    assert (report.stopped, report.exit_code, report.changes[Status.APPLIED]) == (Cause.LEDGER, 6, 0)
    assert "is damaged: window 0" in report.reason
    assert len(target.sends) == sent


@pytest.mark.parametrize(
    ("rate", "latency", "rate_waits", "places_wait"), [("5/s", 0.0, True, False), ("none", 1.0, False, True)]
)
def test_what_a_run_waited_for(tmp_path, rate, latency, rate_waits, places_wait):
    """Who waits behind those that wait for the rate does not wait for a place in flight."""
    settings = {"rate_requests": rate, "rate_max_in_flight": 2, "limits_max_changes": 1}
    report = play(tmp_path, Target(Behaviour(latency_seconds=latency)), **settings).apply(ADDS[:20])
    assert report.exit_code == 0
    assert (report.waited.rate > 1, report.waited.concurrency > 1) == (rate_waits, places_wait)


def test_what_is_too_large_is_found_out_once(tmp_path):
    """Afterwards requests are as small as what was taken, of all five batches that were packed before that was known."""
    target = Target(Behaviour(max_changes=100))
    changes = [("add", user, 1) for user in range(2_000)]
    report = play(tmp_path, target, limits_max_changes=400, rate_max_in_flight=1).apply(changes)
    assert report.exit_code == 0
    assert report.requests.split <= 4  # three for each batch, if nothing were learned
    assert len(target.sends) == 20 + report.requests.split + 1


def test_what_is_held_is_not_booked_while_the_input_may_bring_a_fair_trial(tmp_path):
    """A harmless request is answered, but everything else refused: only other users and groups can tell whose fault it is."""

    async def changes():
        for user in range(25):
            yield "add", user, 1
        await anyio.sleep(60)
        for user in range(100, 160):
            yield "add", user, user

    target = Target(answer=lambda _, request: Response(200, body=b"[]") if request.method == "GET" else Response(400))
    run = play(tmp_path, target, limits_max_changes=1)
    report = run.apply_files(Pipe("<changes>", changes()))
    assert (report.stopped, report.exit_code) == (Cause.SUSPICION, 6)
    assert report.changes[Status.FAILED] == 0


@pytest.mark.parametrize(
    ("answer", "is_pushed"),
    [(Response(429), True), (Response(503, {"retry-after": "1"}), True), (None, True), (Response(500), False)],
    ids=["429", "503 with a wait", "no reply", "500"],
)
def test_what_asks_for_less_lowers_the_limit_and_what_does_not_leaves_it(tmp_path, caplog, answer, is_pushed):
    """And in the end no request is taken for one that is still in flight."""
    seen = []
    target = Target(Behaviour(latency_seconds=0.1), answer=only({} if answer is None else {3: answer}))
    if answer is None:
        target.world = World(
            Behaviour(latency_seconds=0.1, faults=(Fault("drop-after", 0.2),), seed=2), utc_offset=EPOCH
        )
    run = play(tmp_path, target, limits_max_changes=1)
    run.observer = Observer(started=seen.append)
    assert run.apply(ADDS[:40]).exit_code == 0
    assert ("back-pressure: limiting to" in caplog.text) is is_pushed
    assert seen[0].gate.in_flight == 0
    assert seen[0].gate.highest_in_flight >= 3


def test_a_harmless_request_that_is_answered_at_once_clears_the_target(tmp_path):
    """A change that the target can never bear is not an outage, however fast the target is."""
    target = Target(Behaviour(poisonous_users=frozenset({3, 4})))
    report = play(tmp_path, target, limits_max_changes=1, retry_max_attempts=2, rate_max_in_flight=1).apply(ADDS[:5])
    assert (report.stopped, report.exit_code) == (None, 3)
    assert (report.changes[Status.APPLIED], report.changes[Status.UNKNOWN]) == (3, 2)
    assert "GET" in {method for _, method, _ in target.sends}


def test_what_was_answered_before_a_stop_is_on_disk_however_slow_that_is(tmp_path):
    target = Target(Behaviour(latency_seconds=1.0, jitter_seconds=2.0, seed=1))
    run = play(tmp_path, target, limits_max_changes=10, rate_max_in_flight=4)
    run.work_seconds = 4.0
    seen = []
    run.observer = Observer(
        started=seen.append, delivered=lambda *_: seen[0].shutdown.stop(Cause.INTERRUPT, "SIGINT was received")
    )
    report = run.apply(ADDS)
    assert report.stopped is Cause.INTERRUPT
    assert report.changes[Status.APPLIED] == len(target.members()) > 0
