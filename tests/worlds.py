"""Worlds as data: each file in `tests/worlds/` describes a target, a client and the expected result of a run.

    python tests/worlds.py             run all, print the table
    python tests/worlds.py 402-first   run one
    python tests/worlds.py --write     run all, and put the table into docs/worlds.md

A file has `about` (one line), `kind`, `[input]` (the changes), `[client]` (settings, and `credentials`), `[server]` (a
scenario, as `batcher simulate --scenario` takes it), `jobs` after the first (`resume`, `retry`) and `[expect]`: exact
values, or lists of the lowest and the highest value.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness import Change, Play, Target, settings_for

from batcher.core.keys import Word
from batcher.core.model import Action
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.core.units import spoken
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour
from batcher.simulator.scenario import scenario_of
from batcher.simulator.scim_directory import id_of
from batcher.source.windows import WINDOW_ROWS

FOLDER = Path(__file__).parent / "worlds"
DOCS = Path(__file__).parents[1] / "docs" / "worlds.md"
BEGIN, END = "<!-- worlds -->\n", "<!-- /worlds -->\n"
CREDENTIALS = {
    "token": Credentials(token="a-token"),
    "login": Credentials(client_id="id", client_secret="secret"),
    "wrong login": Credentials(client_id="id", client_secret="wrong"),
}


@dataclass
class Outcome:
    """What happened in a world."""

    about: str
    report: Report
    seconds: float
    arrivals: int
    in_flight: int
    limited: int
    members: int
    warnings: list[str]
    broken_laws: list[str]
    expected: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        counts = {status.label: count for status, count in self.report.changes.items()}
        return counts | {
            "exit_code": self.report.exit_code,
            "stopped": self.report.stopped.name.lower() if self.report.stopped else "",
            "requests": self.report.requests.sent,
            "arrivals": self.arrivals,
            "seconds": round(self.seconds, 3),
            "in_flight": self.in_flight,
            "limited": self.limited,
            "members": self.members,
        }

    def disagreements(self) -> list[str]:
        """The ways in which the outcome differs from what is expected."""
        found = list(self.broken_laws)
        facts = self.facts()
        for name, wanted in self.expected.items():
            if name in {"log", "quiet"}:
                continue
            low, high = wanted if isinstance(wanted, list) else (wanted, wanted)
            if not low <= facts[name] <= high:
                found.append(f"{name} is {facts[name]}, expected {wanted}")
        for pattern in self.expected.get("log", []):
            times = sum(1 for line in self.warnings if re.search(pattern, line))
            if times != 1:
                found.append(f"{times} log lines match {pattern!r}: {self.warnings}")
        if self.expected.get("quiet") and self.warnings:
            found.append(f"the log says {self.warnings}")
        return found

    def row(self) -> str:
        """A row of the table."""
        counts = ", ".join(f"{count:,} {status.label}" for status, count in self.report.changes.items() if count)
        stopped = f" {self.report.stopped.name.lower()}" if self.report.stopped else ""
        figures = f"{self.arrivals:,} | {spoken(self.seconds)} | {self.in_flight} | {self.report.exit_code}{stopped}"
        return f"| {self.about} | {counts} | {figures} |\n"


@dataclass
class _Log(logging.Handler):
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __hash__(self) -> int:
        return id(self)


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"))


@cache
def play(path: Path) -> Outcome:
    """Simulate a world to its end."""
    world = tomllib.loads(path.read_text("utf-8"))
    changes = changes_of(world.get("input", {}))
    server = world.get("server", {})
    every = server.pop("bad_pair_every", 0)
    base = Behaviour(
        bad_pairs=frozenset((user, group) for _, user, group in changes[::every]) if every else frozenset()
    )
    scenario = scenario_of(server, base)
    client = dict(world.get("client", {}))
    credentials = CREDENTIALS[client.pop("credentials", "token")]
    settings = settings_for(world["kind"], **{name.replace(".", "_", 1): value for name, value in client.items()})
    target = Target(scenario.first, stages=scenario.stages, timeout=settings.target.timeout_seconds)
    log = _Log()
    logger = logging.getLogger("batcher")
    logger.addHandler(log)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = Play(Path(folder), target, settings, credentials, window_rows=world.get("window_rows", WINDOW_ROWS))
            report = run.apply(changes)
            for job in world.get("jobs", []):
                report = getattr(run, job)()
            target.world.catch_up(run.seconds + 1e6)
            laws = broken_laws(run, report, changes)
    finally:
        logger.removeHandler(log)
    return Outcome(
        world["about"],
        report,
        run.seconds,
        len(target.sends),
        target.highest_in_flight,
        target.world.traffic.refused,
        len(target.members()),
        log.lines,
        laws,
        world["expect"],
    )


def changes_of(table: dict[str, Any]) -> list[Change]:
    """The changes of a world's `[input]`: `changes` says how many.

    With a `seed` and a `remove_share` they are random over `users` × `groups`, else user n is added to group 1. With
    `grid`, every user is added to every group; with `looked_up`, users are added to three groups, all by their names.
    """
    count = table.get("changes", 100)
    if table.get("grid"):
        return [("add", user, group) for user in range(table["users"]) for group in range(table["groups"])]
    if table.get("looked_up"):
        return [("add", Word(f"user{user}@example.org"), Word(f"group {user % 3 + 1}")) for user in range(1, count + 1)]
    if "users" not in table:
        return [("add", user, 1) for user in range(count)]
    rng = random.Random(table.get("seed", 0))
    share, form = table.get("remove_share", 0.0), (str if table.get("names") else int)
    return [
        (
            "remove" if rng.random() < share else "add",
            form(rng.randrange(table["users"])),
            form(rng.randrange(table["groups"])),
        )
        for _ in range(count)
    ]


def broken_laws(run: Play, report: Report, changes: list[Change]) -> list[str]:
    """Violations of the laws: each change counted once, last change wins, exact blame, a consistent ledger."""
    broken = []
    statuses = [status for _, status in run.statuses()]
    if report.input_complete and not len(changes) == report.total == sum(report.changes.values()) == len(statuses):
        broken.append(f"{len(changes)} changes, {report.total} in total, {sum(report.changes.values())} counted")
    members = run.target.members()
    last = {(_id("Users", user), _id("Groups", group)): row for row, (_, user, group) in enumerate(changes)}
    for pair, row in last.items():
        status = statuses[row] if row < len(statuses) else "pending"
        is_wanted = changes[row][0] == Action.ADD.label
        if status in {"applied", "unchanged"} and (pair in members) is not is_wanted:
            broken.append(f"{pair} is {status}, but not so")
        if status == "superseded":
            broken.append(f"{pair}: its last change is superseded")
        if status == "failed" and pair not in run.target.behaviour.bad_pairs and not _is_bad(run.target, pair):
            broken.append(f"{pair} failed without any fault of its own")
    with LedgerReader(run.ledger) as reader:
        broken += [str(difference) for difference in differences(reader)]
    return broken


def _id(kind: str, key: int | str) -> int | str:
    return id_of(kind, str(key)) if isinstance(key, Word) else key


def _is_bad(target: Target, pair: tuple[Any, Any]) -> bool:
    stages = [target.behaviour, *(stage.behaviour for stage in target.stages)]
    return any(
        pair[0] in b.bad_users
        or pair[1] in b.bad_groups
        or pair in b.bad_pairs
        or b.refuses_repeats
        or b.scim.capacity  # then it depends on who came first
        for b in stages
    )


HEAD = "| world | changes | requests | time | at most in flight | exit |\n|---|---|---|---|---|---|\n"


def table() -> str:
    """What happened in all worlds, as Markdown."""
    return HEAD + "".join(play(path).row() for path in files())


def documented() -> str:
    """The table as it stands in the docs."""
    return DOCS.read_text("utf-8").split(BEGIN)[1].split(END)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    bad = 0
    for path in [FOLDER / f"{name}.toml" for name in options.names] or files():
        outcome = play(path)
        print(outcome.row(), end="")
        for line in outcome.disagreements():
            bad += 1
            print(f"    {path.stem}: {line[:300]}")
    if options.write:
        text = DOCS.read_text("utf-8")
        DOCS.write_text(text.split(BEGIN)[0] + BEGIN + table() + END + text.split(END)[1], "utf-8")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
