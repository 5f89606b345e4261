"""How throughput depends on the changes per request and on the number of different names, as pictures.

    python benchmarks/curves.py [--runs 3] [--folder benchmarks] [--big]

Writes `changes_per_request.svg` and `different_names.svg`, and prints the figures. `--big` adds ten million different
names in as many rows, which takes a minute and half a gigabyte of disk.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import data
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from measure import HERE, apply, sink

SIZES = (1, 3, 10, 30, 100, 300, 1000, 5000)
MOST_REQUESTS, MOST_ROWS = 20_000, 1_000_000
NAMES = (1_000, 10_000, 100_000, 1_000_000)
MANY_NAMES = 10_000_000
Curve: TypeAlias = dict[int, list[float]]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 80, 40, 150, 60
COLOURS = ("#0b6e4f", "#b5532a", "#4a5fb0")


def by_size(folder: Path, runs: int) -> dict[str, Curve]:
    path = data.random_ids(folder / "random", MOST_ROWS)
    curves: dict[str, Curve] = {"batcher": {}, "a script with fixed batches": {}}
    for _ in range(runs):
        for size in SIZES:
            rows = min(MOST_ROWS, size * MOST_REQUESTS)
            part = path if rows == MOST_ROWS else _first(path, rows)
            found = apply(folder, "minapp", part, {"max_changes": size})["changes per second"]
            curves["batcher"].setdefault(size, []).append(found)
            curves["a script with fixed batches"].setdefault(size, []).append(_script(part, rows, size))
    return curves


def _first(path: Path, rows: int) -> Path:
    part = path.with_name(f"first-{rows}.csv")
    if not part.exists():
        with path.open("rb") as source, part.open("wb") as target:
            target.writelines(line for _, line in zip(range(rows + 1), source, strict=False))
    return part


def _script(path: Path, rows: int, size: int) -> float:
    with sink() as url:
        script = str(HERE / "peers" / "fixed_batches.py")
        line = [sys.executable, script, str(path), url, "--rows", str(rows), "--size", str(size)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=400, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["rows"] / told["seconds"]


def by_names(folder: Path, runs: int, counts: Sequence[int]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {"names": {}, "ids": {}}
    for count in counts:
        rows = max(count, MOST_ROWS)
        files = {kind: _people(folder, kind, count, rows) for kind in curves}
        for _ in range(runs):
            for kind, path in files.items():
                found = apply(folder, "scrutinizer", path, {"max_changes": 1000})["changes per second"]
                curves[kind].setdefault(count, []).append(found)
        for path in files.values():
            path.unlink()
    return curves


def _people(folder: Path, kind: str, count: int, rows: int) -> Path:
    """Random users, so many different ones, in random groups."""
    rng = np.random.default_rng(5)
    user = rng.permutation(np.arange(rows) % count)
    group = rng.integers(0, data.GROUPS, rows)
    path = folder / f"{kind}-{count}.csv"
    if kind == "ids":
        columns = {"op": np.full(rows, "add"), "user_id": user, "group_id": group}
    else:
        numbers = pa.array(user).cast(pa.string())
        names = pa.compute.binary_join_element_wise("user.", numbers, "@example.org", "")
        teams = pa.array([f"Department {number}" for number in range(data.GROUPS)]).take(pa.array(group))
        columns = {"op": np.full(rows, "add"), "user_name": names, "group_name": teams}
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(",".join(columns).encode() + b"\n")
        pyarrow.csv.write_csv(pa.table(columns), file, options)
    return path


def picture(title: str, axis: str, curves: Mapping[str, Curve]) -> str:
    """A chart with two logarithmic axes: changes per second by what the axis says."""
    points = {name: [(x, statistics.median(found)) for x, found in curve.items()] for name, curve in curves.items()}
    xs = [x for curve in points.values() for x, _ in curve]
    ys = [y for curve in points.values() for _, y in curve]
    decades = range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))) + 1)

    def across(x: float) -> float:
        low, high = math.log10(min(xs)), math.log10(max(xs))
        return LEFT + (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        share = (math.log10(y) - decades[0]) / (decades[-1] - decades[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="20" font-size="15" font-weight="bold">{title}</text>']
    for decade in decades:
        y = down(10**decade)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>')
    below = f'y="{HEIGHT - BOTTOM + 20}" text-anchor="middle"'
    parts += [f'<text x="{across(x):.1f}" {below}>{x:,}</text>' for x in sorted(set(xs))]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{axis}</text>')
    for colour, (name, curve) in zip(COLOURS, points.items(), strict=False):
        line = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="3" fill="{colour}"/>' for x, y in curve]
        label = _wrapped(name, across(curve[-1][0]) + 8, down(curve[-1][1]), colour)
        parts.append(label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12" role="img"><title>{title}</title><rect width="100%" height="100%" fill="white"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _wrapped(name: str, x: float, y: float, colour: str) -> str:
    lines = [name] if name.count(" ") < 2 else name.replace(" with ", "|with ").split("|")  # noqa: PLR2004 — it is short
    spans = [f'<tspan x="{x:.1f}" dy="{number * 14}">{line}</tspan>' for number, line in enumerate(lines)]
    return f'<text y="{y + 4:.1f}" fill="{colour}">{"".join(spans)}</text>'


def table(axis: str, curves: Mapping[str, Curve]) -> str:
    rows = [f"| {axis} | " + " | ".join(curves) + " |", "|---" * (len(curves) + 1) + "|"]
    for x in next(iter(curves.values())):
        found = [f"{statistics.median(curve[x]):,.0f}" for curve in curves.values()]
        rows.append(f"| {x:,} | " + " | ".join(found) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--big", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for file, title, axis, curves in (
            (
                "changes_per_request.svg",
                "MinApp: changes per second",
                "changes per request",
                by_size(Path(name), options.runs),
            ),
            (
                "different_names.svg",
                "Scrutinizer, 1,000 changes per request: changes per second",
                "different users",
                by_names(Path(name), options.runs, (*NAMES, *((MANY_NAMES,) if options.big else ()))),
            ),
        ):
            (options.folder / file).write_text(picture(title, axis, curves), encoding="utf-8")
            print(table(axis, curves), end="\n\n")


if __name__ == "__main__":
    main()
