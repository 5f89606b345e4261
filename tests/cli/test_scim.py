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
        refused = shell.run("sync", "feed.csv", *where[:4], "--rate", "none", "--current", "feed.csv", "--ledger", "4",
                            **TOKEN)  # fmt: skip
        assert refused.returncode == 2
        assert b"give the target's ids" in refused.stderr


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
