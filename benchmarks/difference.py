"""What differs between two snapshots, and how long it takes to know: `plan --current`, which sends nothing.

    python benchmarks/difference.py [--pairs 10000000] [--names] [--runs 5]

Two per cent of the pairs are gone in the second snapshot, one per cent are others; both are in no order. Prints the
median and range of the seconds that the whole command took, and its peak memory, beside the goals for ten million.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from measure import command

SECONDS, MEBIBYTES = 10.0, 1024.0
GROUPS_EACH = 5
USERS_AT_ONCE = 200_000
GONE, OTHERS = 0.02, 0.01


def generate(folder: Path, pairs: int, *, names: bool) -> tuple[Path, Path]:
    """The snapshot before and the one after."""
    before, after = folder / "before.csv", folder / "after.csv"
    rng = np.random.default_rng(1)
    user_form, group_form = ("user{}@example.org", "group-{}") if names else ("{}", "{}")
    with before.open("w", encoding="ascii") as old, after.open("w", encoding="ascii") as new:
        for file in (old, new):
            file.write("user_name,group_name\n" if names else "user_id,group_id\n")
        users = pairs // GROUPS_EACH
        for first in range(0, users, USERS_AT_ONCE):
            user = np.arange(first, min(first + USERS_AT_ONCE, users)).repeat(GROUPS_EACH)
            group = np.tile(np.arange(GROUPS_EACH), len(user) // GROUPS_EACH) + user % 50 * GROUPS_EACH
            stays = rng.random(len(user)) >= GONE
            other = np.where(rng.random(len(user)) < OTHERS, users, 0)
            for file, rows, shift in ((old, np.arange(len(user)), 0 * other), (new, np.flatnonzero(stays), other)):
                mixed = rng.permutation(rows)
                pair = zip((user + shift)[mixed].tolist(), group[mixed].tolist(), strict=True)
                file.writelines(f"{user_form.format(u)},{group_form.format(g)}\n" for u, g in pair)
    return before, after


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batcher-difference-") as place:
        folder = Path(place)
        before, after = generate(folder, given.pairs, names=given.names)
        kind = "scrutinizer" if given.names else "minapp"
        arguments = (
            "plan",
            str(after),
            "--current",
            str(before),
            "--target",
            kind,
            "--url",
            "http://127.0.0.1:1",
            "--json",
        )
        runs = [command(folder, *arguments) for _ in range(given.runs)]
    if any(run.code not in {0, 5} for run in runs):
        raise SystemExit(runs[0].output.decode())
    walls, peak = sorted(run.wall for run in runs), max(run.peak for run in runs)
    changes = json.loads(runs[0].output)["changes"]
    print(f"{given.pairs:,} pairs each; {changes['add']:,} to add, {changes['remove']:,} to remove")
    print(f"{statistics.median(walls):.1f} s ({walls[0]:.1f} to {walls[-1]:.1f}), goal {SECONDS:.0f} for ten million")
    print(f"{peak:.0f} MiB at most, goal {MEBIBYTES:.0f}")


if __name__ == "__main__":
    main()
