"""Whole commands against a sink in its own process: changes per second, requests, bytes, peak memory.

    python benchmarks/throughput.py [--rows 1000000] [--runs 3] [--json FILE]

Medians of several runs; the ledger commits as in life, the rate is `none`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import data

HERE = Path(__file__).parent
CASES = [
    ("minapp, random", "minapp", data.random_ids, 5000),
    ("minapp, profiles", "minapp", data.profiles, 5000),
    ("scrutinizer, random", "scrutinizer", data.random_ids, 1000),
]


def counted(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 — loopback
        return json.load(answer)


def measure(kind: str, path: Path, changes: int, folder: Path) -> dict[str, float]:
    """One run of the command; its own figures, the sink's, and the operating system's."""
    sink = subprocess.Popen(
        [sys.executable, str(HERE / "sink.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
        config = folder / "batcher.toml"
        config.write_text(f"[limits]\nmax_changes = {changes}\n", encoding="utf-8")
        ledger = folder / "run.ledger"
        ledger.unlink(missing_ok=True)
        command = [sys.executable, "-m", "batcher", "apply", str(path), "-c", str(config), "--target", kind]
        command += ["--url", url, "--rate", "none", "--ledger", str(ledger), "--json", "-q"]
        environment = os.environ | {"BATCHER_TOKEN": "benchmark", "XDG_STATE_HOME": str(folder / "state")}
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if process.returncode:
            sys.exit(f"the run ended with {process.returncode}: {output.decode()}")
        report = json.loads(output)
        seen = counted(url)
        total = report["changes"]["total"]
        return {
            "changes_per_second": total / report["seconds"],
            "seconds": report["seconds"],
            "command_seconds": wall,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "requests": seen["requests"],
            "bytes_per_change": seen["bytes"] / (total - report["changes"]["superseded"]),
            "peak_mib": usage.ru_maxrss / 1024,
            "ledger_bytes_per_change": ledger.stat().st_size / total,
        }
    finally:
        sink.stdin.close()
        sink.wait(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {make: make(folder / f"{make.__name__}.csv", options.rows) for make in {case[2] for case in CASES}}
        runs: dict[str, list[dict[str, float]]] = {case[0]: [] for case in CASES}
        for _ in range(options.runs):  # interleaved: a slow minute of the machine hits every case
            for label, kind, make, changes in CASES:
                runs[label].append(measure(kind, inputs[make], changes, folder))
        for label, figures in runs.items():
            results[label] = {key: statistics.median(run[key] for run in figures) for key in figures[0]}
    versions = {name: version(name) for name in ("aiohttp", "numpy", "pyarrow", "orjson", "uvloop")}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{options.rows:,} rows, medians of {options.runs}; {machine}; {versions}\n")
    keys = list(next(iter(results.values())))
    print("| case | " + " | ".join(key.replace("_", " ") for key in keys) + " |")
    print("|---" * (len(keys) + 1) + "|")
    for label, figures in results.items():
        print(f"| {label} | " + " | ".join(f"{figures[key]:,.2f}" for key in keys) + " |")
    if options.json:
        content = {"rows": options.rows, "runs": options.runs, "machine": machine, "versions": versions}
        options.json.write_text(json.dumps(content | {"results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
