"""Compatibility: ledgers and states of 2026-11-28 (ledger format 4, state format 1) can still be used.

`before.tar.xz` was written by the batcher of that day: a run that was stopped by its deadline (`stopped`), one with
failed changes (`ended`), and the first nights of a feed with ids (`s.state`) and of one with names (`n.state`).
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from shell import Shell, state_of

KEPT = Path(__file__).with_name("before.tar.xz")
MINAPP = {"BATCHER_TOKEN": "t"}


@pytest.fixture
def shell(tmp_path):
    with tarfile.open(KEPT) as kept:
        kept.extractall(tmp_path, filter="data")
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("ledger", "applied", "pair"),
    [("stopped", 100, "3 3"), ("ended", 298, "3 3"), ("night", 3, "1 2"), ("names", 2, "bob staff")],
)
def test_a_ledger_can_be_read(shell, ledger, applied, pair):
    assert shell.run("verify", ledger).returncode == 0
    assert shell.run("results", ledger, "--status", "applied").stdout.count(b"\n") == applied + 1
    assert shell.run("report", ledger).returncode == 0
    assert b"line" in shell.run("explain", ledger, *pair.split()).stdout


def test_a_stopped_run_is_gone_on_with(shell):
    rows = shell.run("results", "stopped", "--status", "applied").stdout.decode().splitlines()[1:]
    elsewhere = {(int(user), int(group)) for _, user, group, *_ in (row.split(",") for row in rows)}
    with shell.simulator() as url:
        done = shell.run("resume", "stopped", "--url", url, "--json", **MINAPP)
        assert done.returncode == 3, done.stderr
        told = json.loads(done.stdout)["changes"]
        assert (told["total"], told["pending"], told["rejected"], told["failed"]) == (341, 0, 1, 0)
        held = {(user, int(group)) for group, users in state_of(url)["groups"].items() for user in users}
    assert held == {(n, n % 7) for n in range(40, 300)} - elsewhere  # those were sent to another server
    assert shell.run("verify", "stopped").returncode == 0


def test_failed_changes_are_tried_again(shell):
    with shell.simulator() as url:
        done = shell.run("retry", "ended", "--url", url, "--json", **MINAPP)
        assert done.returncode == 3, done.stderr
        assert json.loads(done.stdout)["changes"]["failed"] == 0
        assert state_of(url)["changes"] == 2


@pytest.mark.parametrize(
    ("state", "feed", "more", "applied"),
    [
        ("s.state", "user_id,group_id\n1,2\n3,4\n7,8\n", (), 2),
        ("n.state", "user_name,group_name\nbob,staff\namy,it\n", ("--target", "scrutinizer"), 2),
    ],
)
def test_the_next_night(shell, state, feed, more, applied):
    shell.write("next.csv", feed)
    allow = ("--override", "removal-share,group-share,addition-share", "--reason", "small")
    done = shell.run("sync", "next.csv", *more, "--simulate", "--state", state, "--json", *allow)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"]["applied"] == applied
    again = shell.run("sync", "next.csv", *more, "--simulate", "--state", state, "--json")
    assert json.loads(again.stdout)["changes"]["total"] == 0
