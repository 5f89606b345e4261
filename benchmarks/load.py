"""How far load runs can be trusted: their own error, their rate beside others, and what `compare` makes of them.

    python benchmarks/load.py [--only TEXT] [--repetitions 20] [--json FILE]

k6, locust, hey, wrk and autocannon are looked for on the PATH; those that are not installed are reported as absent. All
but batcher send the same body again and again; batcher draws, packs and records its changes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import HERE, command, counted, sink

TARGET = ("--target", "minapp", "--i-own-this-target")
RUNS = 3
PLACES = 32
MINAPP = "/oserve/v1/miniapp/group/membership/"
Figures = dict[str, Any]


def load(folder: Path, url: str, *flags: str) -> Figures:
    """One load run; what it wrote."""
    for old in folder.glob("load*"):
        old.unlink()
    out = folder / "load.json"
    done = command(folder, "load", *TARGET, "--url", url, "--ledger", "load.ledger", "-o", str(out), "-q", *flags)
    if done.code:
        raise RuntimeError(f"batcher load ended with {done.code}")
    return json.loads(out.read_bytes())


def body(folder: Path, changes: int) -> Path:
    """A request with so many changes."""
    ops = [{"op": "add", "path": "/membership", "users": [10_000_000 + n for n in range(changes)], "groups": [1000]}]
    path = folder / f"body{changes}.json"
    path.write_text(json.dumps(ops, separators=(",", ":")), "ascii")
    return path


def own_error(folder: Path) -> Iterator[tuple[str, Figures]]:
    """What a load run adds to each percentile, beside a client that does nothing but send; and both beside the sink."""
    sample = body(folder, 10)
    for rate, latency in ((50, 5), (200, 5), (200, 20), (500, 10), (1000, 10)):
        found: dict[str, list[float]] = {}
        with sink("--latency", str(latency)) as url:
            for _ in range(RUNS):
                counted(url)
                lean = _wrk2(url, sample, rate)
                counted(url)
                # Its connections are open, as those of the other client are.
                flags = (
                    "--arrivals",
                    f"{rate}/s",
                    "--duration",
                    "8s",
                    "--warm-up",
                    "1s",
                    "--changes-per-request",
                    "10",
                )
                told, truth = load(folder, url, *flags)["latency"]["intended"]["percentiles"], counted(url)["took"]
                for name in ("p50", "p90", "p99"):
                    found.setdefault(f"{name}, own error", []).append(told[name] - lean[name])
                    found.setdefault(f"{name}, beside the sink's own figure", []).append(
                        told[name] - 1000 * truth[name]
                    )
        errors = {name: round(statistics.median(values), 3) for name, values in sorted(found.items())}
        yield f"error in ms, {rate}/s, {latency} ms", errors


def rates(folder: Path) -> Iterator[tuple[str, Figures]]:
    """Requests per second in a closed loop of 32 places, interleaved with others."""
    for changes in (10, 1000):
        sample = body(folder, changes)
        candidates: dict[str, Callable[[str], float | None]] = {
            f"batcher, {processes} process{'es' if processes > 1 else ''}": _batcher(folder, changes, processes)
            for processes in (1, 2)
        }
        candidates |= {"k6": _k6(sample), "locust": _locust(sample, 1), "locust, 2 processes": _locust(sample, 2)}
        candidates |= {"hey, 2 threads": _hey(sample), "wrk, 2 threads": _wrk(sample)}
        candidates["autocannon"] = _autocannon(sample)
        found: dict[str, list[float]] = {name: [] for name in candidates}
        with sink() as url:
            for _ in range(RUNS):
                for name, run in candidates.items():
                    if (rate := run(url)) is not None:
                        found[name].append(rate)
        medians = {name: round(statistics.median(values)) if values else "absent" for name, values in found.items()}
        yield f"requests per second, {changes} changes each", medians


def _batcher(folder: Path, changes: int, processes: int) -> Callable[[str], float]:
    flags = ("--closed", "--max-in-flight", str(PLACES // processes), "--duration", "5s", "--warm-up", "1s")
    # Users into one group: the same body as that of the others, but for its users.
    flags += ("--users", "1000000", "--groups", "1", "--remove-share", "0%")
    more = ("--changes-per-request", str(changes), "--processes", str(processes))
    return lambda url: load(folder, url, *flags, *more)["per_second"]["requests"]


def _k6(sample: Path) -> Callable[[str], float | None]:
    def run(url: str) -> float | None:
        if not (program := shutil.which("k6")):
            return None
        given = {"URL": url, "BODY": str(sample), "PLACES": str(PLACES), "SECONDS": "5s"}
        settings = [part for name, value in given.items() for part in ("-e", f"{name}={value}")]
        script = str(HERE / "peers" / "k6.js")
        done = subprocess.run([program, "run", "-q", *settings, script], capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)["requests_per_second"]

    return run


def _locust(sample: Path, processes: int) -> Callable[[str], float | None]:
    def run(url: str) -> float | None:
        if not (program := shutil.which("locust")):
            return None
        flags = ["--headless", "-u", str(PLACES), "-r", str(PLACES), "-t", "5s", "-H", url, "--json", "--skip-log"]
        flags += ["--processes", str(processes)] if processes > 1 else []
        done = subprocess.run(
            [program, "-f", str(HERE / "peers" / "locustfile.py"), *flags],
            env=os.environ | {"BODY": str(sample)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        # Each of its processes prints a list; only the one that speaks for all has anything in it.
        (told,) = [entry for line in _lists(done.stdout.decode()) for entry in line]
        return told["num_requests"] / (told["last_request_timestamp"] - told["start_time"])

    return run


def _told(command: Sequence[str], pattern: str, **env: str) -> float | None:
    """What the program prints where `pattern` matches; None if it is not installed."""
    if not (program := shutil.which(command[0])):
        return None
    done = subprocess.run([program, *command[1:]], env=os.environ | env, capture_output=True, check=True, timeout=60)
    return float(re.search(pattern, done.stdout.decode())[1])


def _hey(sample: Path) -> Callable[[str], float | None]:
    flags = ("-z", "5s", "-c", str(PLACES), "-cpus", "2", "-m", "PATCH", "-T", "application/json", "-D", str(sample))
    return lambda url: _told(["hey", *flags, url + MINAPP], r"Requests/sec:\s+([\d.]+)")


def _wrk(sample: Path) -> Callable[[str], float | None]:
    flags = ("-t", "2", "-c", str(PLACES), "-d", "5s", "-s", str(HERE / "peers" / "wrk.lua"))
    return lambda url: _told(["wrk", *flags, url + MINAPP], r"Requests/sec:\s+([\d.]+)", BODY=str(sample))


def _autocannon(sample: Path) -> Callable[[str], float | None]:
    flags = ("-c", str(PLACES), "-d", "5", "-m", "PATCH", "-i", str(sample), "--json", "--no-progress")
    return lambda url: _told(["autocannon", *flags, url + MINAPP], r'"requests":\{"average":([\d.]+)')


def _lists(text: str) -> Iterator[list[Figures]]:
    decoder = json.JSONDecoder()
    while text := text.strip():
        content, end = decoder.raw_decode(text)
        text = text[end:]
        yield content


def agreement(folder: Path) -> Iterator[tuple[str, Figures]]:
    """Percentiles from the intended start, beside those of others that measure so, interleaved."""
    sample = body(folder, 10)
    for rate, latency, spread in ((200, 5, 0.5), (1000, 10, 0.3)):
        found: dict[str, list[float]] = {}
        with sink("--latency", str(latency), "--spread", str(spread)) as url:
            for _ in range(RUNS):
                flags = ("--arrivals", f"{rate}/s", "--duration", "8s", "--changes-per-request", "10")
                told = {"batcher": load(folder, url, *flags)["latency"]["intended"]["percentiles"]}
                told["wrk2's way"] = _wrk2(url, sample, rate)
                for name, percentiles in told.items():
                    for percent in ("p50", "p90", "p99"):
                        found.setdefault(f"{name} {percent}", []).append(percentiles[percent])
        figures = {name: round(statistics.median(values), 3) for name, values in sorted(found.items())}
        yield f"agreement in ms, {rate}/s, {latency} ms, spread {spread}", figures


def _wrk2(url: str, sample: Path, rate: int) -> Figures:
    script = str(HERE / "peers" / "wrk2_style.py")
    done = subprocess.run(
        [sys.executable, script, url, str(sample), str(rate), "8"], capture_output=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def comparisons(folder: Path, repetitions: int) -> Iterator[tuple[str, Figures]]:
    """How often `compare` says worse: of the same sink twice, and of one that is a tenth slower."""
    said: dict[str, list[int]] = {"the same": [], "10 % slower": []}
    for _ in range(repetitions):
        for name, latency in (("before", 10.0), ("the same", 10.0), ("10 % slower", 11.0)):
            with sink("--latency", str(latency), "--spread", "0.2") as url:
                flags = ("--arrivals", "200/s", "--duration", "6s", "--warm-up", "1s", "--changes-per-request", "10")
                load(folder, url, *flags)
            (folder / "load.json").rename(folder / f"{name}.json")
            if name in said:
                said[name].append(command(folder, "compare", "before.json", f"{name}.json").code)
    yield "compare", {f"worse, {name}": f"{codes.count(8)} of {len(codes)}" for name, codes in said.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in (own_error, rates, agreement, lambda folder: comparisons(folder, options.repetitions)):
            if options.only and options.only not in getattr(case, "__name__", "comparisons").replace(
                "<lambda>", "comparisons"
            ):
                continue
            for label, figures in case(folder):
                table[label] = figures
                print(label, *(f"  {key}: {value}" for key, value in figures.items()), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
