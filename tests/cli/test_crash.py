"""SIGKILL at random moments: resumed, the end is the same, nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import threading
from contextlib import contextmanager

import anyio
import anyio.to_thread
import pytest
from harness import final_state
from shell import state_of, wait

from batcher.simulator.behaviour import Behaviour
from batcher.simulator.server import serve

IN_FLIGHT, BATCH = 4, 100
CONFIG = f"[limits]\nmax_changes = {BATCH}\n[retry]\ngrace_seconds = 0.2\nbase_seconds = 0.05\n"


def _changes(seed, count):
    rng = random.Random(seed)
    return [(rng.choice(["add", "add", "remove"]), rng.randrange(1500), rng.randrange(9)) for _ in range(count)]


@contextmanager
def _killing_target(seed):
    """A target in this process that can kill the run which it has just answered: applied, and never recorded.

    Gives its address and a dictionary: `pid` is killed when `after` more requests were applied.
    """
    aim, ready, over = {"pid": 0, "after": 0}, queue.Queue(), threading.Event()

    def applied(world):
        if aim["pid"]:
            aim["after"] -= 1
            if aim["after"] <= 0:
                os.kill(aim["pid"], signal.SIGKILL)
                aim["pid"] = 0

    async def main():
        async with serve(Behaviour(latency_seconds=0.04, jitter_seconds=0.025, seed=seed), applied=applied) as url:
            ready.put(url)
            await anyio.to_thread.run_sync(over.wait)

    thread = threading.Thread(target=lambda: anyio.run(main))
    thread.start()
    try:
        yield ready.get(timeout=10), aim
    finally:
        over.set()
        thread.join()


@contextmanager
def _target(shell, seed, *, kills):
    if kills:
        with _killing_target(seed) as found:
            yield found
    else:
        faults = ("--latency-ms", "250", "--jitter-ms", "150", "--fault", "503=0.02", "--seed", str(seed))
        with shell.simulator(*faults) as url:
            yield url, None


def _killed_runs(shell, seed, kills, kind, *, by_target=False):
    """Killed at random moments, or by the target between applying and answering."""
    rng = random.Random(seed)
    changes = _changes(seed, 6000)
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"{op},{user},{group}\n" for op, user, group in changes))
    shell.write("b.toml", CONFIG)
    killed = 0
    with _target(shell, seed, kills=by_target) as (url, aim):
        command = ["apply", "c.csv", "-c", "b.toml", "--target", kind, "--url", url, "--rate", "none"]
        command += ["--max-in-flight", str(IN_FLIGHT), "--ledger", "l"]
        while True:
            process = shell.start(*command, "-v", "--json", BATCHER_TOKEN="t")
            if killed < kills and aim is not None:
                aim |= {"after": rng.randint(1, 6), "pid": process.pid}
                process.wait(timeout=60)
                killed += process.returncode == -signal.SIGKILL
                aim["pid"] = 0
            elif killed < kills:
                wait(rng.uniform(0.05, 0.9))
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
    # Only what was in flight, and what had been answered but was not on the disk yet.
    assert held["changes"] - told["changes"]["applied"] <= killed * 2 * IN_FLIGHT * BATCH
    assert shell.run("verify", "l").returncode == 0
    assert sorted(path.name for path in shell.folder.glob("l*")) == ["l"]
    return killed


@pytest.mark.parametrize("kind", ["minapp", "scrutinizer"])
def test_killed_and_resumed(shell, kind):
    assert _killed_runs(shell, 3, 4, kind) >= 1


def test_killed_between_applying_and_recording(shell):
    assert _killed_runs(shell, 4, 3, "minapp", by_target=True) == 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("BATCHER_TEST_KILLS", "200")) // 8))
def test_killed_200_times(shell, seed):
    kind = random.Random(seed).choice(["minapp", "scrutinizer"])
    assert _killed_runs(shell, 100 + seed, 8, kind, by_target=seed % 2 == 1) >= (8 if seed % 2 else 4)


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
        seen = state_of(url)
    assert seen["limited"] == 0
    assert (seen["requests"] - 1) / seen["seconds"] >= 0.95 * 20
