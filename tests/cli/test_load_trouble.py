"""Load runs in trouble: stops, signals, what cannot be written, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time

import msgspec
import pytest
from shell import state_of, wait

from batcher.ledger.writer import LedgerWriter

pytestmark = pytest.mark.real_time
MINAPP = {"BATCHER_TARGET": "minapp", "BATCHER_TOKEN": "tok-12345"}
SMALL = ("--changes-per-request", "5", "--ledger", "a.ledger")


def until(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        wait(0.05)
    assert condition()


def requests(url):
    return state_of(url)["requests"]


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_refused_credentials_exit_4(shell, more):
    with shell.simulator("--token", "another") as url:
        found = shell.run("load", "--url", url, *SMALL, "--arrivals", "20/s", "--duration", "5s", *more, **MINAPP)
    assert found.returncode == 4, found.stderr
    assert b"batcher: stopped:" in found.stderr


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_a_second_signal_ends_it_at_once(shell, more):
    with shell.simulator("--latency-ms", "9000") as url:
        process = shell.start("load", "--url", url, *SMALL, "--arrivals", "20/s", "--clean-up", *more, **MINAPP)
        until(lambda: requests(url) > 3)
        process.send_signal(signal.SIGINT)
        wait(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
    assert process.returncode == 130, err
    assert b"internal error" not in err
    last = err.decode().strip().splitlines()[-1]
    assert last == f"batcher apply a.ledger.clean-up.jsonl --target minapp --url {url}"
    assert (shell.folder / "a.ledger.clean-up.jsonl").stat().st_mode & 0o077 == 0


def test_a_signal_ends_the_clean_up_too(shell):
    with shell.simulator() as url:
        flags = ["--arrivals", "20/s", "--duration", "2s", "--rate", "20/s", "--clean-up"]
        process = shell.start("load", "--url", url, *SMALL, *flags, **MINAPP)
        until((shell.folder / "a.ledger.clean-up").exists)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.decode().strip().splitlines()[-1] == "batcher resume a.ledger.clean-up"


def test_generators_end_with_who_started_them(shell):
    with shell.simulator() as url:
        process = shell.start("load", "--url", url, *SMALL, "--arrivals", "20/s", "--processes", "2", **MINAPP)
        until(lambda: requests(url) > 3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
        wait(2)
        seen = requests(url)
        wait(1)
        assert requests(url) == seen


def test_what_is_in_the_way_is_found_before_anything_is_sent(shell):
    shell.write("a.ledger.clean-up.jsonl", "")
    with shell.simulator() as url:
        flags = ("--arrivals", "20/s", "--duration", "1s")
        for more in (
            ["--clean-up"],
            ["-o", "none/x.json"],
            ["--hdr-log", "none/x"],
            ["-o", "a.ledger"],
            ["-o", "x", "--hdr-log", "x"],
        ):
            refused = shell.run("load", "--url", url, *SMALL, *flags, *more, **MINAPP)
            assert refused.returncode == 2, more
        assert requests(url) == 0


def test_ids_and_names_are_both_removed_again(shell):
    lines = [
        {"op": "add", "user_id": 5, "group_id": 53},
        {"op": "add", "user_name": "eve", "group_name": "staff"},
        {"op": "add", "user_id": 6, "group_name": "staff"},
    ]
    shell.write("m.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    target = {"BATCHER_TARGET": "scrutinizer", "BATCHER_TOKEN": "tok-12345"}
    with shell.simulator() as url:
        flags = ("--closed", "--ledger", "a.ledger", "--clean-up", "--json")
        found = shell.run("load", "m.jsonl", "--url", url, *flags, **target)
        assert found.returncode == 0, found.stderr
        assert not any(state_of(url)["groups"].values())
    assert json.loads(found.stdout)["cleaned_up"]["changes"]["applied"] == 3


def test_guardrails_hold_for_files(shell):
    shell.write("c.csv", "op,user_id,group_id\nremove,1,1\n")
    shell.write("b.toml", '[guard]\nprotected_groups = ["1"]\n')
    with shell.simulator() as url:
        guarded = shell.run("load", "c.csv", "-c", "b.toml", "--url", url, *SMALL, **MINAPP)
        assert guarded.returncode == 5, guarded.stderr
        shell.write("d.csv", "op,user_id,group_id\nadd,1,1\nadd,x,1\n")
        assert shell.run("load", "d.csv", "--strict", "--url", url, *SMALL, **MINAPP).returncode == 2
        assert shell.run("load", "d.csv", "--ordered", "--url", url, *SMALL, **MINAPP).returncode == 2
        assert requests(url) == 0
    assert not (shell.folder / "a.ledger").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flags",
    [
        ["--arrivals", "@empty"],
        ["--arrivals", "9999999/s for 999999999d"],
        ["--users", str(10**23)],
        ["--first-user", str(2**63)],
        ["--groups", str(10**9)],
        ["--changes-per-request", str(10**9)],
        ["--max-in-flight", "300000"],
    ],
)
def test_absurd_figures_are_refused(shell, flags):
    shell.write("empty", "")
    refused = shell.run("load", "--url", "http://127.0.0.1:9", "--ledger", "a.ledger", *flags, **MINAPP)
    assert refused.returncode == 2, refused.stderr


def test_nothing_measured_is_nothing_as_expected(shell):
    shell.write("c.csv", "op,user_id,group_id\n")
    with shell.simulator() as url:
        found = shell.run("load", "c.csv", "--closed", "--url", url, *SMALL, "--expect", "p99<9s", **MINAPP)
    assert found.returncode == 8


def test_logins_are_no_requests_with_changes(shell):
    with shell.simulator("--client-id", "cid", "--client-secret", "secret-1", "--token-uses", "20") as url:
        flags = ["--arrivals", "50/s", "--duration", "2s", "--json"]
        login = {"BATCHER_TARGET": "minapp", "BATCHER_CLIENT_ID": "cid", "BATCHER_CLIENT_SECRET": "secret-1"}
        found = shell.run("load", "--url", url, *SMALL, *flags, **login)
    content = json.loads(found.stdout)
    with sqlite3.connect(shell.folder / "a.ledger") as ledger:
        (counted,) = ledger.execute("SELECT requests FROM session").fetchone()
    assert content["requests"]["sent"] == json.loads(counted)["sent"]
    assert content["latency"]["actual"]["count"] == content["requests"]["sent"]


def test_a_closed_loop_is_late_for_nothing(shell):
    with shell.simulator("--latency-ms", "100") as url:
        flags = ["--closed", "--max-in-flight", "2", "--duration", "2s", "--json", "--expect", "late<1%"]
        found = shell.run("load", "--url", url, *SMALL, *flags, **MINAPP)
    assert found.returncode == 0, found.stderr
    latency = json.loads(found.stdout)["latency"]
    assert latency["intended"]["percentiles"] == latency["actual"]["percentiles"]


def test_throughput_is_over_the_whole_schedule(shell):
    with shell.simulator() as url:
        flags = ["--arrivals", "2/s", "--duration", "2s", "--json"]
        found = shell.run("load", "--url", url, *SMALL, *flags, **MINAPP)
    assert json.loads(found.stdout)["per_second"]["requests"] == pytest.approx(2.0, rel=0.02)


def test_a_ledger_that_is_at_work_or_was_killed_can_be_shown(shell):
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(500)))
    shell.write("b.toml", "[limits]\nmax_changes = 5\n")
    with shell.simulator() as url:
        flags = ("-c", "b.toml", "--url", url, "--rate", "20/s", "--ledger", "r.ledger")
        process = shell.start("apply", "c.csv", *flags, **MINAPP)
        until(lambda: requests(url) > 3)
        assert shell.run("report", "r.ledger", "-o", "live.html").returncode == 0
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
    assert shell.run("report", "r.ledger").returncode == 0
    page = shell.read("r.ledger.html").decode()
    assert "killed, or still running" in page
    assert "batcher resume r.ledger" in page
    assert shell.run("results", "r.ledger", "-o", "r.ledger").returncode == 2


DAMAGES = {
    "requests": {},
    "latency": {},
    "interval_seconds": 0,
    "started": "yesterday",
    "input": {},
    "intervals": [{"intended": "nonsense"}],
    "expectations": [{}],
    "steps": [{}],
    "bytes": {},
    "per_second": {},
    "settings": {"a": 1},
    "cleaned_up": {},
    "limit": {},
    "seconds": -1,
    "requests ": {"sent": -1},
}


def test_damaged_measurements_are_refused_by_whoever_reads_them(shell):
    flags = ["--arrivals", "50/s", "--duration", "3s", "-o", "a.json", "-q"]
    assert shell.run("load", "--simulate", *SMALL, *flags).returncode == 0
    whole = json.loads(shell.read("a.json"))
    for key, value in DAMAGES.items():
        shell.write("b.json", msgspec.json.encode(whole | {key.strip(): value}))
        for command in (["compare", "a.json", "b.json"], ["report", "b.json", "-o", "x.html"]):
            refused = shell.run(*command)
            assert refused.returncode == 2, (key, refused.stderr)
    for content in (b"[" * 200_000, b'"\xff"', b"{}"):
        shell.write("b.json", content)
        assert shell.run("compare", "a.json", "b.json").returncode == 2


@pytest.mark.parametrize(
    "scenario",
    ["then = 1", 'then = ["x"]', '[[then]]\nafter_seconds = "x"', "latency_seconds = nan", "latency_seconds = -5"],
)
def test_a_scenario_that_cannot_be_is_refused(shell, scenario):
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    shell.write("s.toml", scenario)
    refused = shell.run("plan", "c.csv", "--target", "minapp", "--simulate-target", "s.toml")
    assert refused.returncode == 2, refused.stderr


def test_the_clean_up_does_not_read_as_the_load_did(shell):
    shell.write("people.csv", "EmpID;Dept;Action\n5;53;add\n6;54;add\n")
    mapping = ("--map", "user=EmpID,group=Dept,op=Action", "--format", "csv", "--where", "EmpID!=Total*")
    with shell.simulator() as url:
        flags = ("--closed", "--max-in-flight", "1", "--clean-up", "--ledger", "a.ledger", "--json")
        found = shell.run("load", "people.csv", *mapping, "--url", url, *flags, **MINAPP)
        assert found.returncode == 0, found.stderr
        assert not any(state_of(url)["groups"].values())
    assert json.loads(found.stdout)["cleaned_up"]["changes"]["applied"] == 2


def test_a_prediction_tells_of_what_was_overridden(shell):
    shell.write("c.csv", "op,user_id,group_id\nremove,1,1\nremove,2,1\n")
    shell.write("s.toml", "latency_seconds = 0.1\n")
    flags = ("--target", "minapp", "--max-removals", "1", "--simulate-target", "s.toml", "--json")
    refused = shell.run("plan", "c.csv", *flags)
    assert refused.returncode == 5
    assert json.loads(refused.stdout)["prediction"]["changes"]["applied"] == 2
    given = shell.run("plan", "c.csv", *flags, "--override", "removals", "--reason", "x")
    assert given.returncode == 0, given.stderr


def test_a_ledger_without_a_run_has_nothing_to_show(shell):
    LedgerWriter.create(shell.folder / "a.ledger").close()
    assert shell.run("report", "a.ledger").returncode == 2


def test_places_are_shared_out_among_processes(shell):
    refused = shell.run(
        "load", "--url", "http://127.0.0.1:9", *SMALL, "--max-in-flight", "2", "--processes", "3", **MINAPP
    )
    assert refused.returncode == 2
    with shell.simulator("--latency-ms", "50") as url:
        flags = ["--closed", "--max-in-flight", "3", "--processes", "2", "--duration", "2s", "--json"]
        found = json.loads(shell.run("load", "--url", url, *SMALL, *flags, **MINAPP).stdout)
    assert max(interval["in_flight"] for interval in found["intervals"]) <= 3
