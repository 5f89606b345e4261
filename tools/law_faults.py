"""Puts each fault of `law_faults.toml` into the code, one at a time, and says which simulation finds it.

    python tools/law_faults.py [--only 4 7] [--jobs 2]     print the table
    python tools/law_faults.py --write                     and put its rows into docs/decisions/0010-law-faults.md

The faults are those that have broken a law. A test of its own finds each of them; this shows that the simulations do,
too, which know nothing of it: so they may also find its relatives.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutants import ROOT, copied, run, tried

DOCS = ROOT / "docs" / "decisions" / "0010-law-faults.md"
BEGIN, END = "<!-- faults -->\n", "<!-- /faults -->\n"
SEEDS = {"hosts": 500, "seeds": 200, "wire": 1500, "months": 80}
"""The simulations in the order in which they are tried, and how many seeds of each are played at most."""
_SECONDS = 1200
_HEAD = "| | fault | found by, after seeds | what it says |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class LawFault:
    """One fault; `changes` are modules with an old and a new text, `play` the simulations that are to find it."""

    number: int
    what: str
    changes: tuple[tuple[str, str, str], ...]
    play: tuple[str, ...]
    why: str
    """Why no simulation can find it."""


@dataclass(frozen=True)
class Finding:
    """The simulation that found a fault, and what it said; `seeds` is how many it took."""

    by: str
    seeds: int
    said: str


def law_faults() -> list[LawFault]:
    """All of them, as they are listed."""
    listed = tomllib.loads((ROOT / "tools" / "law_faults.toml").read_text("utf-8"))["fault"]
    return [
        LawFault(
            fault["number"],
            fault["what"],
            tuple((change["module"], change["old"], change["new"]) for change in fault["change"]),
            tuple(fault.get("play", SEEDS)),
            fault.get("why", ""),
        )
        for fault in listed
    ]


def put_in(fault: LawFault, place: Path) -> None:
    """Change the copy.

    Raises:
        ValueError: When an old text does not occur exactly once.

    """
    for module, old, new in fault.changes:
        path = place / "batcher" / module
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"fault {fault.number}: {module} has the old text {text.count(old)} times")
        path.write_text(text.replace(old, new), encoding="utf-8")


def found(fault: LawFault) -> Finding | None:
    """The first simulation that finds a fault."""
    with copied() as place:
        put_in(fault, place)
        for kind in fault.play:
            command = ["tests/worlds.py"]
            if kind != "worlds":
                command = ["tests/simulations.py", str(SEEDS[kind]), "--only", kind, "--jobs", "1", "-x"]
            try:
                code, told = run(command, place, _SECONDS)
            except subprocess.TimeoutExpired:
                return Finding(kind, 0, "it does not end")
            if code:
                return _finding(kind, told)
    return None


def _finding(kind: str, told: str) -> Finding:
    if kind == "worlds":
        (said, *_) = [line.strip() for line in told.splitlines() if line.startswith("    ")]
        return Finding(kind, 0, said)
    match = re.search(r"--first (\d+) -v +# (.*)", told)
    if match is None:
        raise ValueError(f"{kind} failed without a seed: {told[:500]}")
    return Finding(kind, int(match[1]) + 1, re.sub(r"/\S*/", "", match[2]))


def _row(fault: LawFault, finding: Finding | None) -> str:
    said = (finding.said if finding else fault.why or "not found")[:110].replace("|", "\\|").replace("`", "'")
    by = "–" if finding is None else f"{finding.by}, {finding.seeds}" if finding.seeds else finding.by
    return f"| {fault.number} | {fault.what} | {by} | {said} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all faults are found that a simulation can find, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="*", metavar="NUMBER")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    faults = [fault for fault in law_faults() if not options.only or fault.number in options.only]
    started = time.monotonic()
    rows, missed = [], 0
    for fault, finding in tried(found, faults, options.jobs):
        missed += finding is None and not fault.why
        rows.append(_row(fault, finding))
        print(rows[-1], end="", flush=True)
    print(f"{len(faults)} faults, {missed} missed, in {time.monotonic() - started:.0f} s")
    if options.write:
        _write(rows)
    return 1 if missed else 0


def _write(rows: Sequence[str]) -> None:
    """Put these rows into the table, in place of those with the same numbers."""
    text = DOCS.read_text("utf-8")
    known = text.split(BEGIN)[1].split(END)[0].splitlines(keepends=True)[len(_HEAD.splitlines()) :]
    table = {int(row.split(" | ")[0].strip("| ")): row for row in [*known, *rows]}
    body = "".join(row for _, row in sorted(table.items()))
    DOCS.write_text(text.split(BEGIN)[0] + BEGIN + _HEAD + body + END + text.split(END)[1], "utf-8")


if __name__ == "__main__":
    sys.exit(main())
