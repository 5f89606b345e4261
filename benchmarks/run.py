"""Everything in one go: one table, one JSON.

    python benchmarks/run.py [--rows 1000000] [--runs 5] [--only TEXT] [--json FILE]
        [--big] [--peers [--peers-python PYTHON]]

Medians and ranges of several interleaved runs. `--peers` adds other programs on the same input and sink (see peers/;
who is not installed is reported as absent), `--big` the figures that take minutes: ledgers of ten million changes, and
the memory of fifty million. `--only` runs what has TEXT in its name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import data
import floor
from measure import apply, command, counted, sink
from stages import CASES as STAGES
from stages import run as run_stages

HERE = Path(__file__).parent
Figures = dict[str, float]
LARGE, SMALL, THOUSAND = {"max_changes": 5000}, {"max_changes": 100}, {"max_changes": 1000}
RUNS = [
    ("minapp, random", "minapp", data.random_ids, LARGE, ()),
    ("minapp, profiles", "minapp", data.profiles, LARGE, ()),
    ("minapp, profiles with short ids", "minapp", data.short_profiles, LARGE, ()),
    ("minapp, noisy profiles with short ids", "minapp", data.noisy_profiles, LARGE, ()),
    ("minapp, JSON Lines", "minapp", data.jsonl, LARGE, ()),
    ("minapp, 1000 changes per request, 20 ms latency", "minapp", data.profiles, THOUSAND, ("--latency", "20")),
    ("minapp, 100 changes per request", "minapp", data.profiles, SMALL, ()),
    ("minapp, random, 100 changes per request", "minapp", data.random_ids, SMALL, ()),
    ("scrutinizer, random", "scrutinizer", data.random_ids, THOUSAND, ()),
    ("scrutinizer, names", "scrutinizer", data.names, THOUSAND, ()),
    ("scrutinizer, UUIDs", "scrutinizer", data.uuids, THOUSAND, ()),
    ("scrutinizer, UUIDs as JSON Lines", "scrutinizer", data.uuids_jsonl, THOUSAND, ()),
    ("scim, UUIDs, 100 members per request", "scim", data.scim_ids, SMALL, ()),
]
PEERS = [
    ("pure Python", ["pure_python.py"], 1.0),
    ("fixed batches of 100", ["fixed_batches.py"], 1.0),
    ("one request per change", ["fixed_batches.py", "--size", "1"], 0.05),
    ("Node", ["node_script.py"], 1.0),
    ("syslog-ng", ["syslog_ng.py"], 1.0),
    ("syslog-ng, durable", ["syslog_ng.py", "--durable"], 1.0),
    ("drt-core", ["drt_core.py"], 0.1),
    ("singer-sdk", ["singer_sdk_target.py"], 0.1),
]
"""Name, script, and the share of the rows that it gets: the slow ones would take minutes."""

OTHER_PYTHON = {"drt_core.py", "singer_sdk_target.py"}


class Results:
    """Figures per case, a list of values each; and the cases that are absent, with the reason."""

    def __init__(self, only: str) -> None:
        self._only = only
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.absent: dict[str, str] = {}

    def add(self, case: str, make: Callable[[], Figures]) -> None:
        if self._only not in case or case in self.absent:
            return
        for name, value in make().items():
            self.figures.setdefault(case, {}).setdefault(name, []).append(value)

    def median(self, case: str, name: str) -> float:
        values = self.figures.get(case, {}).get(name)
        return statistics.median(values) if values else float("nan")

    def tables(self) -> str:
        """Cases with the same figures share a table."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for case, figures in self.figures.items():
            groups.setdefault(tuple(figures), []).append(case)
        parts = []
        for names, cases in groups.items():
            lines = ["| case | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
            lines += [
                f"| {case} | " + " | ".join(_spread(self.figures[case][name]) for name in names) + " |"
                for case in cases
            ]
            parts.append("\n".join(lines))
        absent = [f"absent: {case}: {reason}" for case, reason in self.absent.items()]
        return "\n\n".join([*parts, *absent])


def _spread(values: list[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if abs(middle) >= 100 else 2 if abs(middle) >= 1 else 3  # noqa: PLR2004 — three places that tell
    text = f"{middle:,.{digits}f}"
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return text if low == high else f"{text} ({low}–{high})"


def measure_floor(path: Path) -> Figures:
    requests = floor.bodies("minapp", path, LARGE["max_changes"])
    with sink() as url:
        replay = floor.run(floor.replay(url, requests))
    return {"parse seconds": floor.parse_seconds(path), "replay seconds": replay}


def measure_bare(kind: str, path: Path) -> Figures:
    requests = floor.bodies(kind, path, SMALL["max_changes"])
    with sink() as url:
        return {"CPU µs per request": 1e6 * floor.run(floor.bare_cpu(url, requests))}


def measure_help(folder: Path) -> Figures:
    return {"seconds to --help": command(folder, "--help").wall}


def measure_peer(results: Results, case: str, arguments: list[str], path: Path, rows: int, python: str) -> None:
    def run() -> Figures:
        with sink() as url:
            script, *options = arguments
            line = [python, str(HERE / "peers" / script), str(path), url, "--rows", str(rows), *options]
            started = time.perf_counter()
            done = subprocess.run(line, capture_output=True, text=True, timeout=400, check=False)
            wall = time.perf_counter() - started
            if done.returncode:
                results.absent[case] = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"
                return {}
            said = json.loads(done.stdout.splitlines()[-1])
            return {
                "rows per second": said["rows"] / said["seconds"],
                "command seconds": wall,
                "requests sent": counted(url)["requests"],
            }

    results.add(case, run)


def measure_big(folder: Path, results: Results) -> None:
    """Ledgers of ten million settled changes, and the memory of fifty million."""
    path = data.profiles(folder / "ten", 10_500_000)
    ledger = folder / "ten.ledger"
    with sink() as url:
        arguments = ["--target", "minapp", "--url", url, "--rate", "none", "--ledger", str(ledger), "-q"]
        environment = os.environ | {"BATCHER_TOKEN": "benchmark", "XDG_STATE_HOME": str(folder / "state")}
        line = [sys.executable, "-m", "batcher", "apply", str(path), *arguments]
        process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and counted(url)["requests"] < 10_100_000 / LARGE["max_changes"]:
            time.sleep(0.05)  # noqa: TID251 — there is nothing else to wait for
        process.send_signal(signal.SIGINT)
        process.wait()
    results.add("results of what is settled, as CSV", lambda: _results(folder, ledger))
    # The sink of the first run is gone; the run goes on where the ledger says, so the next one takes its port.
    port = url.rsplit(":", 1)[1]
    with sink("--port", port) as again:

        def resume() -> Figures:
            done = command(folder, "resume", str(ledger), "--json", "-q")
            settled = json.loads(done.output)["changes"]["applied"]
            return {"first new request": counted(again)["first"] - done.started, "changes in the end": settled}

        results.add("resume of ten million settled changes", resume)
    path.unlink()
    many = data.profiles(folder / "fifty", 50_000_000)
    results.add("minapp, profiles, 50 M rows", lambda: apply(folder, "minapp", many, LARGE))


def _results(folder: Path, ledger: Path) -> Figures:
    output = folder / "results.csv"
    done = command(folder, "results", str(ledger), "--format", "csv", "-o", str(output))
    if done.code:
        sys.exit(f"results ended with {done.code}")
    with output.open("rb") as file:
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) - 1
    return {"seconds": done.wall, "records": rows, "seconds per ten million": done.wall * 10_000_000 / rows}


def goals(results: Results) -> str:
    """What was wished for, beside what was measured."""

    def figure(case: str, name: str = "changes per second") -> float:
        return results.median(case, name)

    def against(peer: str) -> float:
        return figure("minapp, random") / figure(f"peer: {peer}", "rows per second")  # on the same input

    def as_commands(case: str, peer: str) -> float:
        return figure(f"peer: {peer}", "command seconds") / figure(case, "command seconds")

    large = "minapp, profiles"
    scattered, batches = "minapp, random, 100 changes per request", "fixed batches of 100"
    each = 1e6 * figure(scattered, "cpu seconds") / figure(scattered, "requests")
    cheapest = figure("floor, random", "parse seconds") + figure("floor, random", "replay seconds")
    per_row = figure("scrutinizer, random") / figure("scrutinizer, names")
    scim = "scim, UUIDs, 100 members per request"
    patch = 1e6 * figure(scim, "cpu seconds") / figure(scim, "requests")
    wishes = [
        (
            "100 changes per request × fixed batches of 100",
            ">=",
            1.4,
            figure(scattered) / figure(f"peer: {batches}", "rows per second"),
        ),
        ("the same, as whole commands", ">=", 1.0, as_commands(scattered, batches)),
        ("CPU µs per small request, everything included", "<=", 130, each),
        ("Scrutinizer: changes per second", ">=", 1.2e6, figure("scrutinizer, random")),
        ("names: changes per second", ">=", 0.8e6, figure("scrutinizer, names")),
        ("names: cost ÷ that of ids", "<=", 2, per_row),
        ("UUIDs: changes per second", ">=", 0.8e6, figure("scrutinizer, UUIDs")),
        ("UUIDs as JSON Lines: changes per second", ">=", 0.8e6, figure("scrutinizer, UUIDs as JSON Lines")),
        (
            "SCIM: CPU µs per request, above bare aiohttp",
            "<=",
            250,
            patch - figure("bare aiohttp, scim", "CPU µs per request"),
        ),
        ("× Node, random", ">=", 2, against("Node")),
        ("the same, as whole commands", ">=", 1.3, as_commands("minapp, random", "Node")),
        ("floor: run ÷ (parse + replay), random", "<=", 6, figure("minapp, random", "seconds") / cheapest),
        ("MinApp, random: changes per second", ">=", 1.5e6, figure("minapp, random")),
        ("MinApp, profiles: changes per second", ">=", 1.5e6, figure(large)),
        ("JSON Lines: changes per second", ">=", 0.7e6, figure("minapp, JSON Lines")),
        ("20 ms latency: changes per second", ">=", 0.6e6, figure("minapp, 1000 changes per request, 20 ms latency")),
        ("× syslog-ng", ">=", 4, against("syslog-ng")),
        ("× syslog-ng, durable", ">=", 10, against("syslog-ng, durable")),
        ("× drt-core", ">=", 50, against("drt-core")),
        ("× singer-sdk", ">=", 50, against("singer-sdk")),
        (
            "profiles, short ids: bytes per change",
            "<=",
            0.9,
            figure("minapp, profiles with short ids", "bytes per change"),
        ),
        (
            "noisy profiles: bytes per change",
            "<=",
            2.2,
            figure("minapp, noisy profiles with short ids", "bytes per change"),
        ),
        ("memory, MiB", "<=", 200, figure("minapp, random", "peak MiB")),
        (
            "memory of 50 M rows ÷ of these",
            "<=",
            1.1,
            figure("minapp, profiles, 50 M rows", "peak MiB") / figure(large, "peak MiB"),
        ),
        ("first request, s after the start", "<=", 0.25, figure("minapp, random", "first request")),
        ("--help, s", "<=", 0.35, figure("help", "seconds to --help")),
        (
            "resume of 10 M: first new request, s",
            "<=",
            2,
            figure("resume of ten million settled changes", "first new request"),
        ),
        ("results of 10 M, s", "<=", 10, figure("results of what is settled, as CSV", "seconds per ten million")),
    ]
    lines = ["| figure | goal | measured | |", "|---|---|---|---|"]
    for what, sign, wish, found in wishes:
        if found == found:  # noqa: PLR0124 — what was not measured is not a number
            word = "met" if (found >= wish if sign == ">=" else found <= wish) else "missed"
            lines.append(f"| {what} | {'≥' if sign == '>=' else '≤'} {wish:,g} | {_spread([found])} | {word} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="an interpreter that has drt-core and singer-sdk"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = Results(options.only)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers = {case[2] for case in (*RUNS, *STAGES)}
        inputs = {make: make(folder / make.__name__, options.rows) for make in makers}
        for number in range(options.runs):  # interleaved: a slow minute of the machine hits every case
            print(f"run {number + 1} of {options.runs}", file=sys.stderr)
            for case, kind, make, limits, sink_options in RUNS:
                results.add(case, lambda k=kind, m=make, x=limits, s=sink_options: apply(folder, k, inputs[m], x, s))
            results.add("floor, random", lambda: measure_floor(inputs[data.random_ids]))
            results.add("bare aiohttp", lambda: measure_bare("minapp", inputs[data.profiles]))
            results.add("bare aiohttp, scim", lambda: measure_bare("scim", inputs[data.scim_ids]))
            results.add("help", lambda: measure_help(folder))
            for case, kind, make, changes in STAGES:
                ledger = folder / "stages.ledger"
                results.add(
                    f"stages: {case}", lambda k=kind, m=make, c=changes, p=ledger: run_stages(k, inputs[m], c, p)
                )
            for case, arguments, share in PEERS if options.peers else ():
                path, rows = inputs[data.random_ids], int(options.rows * share)
                python = options.peers_python if arguments[0] in OTHER_PYTHON else sys.executable
                measure_peer(results, f"peer: {case}", arguments, path, rows, python)
        if options.big:
            measure_big(folder, results)
    versions = {package: version(package) for package in ("aiohttp", "numpy", "pyarrow", "orjson", "uvloop")}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    told = ", ".join(f"{package} {number}" for package, number in versions.items())
    print(f"{options.rows:,} rows, medians (and ranges) of {options.runs} runs; {machine}; {told}\n")
    print(goals(results), results.tables(), sep="\n\n")
    if options.json:
        facts = {"rows": options.rows, "runs": options.runs, "machine": machine, "versions": versions}
        content = facts | {"figures": results.figures, "absent": results.absent}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
