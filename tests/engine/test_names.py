"""Names are looked up before anything is coalesced: with few requests, and never by guessing."""

from __future__ import annotations

import io
import random
import shutil
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import orjson
import pytest
from harness import EPOCH, Play, Target, context_of, settings_for
from hypothesis import given
from hypothesis import strategies as st
from processes import Process, Watched, dead_processes_do_not_write
from told import is_begun

from batcher.core.clock import Clock
from batcher.core.http import Response
from batcher.core.rate import Rate
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import apply
from batcher.engine.run.observers import Observer
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.ledger.results import write_results
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits, Stage
from batcher.simulator.scim_directory import id_of
from batcher.simulator.virtual_time import run_virtual

NOBODY = frozenset({"nobody@example.org", "nowhere"})


def user(number):
    return f"user{number}@example.org"


def group(number):
    return f"group {number}"


def written(folder, rows, name="changes.csv", header="op,user_name,group_name"):
    path = folder / name
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def play(folder, traits=None, *, bad=NOBODY, target=None, **settings):
    behaviour = Behaviour(bad_users=bad, bad_groups=bad, scim=traits or ScimTraits(population=30, page=10))
    return Play(folder, target or Target(behaviour), settings_for("scim", **settings))


def asked(target):
    """How many requests of each method there were; what the service announces is asked for once."""
    return Counter(method for _, method, _ in target.sends) - Counter(GET=1)


def expected(rows):
    """The sequential model: names are ids in another spelling, the last change of each pair decides."""
    wishes = {}
    for op, who, where in rows:
        if who.lower() not in NOBODY and where not in NOBODY:
            wishes[id_of("Users", who.lower()), id_of("Groups", where)] = op
    return {pair for pair, op in wishes.items() if op == "add"}


def results(play):
    out = io.BytesIO()
    with LedgerReader(play.ledger) as reader:
        write_results(reader, out, "csv", [])
    lines = [line.split(",") for line in out.getvalue().decode().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


TRAITS = {
    "as the RFC says": ScimTraits(population=30, page=10),
    "all on one page": ScimTraits(population=30, page=100),
    "filters are ignored": ScimTraits(population=30, page=10, ignores_filters=True),
    "filters find nothing": ScimTraits(population=30, page=10, finds_nothing=True),
    "pages repeat": ScimTraits(population=30, page=10, repeats_first_page=True),
    "pages are cut": ScimTraits(population=30, page=10, cuts_pages=True),
    "large pages are refused": ScimTraits(population=30, page=10, refuses_more=True),
    "any count breaks it": ScimTraits(population=30, page=10, breaks_on_count=True),
    "filters compare case": ScimTraits(population=30, page=10, compares_case=True),
    "pages have cursors": ScimTraits(population=30, page=10, pages_by="cursor"),
    "cursors come first": ScimTraits(population=30, page=10, pages_by="both", refuses_more=True),
    "cursors are not announced": ScimTraits(population=30, page=10, pages_by="cursor", is_silent=True),
    "nobody counts": ScimTraits(population=30, page=10, pages_by="cursor", omits_total=True, ignores_filters=True),
    "pages are empty": ScimTraits(population=30, page=10, pages_by="cursor", has_empty_pages=True, finds_nothing=True),
    "the cursor repeats": ScimTraits(population=30, page=10, pages_by="cursor", repeats_cursor=True),
}
_NAMES = st.sampled_from([user(1), user(2), "USER2@example.org", user(29), user(30), "nobody@example.org"])
_ROWS = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), _NAMES, st.sampled_from([group(1), group(17), "nowhere"])),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("trait", TRAITS)
@given(_ROWS)
def test_whatever_the_service_is_like_the_last_word_wins(tmp_path_factory, trait, rows):
    folder = tmp_path_factory.mktemp("names")
    run = play(folder, TRAITS[trait])
    report = run.apply_files(written(folder, rows))
    assert run.target.members() == expected(rows)
    rejected = [who.lower() in NOBODY or where in NOBODY for _, who, where in rows]
    assert [status == "rejected" for _, status in run.statuses()] == rejected
    assert report.exit_code == (3 if any(rejected) else 0)


@pytest.mark.parametrize(
    "traits",
    [
        ScimTraits(population=30, page=10, repeats_first_page=True, finds_nothing=True),
        ScimTraits(population=30, page=10, cuts_pages=True, ignores_filters=True),
        ScimTraits(population=30, page=10, pages_by="cursor", repeats_cursor=True, finds_nothing=True),
        ScimTraits(
            population=30, page=10, pages_by="cursor", repeats_cursor=True, omits_total=True, ignores_filters=True
        ),
        ScimTraits(population=30, page=10, pages_by="cursor", cuts_pages=True, ignores_filters=True),
    ],
)
@pytest.mark.parametrize("name", [user(2), user(25), "nobody@example.org"])
def test_what_cannot_be_established_stops_the_run_before_anything_is_sent(tmp_path, traits, name):
    run = play(tmp_path, traits)
    report = run.apply_files(written(tmp_path, [("add", name, group(1))]))
    assert (report.stopped, report.exit_code) == (Cause.UNREADABLE, 6)
    assert not run.target.members()
    assert report.changes[Status.REJECTED] == 0


def test_two_names_of_one_user_are_one(tmp_path):
    """And an id beside a name, too."""
    run = play(tmp_path)
    known = id_of("Users", user(1))
    rows = [
        ("add", "", user(1), group(1)),
        ("remove", "", "User1@Example.org", group(1)),
        ("add", known, "", group(1)),
    ]
    report = run.apply_files(written(tmp_path, rows, header="op,user_id,user_name,group_name"))
    assert report.exit_code == 0
    assert [status for _, status in run.statuses()] == ["superseded", "superseded", "applied"]
    assert run.target.members() == {(known, id_of("Groups", group(1)))}


def test_an_id_is_no_name(tmp_path):
    """The same text under a key for ids and under one for names."""
    run = play(tmp_path)
    path = tmp_path / "changes.jsonl"
    path.write_text(
        f'{{"op":"add","user_id":"{user(1)}","group_id":"g"}}\n{{"op":"add","user_name":"{user(1)}","group_id":"g"}}\n'
    )
    assert run.apply_files(path).exit_code == 0
    assert run.target.members() == {(user(1), "g"), (id_of("Users", user(1)), "g")}


def test_ambiguous_names_are_rejected_even_if_only_one_is_on_the_first_page(tmp_path):
    traits = ScimTraits(population=30, page=10, ambiguous=frozenset({group(2)}))
    for count in (1, 8):
        folder = tmp_path / str(count)
        folder.mkdir()
        run = play(folder, traits)
        rows = [("add", user(number), group(number)) for number in range(2, 2 + count)]
        assert run.apply_files(written(folder, rows)).exit_code == 3
        assert [status for _, status in run.statuses()] == ["rejected"] + ["applied"] * (count - 1)
        assert "ambiguous" in results(run)[0]["detail"]


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (2, 2), (3, 3), (4, 3), (30, 3)])
def test_it_takes_the_fewer_requests(tmp_path, count, requests):
    """Three pages, or one request for each name; from three names on it looks how many there are."""
    run = play(tmp_path)
    rows = [("add", user(number), "g") for number in range(1, count + 1)]
    run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    assert asked(run.target)["GET"] == requests
    assert len(run.target.members()) == count


@pytest.mark.parametrize("pages_by", ["index", "cursor"])
def test_twenty_thousand_names_at_a_service_of_fifteen_thousand_users(tmp_path, pages_by):
    """The goal: at most 20 requests."""
    run = play(tmp_path, ScimTraits(population=15_000, page=1000, pages_by=pages_by))
    rows = [("add", user(number), "g") for number in range(1, 20_001)]
    report = run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    assert report.changes[Status.APPLIED] == 15_000
    assert report.changes[Status.REJECTED] == 5_000
    assert asked(run.target)["GET"] <= 20


def test_a_list_whose_cursor_has_expired_is_begun_again(tmp_path):
    """While the target was away."""
    traits = ScimTraits(population=300, page=10, pages_by="cursor", cursor_seconds=10.0, ignores_filters=True)
    there = Behaviour(scim=traits, bad_users=NOBODY)
    away = Stage(replace(there, is_away=True), after_requests=12)
    target = Target(there, stages=[away, Stage(there, after_seconds=30.0)])
    run = play(tmp_path, target=target)
    rows = [("add", user(number), "g") for number in range(1, 40)]
    assert run.apply_files(written(tmp_path, rows, header="op,user_name,group_id")).exit_code == 0
    assert len(target.members()) == 39
    assert asked(target)["GET"] > 30


def test_cursors_that_expire_before_the_next_request_end_the_run(tmp_path):
    traits = ScimTraits(population=300, page=10, pages_by="cursor", cursor_seconds=5.0, ignores_filters=True)
    run = play(tmp_path, traits, rate_requests="6/min", rate_margin=0.0, rate_burst=1)
    report = run.apply_files(written(tmp_path, [("add", user(number), "g") for number in range(1, 40)],
                                     header="op,user_name,group_id"))  # fmt: skip
    assert (report.stopped, report.exit_code) == (Cause.UNREADABLE, 6)
    assert "expired" in report.reason
    assert not run.target.members()


@pytest.mark.parametrize("profile", ["aws", "entra"])
def test_a_profile_knows_that_pages_have_cursors(tmp_path, profile):
    traits = ScimTraits(population=30, page=10, pages_by="cursor", is_silent=True)
    run = play(tmp_path, traits, target_profile=profile)
    rows = [("add", user(number), "g") for number in range(1, 31)]
    run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    assert len(run.target.members()) == 30
    assert asked(run.target)["GET"] == 3


def test_the_next_run_knows_them_for_a_while(tmp_path):
    state = tmp_path / "state"
    run = play(tmp_path)
    run.state = state
    rows = [("add", user(number), group(1)) for number in range(1, 9)]
    path = written(tmp_path, rows)
    run.apply_files(path)
    for name, seconds, more in (("young", 6 * 86_400, False), ("old", 8 * 86_400, True)):
        later = Play(tmp_path / name, run.target, run.settings, state=state, seconds=seconds)
        later.folder.mkdir()
        before = asked(run.target)["GET"] + 1  # what the service announces is asked for again
        assert later.apply_files(path).exit_code == 0
        assert (asked(run.target)["GET"] > before) == more


def test_a_run_never_changes_its_mind(tmp_path):
    """After an interruption, a name means who it meant, although somebody else has it by then."""
    rows = [("add", user(number % 5 + 1), group(number)) for number in range(1, 31)]
    whole = play(tmp_path, rate_requests="1/s", rate_margin=0.0)
    whole.window_rows, whole.stop_at = 10, 9.0
    whole.stop = lambda shutdown: shutdown.stop(Cause.INTERRUPT, "")
    paths = [written(tmp_path, rows[start : start + 10], f"{start}.csv") for start in (0, 10, 20)]
    assert whole.apply_files(*paths).exit_code == 130
    moved = replace(whole.target.world._behaviour, scim=ScimTraits(population=30, page=10, generation=1))
    whole.target.world.behave(moved)
    whole.stop_at = None
    assert whole.resume().exit_code == 0
    users = Counter(who for who, _ in whole.target.members())
    assert set(users) == {id_of("Users", user(number)) for number in range(1, 6)}


def test_a_name_that_nobody_has_is_asked_for_once(tmp_path):
    """Also if it is in every window, and each name is asked for alone; and so is one that several have."""
    run = play(tmp_path, ScimTraits(population=300, page=2, ambiguous=frozenset({user(9)})))
    run.window_rows = 2
    rows = [("add", who, group(1)) for _ in range(10) for who in ("nobody@example.org", user(9))]
    report = run.apply_files(written(tmp_path, rows, header="op,user_name,group_name"))
    assert report.changes[Status.REJECTED] == 20
    assert asked(run.target)["GET"] <= 4  # each name, and what shows that filters work
    assert {row["detail"].partition(":")[0] for row in results(run)} == {
        "user userName 'nobody@example.org' was not found",
        f"user userName '{user(9)}' is ambiguous",
    }


def test_trouble_while_looking_up_is_borne(tmp_path):
    faults = tuple(Fault(kind, 0.1) for kind in ("503", "429", "drop-before", "drop-after", "truncated"))
    for seed in range(8):
        folder = tmp_path / str(seed)
        folder.mkdir()
        behaviour = Behaviour(faults=faults, seed=seed, bad_users=NOBODY, scim=ScimTraits(population=300, page=20))
        run = play(folder, target=Target(behaviour))
        rows = [("add", user(number), group(number % 7 + 1)) for number in range(1, 40)]
        assert run.apply_files(written(folder, rows)).exit_code == 0
        assert run.target.members() == expected(rows)


@pytest.mark.parametrize(("seconds", "is_borne"), [(600.0, True), (2_000.0, False)])
@pytest.mark.parametrize("count", [2, 20])
def test_an_outage_while_names_are_looked_up_is_waited_for(tmp_path, seconds, is_borne, count):
    """As long as for any request: `retry.max_wait`. Names that are asked for one by one, and a list."""
    there = Behaviour(scim=ScimTraits(population=300, page=100), bad_users=NOBODY)
    away = replace(there, faults=(Fault("503", 1.0),))
    run = play(tmp_path, target=Target(away, stages=[Stage(there, after_seconds=seconds)]))
    rows = [("add", user(number), "g") for number in range(1, 1 + count)]
    report = run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    assert report.exit_code == (0 if is_borne else 6)
    assert len(run.target.members()) == (count if is_borne else 0)
    assert run.seconds < 600 + 120 if is_borne else 900 <= run.seconds < 900 + 120


def test_a_name_that_cannot_be_asked_for_is_found_in_the_list(tmp_path):
    """The target answers all others, so it is not away; if it cannot be listed either, the name is told."""
    rows = [("add", user(number), "g") for number in range(1, 20)]
    for name, cut, code in (("listed", False, 0), ("not", True, 6)):
        (tmp_path / name).mkdir()
        traits = ScimTraits(population=300, page=10, breaks_on_name=user(7), repeats_first_page=cut)
        run = play(tmp_path / name, traits)
        report = run.apply_files(written(tmp_path / name, rows, header="op,user_name,group_id"))
        assert report.exit_code == code
        assert len(run.target.members()) == (0 if cut else 19)
        assert run.seconds < 200


def test_a_login_that_is_to_be_tried_again_is(tmp_path):
    """A token ends while names are looked up, and the target is too busy for a new login at first."""
    behaviour = Behaviour(
        client_id="me", client_secret="secret", token_uses=3, limits=(Rate(2, 1.0),), bad_users=NOBODY,
        scim=ScimTraits(population=300, page=2),
    )  # fmt: skip
    run = play(tmp_path, target=Target(behaviour), rate_requests="none")
    run.credentials = Credentials(
        client_id="me", client_secret="secret", token_url="http://127.0.0.1:1/oauth2/token", scope="scim"
    )
    rows = [("add", user(number), "g") for number in range(1, 20)]
    assert run.apply_files(written(tmp_path, rows, header="op,user_name,group_id")).exit_code == 0
    assert len(run.target.members()) == 19


def test_lookups_keep_to_the_rate(tmp_path):
    run = play(tmp_path, ScimTraits(population=300, page=10), rate_requests="2/s")
    rows = [("add", user(number), "g") for number in range(1, 200, 9)]
    run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    times = [at for at, _, _ in run.target.sends]
    assert all(later - sooner >= 1.0 for sooner, later in zip(times, times[2:], strict=False))


def test_a_refused_token_stops_the_run(tmp_path):
    run = play(tmp_path, target=Target(Behaviour(token="another", scim=ScimTraits(population=30))))
    report = run.apply_files(written(tmp_path, [("add", user(1), group(1))]))
    assert (report.stopped, report.exit_code) == (Cause.CREDENTIALS, 4)
    assert report.changes[Status.REJECTED] == 0


def test_external_ids_are_compared_with_case(tmp_path):
    run = play(tmp_path, target_names_of_users="externalId")
    rows = [("add", f"ext-{user(1)}", "g"), ("add", f"EXT-{user(1)}", "g")]
    run.apply_files(written(tmp_path, rows, header="op,user_name,group_id"))
    assert [status for _, status in run.statuses()] == ["applied", "rejected"]


def test_the_ledger_has_both_the_name_and_the_id(tmp_path):
    run = play(tmp_path)
    run.apply_files(written(tmp_path, [("add", user(1), group(1)), ("add", "nobody@example.org", group(1))]))
    first, second = results(run)
    assert (first["user_id"], first["given_user"]) == (id_of("Users", user(1)), user(1))
    assert (first["group_id"], first["given_group"]) == (id_of("Groups", group(1)), group(1))
    assert (second["user_id"], second["given_user"], second["status"]) == ("", "nobody@example.org", "rejected")
    assert list(first)[:3] == ["op", "user_id", "group_id"]
    assert run.statuses()[0] == (2, "applied")


@pytest.mark.parametrize("fatal", range(78, 128))
def test_who_is_killed_resolves_nobody_differently_afterwards(tmp_path, fatal):
    """Killed at one of fifty events; when it is continued, the service has given every name to somebody else.

    A name that the ledger knows means who it meant; one that it does not know was not used before.
    """
    rows = [("add", user(number % 7 + 1), group(number % 3 + 1 + number // 30)) for number in range(60)]
    target = Target(Behaviour(scim=ScimTraits(population=30, page=10), latency_seconds=0.1))
    run = play(tmp_path / "work", target=target, rate_requests="20/s")
    run.folder.mkdir()
    run.window_rows = 20
    paths = [written(run.folder, rows[start : start + 20], f"{start}.csv") for start in (0, 20, 40)]
    process = Process(random.Random(fatal), run.folder, fatal, 0.0)

    @asynccontextmanager
    async def transport(_):
        yield Watched(target, process)

    async def begin():
        clock = Clock(anyio.current_time, lambda: EPOCH + anyio.current_time(), anyio.current_time, "a-boot")
        world = Runtime(clock, lambda: 0.5, process.executor, transport, tmp_path / "state")
        context = context_of(run, world, Shutdown(), Observer(), 20)
        await process.carry_out(lambda: apply(paths, context))

    with dead_processes_do_not_write():
        run_virtual(begin)
    if not run.ledger.exists() or not is_begun(run.ledger):
        return
    known = {row["given_user"]: row["user_id"] for row in results(run)}
    moved = replace(target.world._behaviour, scim=ScimTraits(population=30, page=10, generation=1))
    target.world.behave(moved)
    shutil.rmtree(tmp_path / "state", ignore_errors=True)  # even if nothing is kept beside the ledger
    run.seconds = 1000.0
    assert run.resume().exit_code == 0
    after = results(run)
    assert all(row["user_id"] == known.get(row["given_user"], row["user_id"]) for row in after)
    assert len({(row["given_user"], row["user_id"]) for row in after}) == len({row["given_user"] for row in after})


def test_an_id_that_was_refused_is_looked_up_again_by_the_next_run(tmp_path):
    """Somebody was deleted and made anew: the id that is kept is nobody's any more."""
    run = play(tmp_path / "first")
    run.folder.mkdir()
    run.state = tmp_path / "state"
    rows = [("add", user(1), group(1)), ("add", user(2), group(1))]
    path = written(tmp_path, rows)
    run.apply_files(path)
    gone = frozenset({id_of("Users", user(1))})
    run.target.world.behave(Behaviour(bad_users=gone, scim=ScimTraits(population=30, page=10, generation=1)))
    for name, exit_code in (("second", 3), ("third", 0)):
        later = Play(tmp_path / name, run.target, run.settings, state=run.state, seconds=100.0)
        later.folder.mkdir()
        assert later.apply_files(path).exit_code == exit_code
    assert id_of("Users", user(1), 1) in {who for who, _ in run.target.members()}


def test_whoever_is_asked_to_stop_while_names_are_looked_up_stops(tmp_path):
    """Several names are being asked for at that moment."""
    for number in range(1, 12):
        run = play(tmp_path / str(number), target=Target(Behaviour(latency_seconds=1.0)))
        run.folder.mkdir()
        run.stop_at, run.stop = number / 2, lambda shutdown: shutdown.stop(Cause.INTERRUPT, "")
        rows = [("add", user(one), group(one)) for one in range(60)]
        assert run.apply_files(written(run.folder, rows)).exit_code == 130
        run.stop_at = None
        assert run.resume().exit_code == 0
        assert run.target.members() == expected(rows)


@pytest.mark.parametrize(("name", "is_found"), [("STRASSE@example.org", True), ("straße@example.org", False)])
def test_who_is_written_differently_is_somebody_else(tmp_path, name, is_found):
    def answer(_, request):
        if "Users" in request.url:
            entry = {"id": "the-id", "userName": "strasse@example.org"}
            return Response(200, {}, orjson.dumps({"totalResults": 1, "Resources": [entry]}))
        return None

    run = play(tmp_path, target=Target(answer=answer))
    run.apply_files(written(tmp_path, [("add", name, "g")], header="op,user_name,group_id"))
    assert [status for _, status in run.statuses()] == ["applied" if is_found else "rejected"]
