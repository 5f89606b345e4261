"""Every command with a target whose ids are texts and whose names are looked up."""

from __future__ import annotations

import csv
import io
import json

import pytest
from shell import state_of

from batcher.simulator.scim_directory import id_of

TOKEN = {"BATCHER_TOKEN": "a-token"}
NAMES = "op,user_name,group_name\nadd,bob,Sales\nadd,Bob,Sales\nremove,eve,Ops\nadd,eve,Sales\n"


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_names_from_input_to_results_and_back(shell):
    shell.write("changes.csv", NAMES)
    with shell.simulator() as url:
        where = ("--target", "scim", "--url", url, "--rate", "none")
        planned = shell.run("plan", "changes.csv", *where, **TOKEN)
        assert b"up to 3 names of users (0 of them known) and 2 names of groups (0 of them known)" in planned.stderr
        applied = shell.run("apply", "changes.csv", *where, "--ledger", "a.ledger", "-v", **TOKEN)
        assert applied.returncode == 0, applied.stderr
        assert b"looked up 2 of 2 names of users with 2 requests" in applied.stderr
        planned = shell.run("plan", "changes.csv", *where, **TOKEN)
        assert b"up to 3 names of users (3 of them known) and 2 names of groups (2 of them known)" in planned.stderr
        results = shell.run("results", "a.ledger").stdout
        first = rows(results)[0]
        assert (first["user_id"], first["given_user"]) == (id_of("Users", "bob"), "bob")
        assert [row["status"] for row in rows(results)] == ["superseded", "applied", "applied", "applied"]
        told = shell.run("explain", "a.ledger", "bob", "Sales")
        assert b"superseded" in told.stdout
        told = shell.run("explain", "a.ledger", first["user_id"], first["group_id"])
        assert told.stdout.count(b"line ") >= 2
        shell.write("again.csv", results.decode())
        again = shell.run("apply", "again.csv", *where, "--ledger", "b.ledger", "--json", **TOKEN)
        assert json.loads(again.stdout)["changes"]["applied"] == 3
        state = state_of(url)
        assert state["groups"] == {
            id_of("Groups", "Sales"): sorted([id_of("Users", "bob"), id_of("Users", "eve")]),
        }
        assert shell.run("verify", "a.ledger").returncode == 0


def test_a_sync_of_ids_and_its_undoing(shell):
    """Ids that are all digits stay texts."""
    with shell.simulator() as url:
        where = ("--target", "scim", "--url", url, "--rate", "none", "--state", "s.state")
        shell.write("feed.csv", "user_id,group_id\n007,g1\nb-2,g1\n7,2\n")
        first = shell.run("sync", "feed.csv", *where, "--bootstrap", "--from-nothing", "--ledger", "1", **TOKEN)
        assert first.returncode == 0, first.stderr
        assert state_of(url)["groups"] == {"2": ["7"], "g1": ["007", "b-2"]}
        shell.write("feed.csv", "user_id,group_id\n007,g1\nc-3,g1\n7,2\n")
        second = shell.run("sync", "feed.csv", *where, "--ledger", "2", "--max-group-share", "100%",
                           "--max-removal-share", "100%", **TOKEN)  # fmt: skip
        assert second.returncode == 0, second.stderr
        assert state_of(url)["groups"] == {"2": ["7"], "g1": ["007", "c-3"]}
        undone = shell.run("undo", "2", *where[:4], *where[6:], "-o", "undo.json", **TOKEN)
        assert undone.returncode == 0, undone.stderr
        applied = shell.run("apply", "--plan", "undo.json", *where[:6], "--ledger", "4", **TOKEN)
        assert applied.returncode == 0, applied.stderr
        assert state_of(url)["groups"] == {"2": ["7"], "g1": ["007", "b-2"]}


def members(url):
    return {(user, group) for group, users in state_of(url)["groups"].items() for user in users}


def ids(*pairs):
    return {(id_of("Users", user), id_of("Groups", group)) for user, group in pairs}


def test_nights_of_names(shell):
    """A feed of names is compared by ids; who is not found holds back removals, as an unreadable line does."""
    shell.write("one.toml", "bad_users = ['eve']")
    with shell.simulator("--scenario", "one.toml") as url:
        where = ("--target", "scim", "--url", url, "--state", "s.state", "--max-removal-share", "100%",
                 "--max-group-share", "100%", "--max-shrink", "none")  # fmt: skip
        shell.write("feed.csv", "user_name,group_name\nAlice,Sales\nbob,Sales\nbob,Ops\n")
        first = shell.run("sync", "feed.csv", *where, "--rate", "none", "--bootstrap", "--from-nothing",
                          "--ledger", "1", **TOKEN)  # fmt: skip
        assert first.returncode == 0, first.stderr
        assert members(url) == ids(("alice", "Sales"), ("bob", "Sales"), ("bob", "Ops"))
        shell.write("feed.csv", "user_name,group_name\nALICE,Sales\neve,Sales\n")
        second = shell.run("sync", "feed.csv", *where, "--rate", "none", "--ledger", "2", **TOKEN)
        assert b"userName 'eve' was not found" in second.stderr
        assert members(url) == ids(("alice", "Sales"), ("bob", "Sales"), ("bob", "Ops"))
        shell.write("feed.csv", "user_name,group_name\nALICE,Sales\nalice,Sales\n")
        planned = shell.run("plan", "feed.csv", *where, **TOKEN)
        assert b"0 add, 2 remove" in planned.stdout, planned
        third = shell.run("sync", "feed.csv", *where, "--rate", "none", "--ledger", "3", **TOKEN)
        assert third.returncode == 0, third.stderr
        assert members(url) == ids(("alice", "Sales"))
        snapshot = shell.run("sync", "feed.csv", *where[:4], *where[6:], "--rate", "none", "--current", "feed.csv",
                             "--ledger", "4", **TOKEN)  # fmt: skip
        assert snapshot.returncode == 0, snapshot.stderr
        assert b"nothing to change" in snapshot.stdout
        shell.write("now.csv", "user_name,group_name\neve,Sales\nalice,Sales\n")
        refused = shell.run("sync", "feed.csv", *where[:4], *where[6:], "--rate", "none", "--current", "now.csv",
                            "--ledger", "5", **TOKEN)  # fmt: skip
        assert refused.returncode == 2, "without this line, who is a member is not known"
        assert b"now.csv, line 2: user userName 'eve' was not found" in refused.stderr


BOB, OPS = "user7@example.org", "group 3"
"""Two of those whom the simulator lists."""


@pytest.mark.parametrize(
    ("columns", "row", "protected"),
    [
        ("user_name,group_name", "USER7@example.org,group 3", ("users", BOB)),
        ("user_name,group_name", f"{BOB},{OPS}", ("users", id_of("Users", BOB))),
        ("user_name,group_name", f"{BOB},{OPS}", ("users", id_of("Users", BOB)[:30] + "*")),
        ("user_name,group_name", f"{BOB},{OPS}", ("groups", id_of("Groups", OPS))),
        ("user_id,group_name", f"{id_of('Users', BOB)},{OPS}", ("users", BOB.title())),
        ("user_id,group_name", f"{id_of('Users', BOB)},{OPS}", ("users", "user7@*")),
        ("user_name,group_id", f"{BOB},{id_of('Groups', OPS)}", ("groups", "?roup 3")),
    ],
)
def test_what_is_protected_may_be_called_by_name_or_id(shell, columns, row, protected):
    """Whichever the file has; also in a plan that asks the target, and when a run is undone."""
    shell.write("c.csv", f"op,{columns}\nadd,{row}\n")
    shell.write(
        "others.csv", "op,user_name,group_name\nadd,user1@example.org,group 1\nadd,user70@example.org,group 2\n"
    )
    shell.write("p.toml", f"[guard]\nprotected_{protected[0]} = ['{protected[1]}']\n")
    shell.write("many.toml", "[scim]\npopulation = 80\n")
    with shell.simulator("--scenario", "many.toml") as url:
        where = ("--target", "scim", "--url", url)
        rate = ("--rate", "none")
        assert shell.run("apply", "others.csv", *where, *rate, "-c", "p.toml", "--ledger", "0", **TOKEN).returncode == 0
        before = members(url)
        refused = shell.run("apply", "c.csv", *where, *rate, "-c", "p.toml", "--ledger", "1", **TOKEN)
        assert refused.returncode == 5, refused
        assert members(url) == before
        assert shell.run("plan", "c.csv", *where, *rate, "-c", "p.toml", "--resolve", **TOKEN).returncode == 5
        assert shell.run("apply", "c.csv", *where, *rate, "--ledger", "2", **TOKEN).returncode == 0
        after = members(url)
        assert after == before | ids((BOB, OPS))
        assert shell.run("undo", "2", *where, "-c", "p.toml", "-o", "u.json", **TOKEN).returncode == 0
        refused = shell.run("apply", "--plan", "u.json", *where, *rate, "-c", "p.toml", "--ledger", "3", **TOKEN)
        assert refused.returncode == 5, refused
        assert members(url) == after


def test_a_plan_that_asks_the_target(shell):
    """It tells who has no id, and what asking took; and what it has found the run knows."""
    shell.write("one.toml", "bad_users = ['eve']")
    shell.write("c.csv", "op,user_name,group_name\nadd,Alice,Sales\nadd,alice,Sales\nadd,eve,Sales\nadd,bob,Sales\n")
    with shell.simulator("--scenario", "one.toml") as url:
        where = ("--target", "scim", "--url", url, "--rate", "none")
        unasked = json.loads(shell.run("plan", "c.csv", *where, "--json", **TOKEN).stdout)
        assert state_of(url)["requests"] == 0
        assert unasked["changes"]["rejected"] == 0
        assert unasked["lookups"]["user"] == {"names": 4, "known": 0}
        asked = json.loads(shell.run("plan", "c.csv", *where, "--json", "--resolve", **TOKEN).stdout)
        requests = asked["lookups"]["user"]["requests"] + asked["lookups"]["group"]["requests"]
        assert state_of(url)["requests"] == requests
        assert asked["changes"] == {
            "total": 4, "add": 3, "remove": 0, "rejected": 1, "superseded": 1, "to_send": 2,
        }  # fmt: skip
        assert asked["requests"] == 1
        assert asked["groups"] == [{"group": "Sales", "changes": 2}]
        user = {name: asked["lookups"]["user"][name] for name in ("names", "known", "found", "refused")}
        assert user == {"names": 3, "known": 0, "found": 2, "refused": 1}
        protecting = shell.run("plan", "c.csv", *where, "--protect-user", "boss", **TOKEN)
        assert b"of protected users and groups only names that were looked up lately are known" in protecting.stderr
        told = shell.run("plan", "c.csv", *where, "--resolve", **TOKEN)
        assert b"names of users: 2 of 3 were known, 0 were found, 1 nobody or several have" in told.stderr
        assert state_of(url)["groups"] == {}
        for options, why in ((("--simulate",), b"there is none to ask"), ((), b"no credentials")):
            refused = shell.run("plan", "c.csv", *(where if not options else where[:2]), *options, "--resolve")
            assert refused.returncode == 2
            assert why in refused.stderr


@pytest.mark.parametrize("loop", [("--closed", "--requests", "20"), ("--arrivals", "20/s", "--duration", "1s")])
def test_a_load_run_and_its_clean_up(shell, loop):
    with shell.simulator() as url:
        done = shell.run("load", "--target", "scim", "--url", url, *loop, "--clean-up", "--ledger", "l", "--json",
                         "--users", "50", "--groups", "5", **TOKEN)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["accepted"] > 0
        assert state_of(url)["groups"] == {}


def test_a_check_and_a_profile(shell):
    with shell.simulator("--token", "right") as url:
        where = ("--target", "scim", "--url", url)
        assert shell.run("check", *where, BATCHER_TOKEN="right").returncode == 0
        assert shell.run("check", *where, BATCHER_TOKEN="wrong").returncode == 4
        shell.write("c.toml", '[target]\nprofile = "awss"\n')
        refused = shell.run("check", *where, "-c", "c.toml", BATCHER_TOKEN="right")
        assert refused.returncode == 2
        assert b"unknown target.profile 'awss'; known are" in refused.stderr


def test_the_embedded_server_knows_any_name(shell):
    shell.write("many.csv", "op,user_name,group_name\n" + "".join(f"add,person {n},team {n}\n" for n in range(40)))
    done = shell.run("apply", "many.csv", "--target", "scim", "--simulate", "--json", "--ledger", "l")
    assert json.loads(done.stdout)["changes"]["applied"] == 40


@pytest.mark.parametrize("pattern", ["bob", "B?b", "b*"])
def test_protected_users_and_scopes_may_be_names(shell, pattern):
    """Who is to be removed is an id in the state; whoever wrote the configuration knows a name."""
    with shell.simulator() as url:
        where = ("--target", "scim", "--url", url, "--rate", "none", "--state", "s.state", "--max-removal-share",
                 "100%", "--max-group-share", "100%", "--max-shrink", "none")  # fmt: skip
        shell.write("feed.csv", "user_name,group_name\nalice,Sales\nbob,Sales\n")
        shell.run("sync", "feed.csv", *where, "--bootstrap", "--from-nothing", "--ledger", "1", **TOKEN)
        shell.write("feed.csv", "user_name,group_name\nalice,Sales\n")
        if pattern == "bob":
            refused = shell.run("sync", "feed.csv", *where, "--ledger", "2", "--protect-user", pattern, **TOKEN)
            assert refused.returncode == 5, refused
            assert members(url) == ids(("alice", "Sales"), ("bob", "Sales"))
        planned = shell.run("plan", "feed.csv", *where[:4], *where[6:], "--protect-user", pattern, **TOKEN)
        assert planned.returncode == 5, planned
        outside = shell.run("sync", "feed.csv", *where, "--ledger", "3", "--master-group", "Ops", **TOKEN)
        assert outside.returncode == 0, outside
        assert members(url) == ids(("alice", "Sales"), ("bob", "Sales"))
        inside = shell.run("sync", "feed.csv", *where, "--ledger", "4", "--master-group", "Sales", **TOKEN)
        assert inside.returncode == 0, inside
        assert members(url) == ids(("alice", "Sales"))


def test_a_ledger_is_verified_against_the_target(shell):
    """What others changed since is listed with its line, and the exit code is 8."""
    shell.write("one.toml", "[scim]\ndrops_unknown = true\n")
    rows = "".join(f"add,user{number},group {number % 3}\n" for number in range(9))
    shell.write("c.csv", "op,user_id,group_id\n" + rows + "remove,gone,group 0\n")
    with shell.simulator("--scenario", "one.toml") as url:
        where = ("--target", "scim", "--url", url, "--rate", "none")
        assert shell.run("apply", "c.csv", *where, "--ledger", "l", **TOKEN).returncode == 0
        fine = shell.run("verify", "l", "--against-target", **TOKEN)
        assert fine.returncode == 0, fine
        assert b"3 of 3 groups were read with 3 requests, about 10 pairs: all of these pairs are so" in fine.stdout
        shell.write("others.csv", "op,user_id,group_id\nremove,user4,group 1\nadd,gone,group 0\nadd,new,group 2\n")
        assert shell.run("apply", "others.csv", *where, "--ledger", "o", **TOKEN).returncode == 0
        wrong = shell.run("verify", "l", "--against-target", "-o", "all.csv", **TOKEN)
        assert wrong.returncode == 8, wrong
        told = wrong.stdout.decode()
        assert "8 of these pairs are so\n1 missing, 1 unexpected, 0 ambiguous\n" in told
        assert "missing: user user4 in group group 1 was added, and is not there (c.csv, line 6)" in told
        assert "unexpected: user gone in group group 0 was removed, and is there (c.csv, line 11)" in told
        assert shell.read("all.csv").count(b"\n") == 3
        sample = json.loads(shell.run("verify", "l", "--against-target", "--sample", "34%", "--json", **TOKEN).stdout)
        assert sample["target"]["groups_read"] == 2
        assert sample["target"]["groups_with_differences_at_most"] >= 1
        for options, why in (
            (("--sample", "5%"), b"for --against-target"),
            (("--against-target", "--sample", "0%"), b"more than 0"),
            (("--against-target", "--sample", "x"), b"x"),
        ):
            refused = shell.run("verify", "l", *options, **TOKEN)
            assert refused.returncode == 2, refused
            assert why in refused.stderr
        assert shell.run("verify", "l", "--against-target", BATCHER_TOKEN="").returncode == 2
    gone = shell.run("verify", "l", "--against-target", **TOKEN)
    assert gone.returncode == 6, gone
    assert b"scim cannot be read" in gone.stderr


def test_a_simulated_run_is_verified_against_its_own_server(shell):
    shell.write("c.csv", "op,user_id,group_id\nadd,1,2\nremove,3,2\n")
    for kind, options in (("minapp", ("-c", "readable.toml")), ("scim", ())):
        shell.write("readable.toml", "[target]\nreadable = true\n")
        done = shell.run("apply", "c.csv", "--target", kind, "--simulate", "--ledger", kind, *options)
        assert done.returncode == 0, done
        verified = shell.run("verify", kind, "--against-target")
        assert verified.returncode == 0, verified
        assert b"1 of 1 groups" in verified.stdout
    shell.run("apply", "c.csv", "--target", "minapp", "--simulate", "--ledger", "unbelieved")
    refused = shell.run("verify", "unbelieved", "--against-target")
    assert refused.returncode == 2
    assert b"target.readable = true" in refused.stderr


def test_nights_that_are_read_back(shell):
    """A service that drops somebody in silence: the state does not believe it, and the next night tries again."""
    shell.write("drops.toml", "bad_users = ['u3']\n[scim]\ndrops_unknown = true\n")
    shell.write("feed.csv", "user_id,group_id\n" + "".join(f"u{number},g\n" for number in range(8)))
    with shell.simulator("--scenario", "drops.toml") as url:
        where = (
            "--target",
            "scim",
            "--url",
            url,
            "--rate",
            "none",
            "--state",
            "s.state",
            "--max-addition-share",
            "100%",
        )
        options = ("--verify-after", "all", "--json")
        first = shell.run(
            "sync", "feed.csv", *where, *options, "--bootstrap", "--from-nothing", "--ledger", "1", **TOKEN
        )
        assert first.returncode == 3, first
        told = json.loads(first.stdout)
        assert (told["changes"]["applied"], told["changes"]["failed"], told["proof"]["not_so"]) == (7, 1, 1)
        explained = shell.run("explain", "1", "u3", "g").stdout.decode()
        assert "failed: read back: the target does not have it" in explained
        assert "UTC: all 8 changes were read back; 1 were not so" in explained
        assert shell.run("report", "1", "-o", "r.html").returncode == 0
        assert b"all 8 changes were read back" in shell.read("r.html")
        second = shell.run("sync", "feed.csv", *where, *options, "--ledger", "2", **TOKEN)
        assert json.loads(second.stdout)["changes"]["total"] == 1
        assert shell.run("verify", "1").returncode == 0


def test_explain_says_whether_a_group_was_read(shell):
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,u,g{number}\n" for number in range(12)))
    where = ("--target", "scim", "--simulate", "--rate", "none", "--verify-after", "sample")
    assert shell.run("apply", "c.csv", *where, "--ledger", "l").returncode == 0
    told = [shell.run("explain", "l", "u", f"g{number}").stdout.decode().splitlines()[-1] for number in range(12)]
    words = [line.partition(f"  group g{number} ")[2] for number, line in enumerate(told)]
    assert sorted(words) == ["is not known to have been among those read"] * 2 + ["was among those read"] * 10


def test_nights_that_read_the_target(shell):
    """What others have changed is shown by group in a plan, put right by the sync, and taken over by a refresh."""
    shell.write("feed.csv", "user_id,group_id\n" + "".join(f"u{number},g{number % 2}\n" for number in range(8)))
    with shell.simulator() as url:
        where = ("--target", "scim", "--url", url)
        live = (*where, "--state", "s.state", "--current-from-target", "--max-addition-share", "none")
        rate = ("--rate", "none")
        shell.write("early.csv", "op,user_id,group_id\nadd,u0,g0\nadd,u1,g1\nadd,their,own\n")
        assert shell.run("apply", "early.csv", *where, *rate, "--ledger", "0", **TOKEN).returncode == 0
        first = shell.run("sync", "feed.csv", *live, *rate, "--bootstrap", "--ledger", "1", "--json", **TOKEN)
        assert first.returncode == 0, first
        assert json.loads(first.stdout)["changes"]["applied"] == 6
        shell.write("others.csv", "op,user_id,group_id\nremove,u2,g0\nadd,x,g1\nadd,y,g1\nadd,z,own\n")
        assert shell.run("apply", "others.csv", *where, *rate, "--ledger", "o", **TOKEN).returncode == 0
        open_ends = ("--max-removal-share", "none", "--max-group-share", "none")
        planned = shell.run("plan", "feed.csv", *live, *open_ends, **TOKEN)
        assert planned.returncode == 0, planned
        assert b"the target: 2 groups were read with 2 requests" in planned.stdout
        assert b"others have changed since: +2 -1: g1 (+2 -0), g0 (+0 -1)" in planned.stdout
        second = shell.run("sync", "feed.csv", *live, *rate, *open_ends, "--ledger", "2", "--json", **TOKEN)
        told = json.loads(second.stdout)
        assert told["changes"]["applied"] == 3
        assert (told["drift"]["gained"], told["drift"]["lost"], told["drift"]["groups_unread"]) == (2, 1, 0)
        assert told["drift"]["groups"][0] == {"group": "g1", "gained": 2, "lost": 0}
        assert shell.run("report", "2", "-o", "r.html").returncode == 0
        assert b"2 groups were read before; others had changed 2 of them (+2 -1)" in shell.read("r.html")
        assert state_of(url)["groups"] == {
            "g0": ["u0", "u2", "u4", "u6"], "g1": ["u1", "u3", "u5", "u7"], "own": ["their", "z"],
        }  # fmt: skip
        assert shell.run("apply", "others.csv", *where, *rate, "--ledger", "p", **TOKEN).returncode == 0
        refreshed = shell.run("state", "refresh", "s.state", *where, *rate, **TOKEN)
        assert refreshed.returncode == 0, refreshed
        assert b"others have changed since: +2 -1" in refreshed.stdout
        assert b"0 pairs are uncertain" in refreshed.stdout
        again = shell.run("state", "refresh", "s.state", *where, *rate, "--json", **TOKEN)
        assert json.loads(again.stdout)["drift"]["groups"] == []
        known = shell.run(
            "sync", "feed.csv", *where, *rate, "--state", "s.state", *open_ends, "--ledger", "3", "--json", **TOKEN
        )
        assert json.loads(known.stdout)["changes"]["applied"] == 3
        for options, why in (
            (("--state", "none.state"), b"none.state"),
            (("--current", "feed.csv", "--current-from-target"), b"exclude each other"),
        ):
            refused = shell.run("sync", "feed.csv", *where, *options, "--ledger", "r", **TOKEN)
            assert refused.returncode == 2, refused
            assert why in refused.stderr
        assert shell.run("state", "refresh", "none.state", *where, **TOKEN).returncode == 2
