"""SIGKILL at random moments: resumed, the end is the same, nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import anyio
import anyio.to_thread
import pytest
from harness import final_state
from shell import state_of, wait

from batcher.simulator.behaviour import Behaviour, ScimTraits
from batcher.simulator.server import serve

IN_FLIGHT, BATCH = 4, 100
CONFIG = f"[limits]\nmax_changes = {BATCH}\n[retry]\ngrace_seconds = 0.2\nbase_seconds = 0.05\n"


def _changes(seed, count):
    rng = random.Random(seed)
    return [(rng.choice(["add", "add", "remove"]), rng.randrange(1500), rng.randrange(9)) for _ in range(count)]


@contextmanager
def _killing_target(behaviour, killed=lambda _: None):
    """A target in this process that can kill the run which it has just answered: applied, and never recorded.

    Gives its address and a dictionary: `pid` is killed when `after` more requests were applied. `killed` is called
    with its world when that has happened.
    """
    aim, ready, over = {"pid": 0, "after": 0}, queue.Queue(), threading.Event()

    def applied(world):
        if aim["pid"]:
            aim["after"] -= 1
            if aim["after"] <= 0:
                os.kill(aim["pid"], signal.SIGKILL)
                aim["pid"] = 0
                killed(world)

    async def main():
        async with serve(behaviour, applied=applied) as url:
            ready.put(url)
            await anyio.to_thread.run_sync(over.wait)

    thread = threading.Thread(target=lambda: anyio.run(main))
    thread.start()
    try:
        yield ready.get(timeout=10), aim
    finally:
        over.set()
        thread.join()


def _shot(shell, command, aim, after):
    """Run a command until it ends, or is killed once the target has applied so many requests (0: it is not)."""
    process = shell.start(*command, "--json", BATCHER_TOKEN="t")
    if after:
        aim |= {"after": after, "pid": process.pid}
    stdout, stderr = process.communicate(timeout=120)
    aim["pid"] = 0
    return process.returncode, stdout, stderr


@contextmanager
def _target(shell, seed, *, kills):
    if kills:
        with _killing_target(Behaviour(latency_seconds=0.04, jitter_seconds=0.025, seed=seed)) as found:
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


def _people(shell):
    """The id that each name has in the ledger, which must be one."""
    lines = [line.split(",") for line in shell.run("results", "l").stdout.decode().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    ids = {}
    for row in rows:
        for side in ("user", "group"):
            if row[f"{side}_id"]:
                ids.setdefault((side, row[f"given_{side}"]), set()).add(row[f"{side}_id"])
    assert all(len(known) == 1 for known in ids.values()), ids
    return {name: next(iter(known)) for name, known in ids.items()}


def _killed_runs_of_names(shell, seed, kills):
    """Killed at every kind of request, lookups included; and after each kill, all names belong to somebody else.

    What was looked up is only in the ledger, since the state folder is removed.
    """
    rng, rows, files = random.Random(seed), [], []
    for number in range(6):
        part = [(op, f"user{user}", f"group {group}") for op, user, group in _changes(seed + number, 500)]
        files.append(
            shell.write(
                f"{number}.csv", "op,user_name,group_name\n" + "".join(map("{0[0]},{0[1]},{0[2]}\n".format, part))
            )
        )
        rows += part
    shell.write("b.toml", CONFIG)
    there = Behaviour(latency_seconds=0.003, seed=seed, scim=ScimTraits(page=200))
    generations = count(1)

    def moved(world):
        world.behave(replace(there, scim=replace(there.scim, generation=next(generations))))

    killed, known = 0, {}
    with _killing_target(there, moved) as (url, aim):
        begin = ["apply", *files, "-c", "b.toml", "--target", "scim", "--url", url, "--rate", "none", "--ledger", "l"]
        command = begin
        while True:
            code, stdout, stderr = _shot(shell, command, aim, rng.randint(1, 60) if killed < kills else 0)
            if code != -signal.SIGKILL:
                assert code == 0, stderr
                break
            killed += 1
            shutil.rmtree(shell.folder / "state", ignore_errors=True)
            has_begun = shell.run("results", "l").stdout.count(b"\n") > 1
            command = ["resume", "l"] if has_begun else begin
            if has_begun:
                now = _people(shell)
                assert known.items() <= now.items()
                known = now
            else:
                for path in shell.folder.glob("l*"):
                    path.unlink()
        held = state_of(url)
    people = _people(shell)
    assert known.items() <= people.items()
    members = {(user, group) for group, users in held["groups"].items() for user in users}
    assert members == {(people["user", user], people["group", group]) for user, group in final_state(rows)}
    assert json.loads(stdout)["changes"]["total"] == len(rows)
    return killed, len({known for (side, _), known in people.items() if side == "user"})


def test_killed_with_names_nobody_becomes_somebody_else(shell):
    killed, people = _killed_runs_of_names(shell, 1, 5)
    assert killed == 5
    assert people > 1000


def _killed_runs_that_prove(shell, seed, kills):
    """Killed at every kind of request, while it reads back, too: in the end it is known who was dropped in silence."""
    rng = random.Random(seed)
    dropped = {f"u{number}" for number in range(0, 300, 50)}
    pairs = {(f"u{rng.randrange(300)}", f"g{rng.randrange(30)}") for _ in range(900)}
    rows = "".join(f"add,{user},{group}\n" for user, group in sorted(pairs))
    shell.write("c.csv", "op,user_id,group_id\n" + rows)
    shell.write("b.toml", CONFIG)
    there = Behaviour(
        latency_seconds=0.002, seed=seed, bad_users=frozenset(dropped), scim=ScimTraits(drops_unknown=True)
    )
    killed = 0
    with _killing_target(there) as (url, aim):
        begin = ["apply", "c.csv", "-c", "b.toml", "--target", "scim", "--url", url, "--rate", "none", "--ledger", "l"]
        command = [*begin, "--verify-after", "all"]
        while True:
            code, stdout, stderr = _shot(shell, command, aim, rng.randint(1, 30) if killed < kills else 0)
            if code not in {-signal.SIGKILL, 6}:
                break
            assert code == -signal.SIGKILL or b"read back are not as the target has answered" in stderr
            killed += code == -signal.SIGKILL
            command = ["resume", "l"]
        held = state_of(url)
    told = json.loads(stdout)
    members = {(user, group) for group, users in held["groups"].items() for user in users}
    wrong = {pair for pair in pairs if pair[0] in dropped}
    assert members == pairs - wrong
    assert (told["changes"]["applied"], told["changes"]["failed"]) == (len(members), len(wrong)), stderr
    assert code == 3
    assert told["proof"]["changes_unread"] == 0
    assert shell.run("verify", "l").returncode == 0
    return killed


def test_killed_while_it_reads_back(shell):
    assert _killed_runs_that_prove(shell, 2, 5) >= 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10))
def test_killed_50_times_while_it_reads_back(shell, seed):
    assert _killed_runs_that_prove(shell, 300 + seed, 12) >= 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10))
def test_killed_50_times_with_names(shell, seed):
    assert _killed_runs_of_names(shell, 200 + seed, 10)[0] >= 5


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
