"""SIGKILL at random moments: resumed, the end is the same, nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import random
import signal

import pytest
from harness import final_state
from shell import state_of, wait

IN_FLIGHT, BATCH = 4, 100
CONFIG = f"[limits]\nmax_changes = {BATCH}\n[retry]\ngrace_seconds = 0.2\nbase_seconds = 0.05\n"


def _changes(seed, count):
    dice = random.Random(seed)
    return [(dice.choice(["add", "add", "remove"]), dice.randrange(1500), dice.randrange(9)) for _ in range(count)]


def _killed_runs(shell, seed, kills, kind):
    dice = random.Random(seed)
    changes = _changes(seed, 6000)
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"{op},{user},{group}\n" for op, user, group in changes))
    shell.write("b.toml", CONFIG)
    killed = 0
    with shell.simulator("--latency-ms", "40", "--jitter-ms", "25", "--fault", "503=0.02", "--seed", str(seed)) as url:
        command = ["apply", "c.csv", "-c", "b.toml", "--target", kind, "--url", url, "--rate", "none"]
        command += ["--max-in-flight", str(IN_FLIGHT), "--ledger", "l"]
        while True:
            process = shell.start(*command, "--json", BATCHER_TOKEN="t")
            if killed < kills:
                wait(dice.uniform(0.3, 1.3))
                process.send_signal(signal.SIGKILL)
                killed += process.poll() is None
            stdout, stderr = process.communicate(timeout=60)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, stderr
                break
            ledger = shell.folder / "l"
            if ledger.exists() and shell.run("verify", "l").returncode == 0:
                command = ["resume", "l"] if shell.run("results", "l").stdout.count(b"\n") > 1 else command
            if command[0] == "apply" and ledger.exists():
                for path in shell.folder.glob("l*"):
                    path.unlink()
        held = state_of(url)
    told = json.loads(stdout)
    assert told["changes"]["total"] == len(changes)
    assert told["changes"]["applied"] + told["changes"]["superseded"] == len(changes)
    members = {(user, int(group)) for group, users in held["groups"].items() for user in users}
    assert members == final_state(changes)
    assert held["changes"] - told["changes"]["applied"] <= killed * IN_FLIGHT * BATCH  # only what was in flight
    assert shell.run("verify", "l").returncode == 0
    assert sorted(path.name for path in shell.folder.glob("l*")) == ["l"]
    return killed


@pytest.mark.parametrize("kind", ["minapp", "scrutinizer"])
def test_killed_and_resumed(shell, kind):
    assert _killed_runs(shell, 3, 4, kind) >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("BATCHER_TEST_KILLS", "200")) // 8))
def test_killed_200_times(shell, seed):
    _killed_runs(shell, 100 + seed, 8, random.Random(seed).choice(["minapp", "scrutinizer"]))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_a_strict_target_sees_no_violation_from_all_processes_together(shell, processes):
    """Twenty requests in any second, by arrivals; at least 95 % of what is allowed is used."""
    each = 300 // processes
    for number in range(processes):
        rows = "".join(f"add,{number * 1000 + row},1\n" for row in range(each))
        shell.write(f"{number}.csv", "op,user_id,group_id\n" + rows)
    shell.write("b.toml", "[limits]\nmax_changes = 1\n")
    with shell.simulator("--limit", "20/s") as url:
        options = ("-c", "b.toml", "--target", "minapp", "--url", url, "--rate", "20/s", "--json")
        runs = [shell.start("apply", f"{n}.csv", *options, BATCHER_TOKEN="t") for n in range(processes)]
        reports = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
        assert all(report["exit_code"] == 0 for report in reports)
        assert state_of(url)["limited"] == 0
    longest = max(report["seconds"] for report in reports)
    assert 300 / longest >= 0.95 * 20 * 0.97
