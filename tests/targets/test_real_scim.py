"""Runs against real SCIM servers: what they have afterwards is read back from them."""

from __future__ import annotations

import csv
import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import anyio
import pytest
from clients import applied
from faulty_proxy import Faults, faulty
from missing import without
from scim_servers import RECIPES, TOKEN, outcomes, running, table
from shell import Shell
from told import is_begun

from batcher.targets.scim_profiles import PROFILES

OPAQUE = {"canaille"}
DOCUMENTED = Path(__file__).parents[2] / "docs" / "scim.md"
pytestmark = [pytest.mark.real_time, pytest.mark.timeout(600)]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.xdist_group(name)] + [pytest.mark.real_servers] * recipe.is_slow)
        for name, recipe in RECIPES.items()
    ],
)
def server(request):
    try:
        RECIPES[request.param].place()
    except FileNotFoundError:
        without("npm")
    with running(request.param) as found:
        yield found


def test_what_comes_of_each_change_is_as_documented(server, tmp_path):
    found = outcomes(server, lambda changes: applied(tmp_path, server, changes))
    told = {line.split("|")[1].strip(): line for line in DOCUMENTED.read_text("utf-8").splitlines() if "|" in line}
    place = told["change"].split("|").index(f" {server.name} ")
    assert found == {what: told[what].split("|")[place].strip() for what in found}
    assert table({server.name: found})


@pytest.fixture
def understood(server):
    """A server at which it can be seen what became of a change."""
    if server.name in OPAQUE:
        pytest.skip("it lists members by other values than the ids that it takes")
    return server


def test_every_change_arrives_through_trouble(understood, tmp_path):
    """Adds and removals of some hundred pairs, through a proxy that drops, refuses and breaks off."""
    server, rng = understood, random.Random(understood.name)
    users, groups = [f"user{number}@example.org" for number in range(60)], [f"team {number}" for number in range(8)]
    server.make(users, groups)
    changes = [
        (rng.choice(["add", "add", "remove"]), server.ids[rng.choice(users)], server.ids[rng.choice(groups)])
        for _ in range(600)
    ]

    async def go() -> tuple[list[str], Faults]:
        faults = Faults({"429": 0.1, "503": 0.1, "before": 0.1, "after": 0.1}, rng)
        async with faulty(server.url, faults) as url:
            return await anyio.to_thread.run_sync(lambda: applied(tmp_path, server, changes, url)), faults

    statuses, faults = anyio.run(go)
    assert set(statuses) <= {"applied", "superseded"}
    assert faults.happened.total() > faults.happened["none"]
    wishes = {(user, group): op for op, user, group in changes}
    assert server.pairs(groups) == {pair for pair, op in wishes.items() if op == "add"}


def test_bulk_requests_bring_many_groups_at_once(understood, tmp_path):
    """Two servers announce them; one of these does not repeat the ids of operations."""
    server = understood
    if server.name not in {"scim2-server", "scimmy"}:
        pytest.skip("it has no bulk requests")
    users, groups = [f"bulk{number}@example.org" for number in range(12)], [f"squad {number}" for number in range(150)]
    server.make(users, groups)
    rng = random.Random(3)
    changes = [
        (rng.choice(["add", "add", "remove"]), server.ids[rng.choice(users)], server.ids[rng.choice(groups)])
        for _ in range(900)
    ]
    changes.append(("add", server.ids[users[0]], "nowhere"))
    assert Counter(applied(tmp_path, server, changes, more="bulk = true"))["failed"] == 1
    wishes = {(user, group): op for op, user, group in changes}
    assert server.pairs(groups) == {pair for pair, op in wishes.items() if op == "add" and pair[1] != "nowhere"}


def test_names_are_looked_up(understood, tmp_path):
    server = understood
    server.make([f"Person{number}" for number in range(20)], ["Staff", "Guests"])
    shell = Shell(tmp_path)
    rows = [f"add,person{number},Staff" for number in range(20)] + ["add,nobody,Staff", "add,person3,nowhere"]
    shell.write("names.csv", "\n".join(["op,user_name,group_name", *rows]) + "\n")
    where = ("--target", "scim", "--url", server.url, "--rate", "none")
    done = shell.run("apply", "names.csv", *where, "--ledger", "names.ledger", "--json", BATCHER_TOKEN=TOKEN)
    assert done.returncode == 3, done.stderr
    assert b'"applied":20' in done.stdout
    assert b'"rejected":2' in done.stdout
    assert set(server.members("Staff")) == {server.ids[f"Person{number}"] for number in range(20)}


def test_a_list_is_read_page_by_page(understood, tmp_path):
    """With a pattern everybody is listed: at one server by cursors, at others by numbers."""
    server = understood
    server.make([f"patron{number}" for number in range(35)] + ["warden"], ["Hall"])
    shell = Shell(tmp_path)
    shell.write("c.csv", "op,user_id,group_name\n" + f"add,{server.ids['warden']},Hall\n")
    where = ("--target", "scim", "--url", server.url, "--rate", "none")
    refused = shell.run("apply", "c.csv", *where, "--protect-user", "ward*", "--ledger", "a", BATCHER_TOKEN=TOKEN)
    assert refused.returncode == 5, refused
    assert server.ids["warden"].encode() in refused.stderr
    done = shell.run("apply", "c.csv", *where, "--protect-user", "patron*", "--ledger", "b", BATCHER_TOKEN=TOKEN)
    assert done.returncode == 0, done
    assert server.members("Hall") == [server.ids["warden"]]


def test_what_was_changed_is_read_back(understood, tmp_path):
    """With the run, later, and by a night that compares with who is there; a stranger meddles in between."""
    server = understood
    server.make([f"member{number}" for number in range(30)], ["Choir", "Band", "Elsewhere"])
    shell = Shell(tmp_path)
    ids, pairs = server.ids, [(f"member{number}", ("Choir", "Band")[number % 2]) for number in range(30)]
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{ids[who]},{ids[where]}\n" for who, where in pairs))
    where, token = ("--target", "scim", "--url", server.url, "--rate", "none"), {"BATCHER_TOKEN": TOKEN}
    done = shell.run("apply", "c.csv", *where, "--verify-after", "all", "--ledger", "l", "--json", **token)
    assert done.returncode == 0, done
    assert b'"not_so":0' in done.stdout
    shell.write("s.csv", f"op,user_id,group_id\nremove,{ids['member2']},{ids['Choir']}\nadd,{ids['member0']},{ids['Band']}\n"
                f"add,{ids['member0']},{ids['Elsewhere']}\n")  # fmt: skip
    assert shell.run("apply", "s.csv", *where, "--ledger", "s", **token).returncode in {0, 4, 6}
    if ids["member2"] in server.members("Choir"):
        pytest.skip("it does not remove members by a filter")
    wrong = shell.run("verify", "l", "--against-target", **token)
    assert wrong.returncode == 8, wrong
    assert f"missing: user {ids['member2']} in group {ids['Choir']} was added" in wrong.stdout.decode()
    shell.write("feed.csv", "user_id,group_id\n" + "".join(f"{ids[who]},{ids[group]}\n" for who, group in pairs))
    night = shell.run("sync", "feed.csv", *where, "--current-from-target", "--ledger", "n", "--json", **token)
    assert night.returncode == 0, night
    assert b'"applied":2' in night.stdout
    assert server.pairs(["Choir", "Band"]) == {(ids[who], ids[group]) for who, group in pairs}
    assert server.members("Elsewhere") == [ids["member0"]]


def test_whoever_is_called_applied_is_there(understood, tmp_path):
    """Half of the users do not exist. Servers store these, refuse the request, or drop them and report success."""
    server, shell = understood, Shell(tmp_path)
    server.make([f"guest{number}" for number in range(12)], ["Lobby", "Bar"])
    nobody = RECIPES[server.name].nobody
    strangers = [nobody[:-2] + f"{number:02}" for number in range(12)]
    users = [user for number, stranger in enumerate(strangers) for user in (server.ids[f"guest{number}"], stranger)]
    rows = [f"add,{user},{server.ids[group]}" for group in ("Lobby", "Bar") for user in users]
    shell.write("c.csv", "\n".join(["op,user_id,group_id", *rows]) + "\n")
    done = shell.run("apply", "c.csv", "--target", "scim", "--url", server.url, "--rate", "none", "--verify-after",
                     "all", "--max-failures", "100", "--ledger", "l", BATCHER_TOKEN=TOKEN)  # fmt: skip
    results = csv.DictReader(shell.run("results", "l").stdout.decode().splitlines())
    applied_pairs = {(row["user_id"], row["group_id"]) for row in results if row["status"] == "applied"}
    assert applied_pairs == server.pairs(["Lobby", "Bar"]), done
    assert len(applied_pairs) in {24, 48}
    assert done.returncode == (0 if len(applied_pairs) == 48 else 3), done


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_kills_while_it_is_read_back(understood, tmp_path):
    """At any moment: what was proven in the end is so, and nothing is proven that was not read."""
    server, shell, rng = understood, Shell(tmp_path), random.Random(19)
    users, groups = [f"player{number}" for number in range(40)], [f"team{number}" for number in range(12)]
    server.make(users, groups)
    pairs = {(server.ids[user], server.ids[group]) for user in users for group in rng.sample(groups, 3)}
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{user},{group}\n" for user, group in sorted(pairs)))
    shell.write("config.toml", "[retry]\ngrace_seconds = 1\nbase_seconds = 0.1\n")
    where = ("--target", "scim", "--url", server.url, "--rate", "8/s", "--max-in-flight", "2", "-c", "config.toml")
    begin = ("apply", "c.csv", *where, "--verify-after", "all", "--ledger", "l", "--quiet")
    process = shell.execute(*begin, BATCHER_TOKEN=TOKEN)
    for _ in range(8):
        if _ends(process, rng.uniform(0.5, 1.5)):
            break
        process.kill()
        process.communicate()
        command = ("resume", "l", "--quiet") if is_begun(tmp_path / "l") else begin
        process = shell.execute(*command, BATCHER_TOKEN=TOKEN)
    assert _ends(process, 60)
    assert process.returncode == 0
    assert server.pairs(groups) == pairs
    proven = json.loads(shell.run("explain", "l", *min(pairs), "--json").stdout)["proof"]
    assert (proven["changes"], proven["changes_unread"], proven["not_so"]) == (len(pairs), 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [100_000])
def test_a_hundred_thousand_changes_arrive_in_spite_of_kills(understood, tmp_path, count):
    """Through the same proxy, and killed a dozen times; nothing is missing, nothing is there that should not be."""
    server, rng = understood, random.Random(7)
    users, groups = [f"employee{number}@example.org" for number in range(2_000)], [f"unit {n}" for n in range(300)]
    server.make(users, groups)
    pairs = [(rng.choice(users), rng.choice(groups)) for _ in range(count)]
    changes = [("remove" if rng.random() < 0.02 else "add", server.ids[who], server.ids[where]) for who, where in pairs]
    shell = Shell(tmp_path)
    shell.write("changes.csv", "op,user_id,group_id\n" + "".join(",".join(change) + "\n" for change in changes))
    profile = f'[target]\nprofile = "{server.name}"\n' if server.name in PROFILES else ""
    shell.write("config.toml", f"{profile}[retry]\ngrace_seconds = 1\nbase_seconds = 0.1\n")

    async def go() -> int:
        faults = Faults({"429": 0.02, "503": 0.02, "before": 0.02, "after": 0.02}, rng)
        async with faulty(server.url, faults) as url:
            command = ["apply", "changes.csv", "--target", "scim", "--url", url, "--rate", "none", "--ledger", "l"]
            kills = 0
            while True:
                process = shell.execute(*command, "-c", "config.toml", "--quiet", BATCHER_TOKEN=TOKEN)
                patience = rng.uniform(3, 20) if kills < 12 else 3000
                if await anyio.to_thread.run_sync(_ends, process, patience):
                    assert process.returncode == 0
                    return kills
                process.kill()
                process.communicate()
                kills += 1
                command = ["resume", "l"]

    assert anyio.run(go) > 0
    wishes = {(user, group): op for op, user, group in changes}
    assert server.pairs(groups) == {pair for pair, op in wishes.items() if op == "add"}
