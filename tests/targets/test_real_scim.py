"""Runs against real SCIM servers: what they have afterwards is read back from them."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest
from clients import applied
from faulty_proxy import Faults, faulty
from missing import without
from scim_servers import RECIPES, TOKEN, outcomes, running, table
from shell import Shell

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
