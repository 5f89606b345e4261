"""One run of the command against a sink in its own process, and what came of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@contextmanager
def sink(*options: str) -> Iterator[str]:
    """The address of a fresh sink, for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "sink.py"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        process.wait(timeout=10)


def counted(url: str) -> dict[str, float]:
    """What the sink has seen: `requests`, `bytes`, and the time of the `first`."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 — loopback
        return json.load(answer)


@dataclass
class Finished:
    """A command that came to its end; seconds, and MiB."""

    code: int
    output: bytes
    started: float
    wall: float
    cpu: float
    peak: float


def command(folder: Path, *arguments: str) -> Finished:
    """`batcher` with these arguments, with a state folder of its own."""
    environment = os.environ | {"BATCHER_TOKEN": "benchmark", "XDG_STATE_HOME": str(folder / "state")}
    started, clock = time.time(), time.perf_counter()  # noqa: TID251 — a stop-watch across processes
    process = subprocess.Popen(
        [sys.executable, "-m", "batcher", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    # The system's own figure for the peak includes what the parent had when it forked.
    peak, memory = 0.0, Path(f"/proc/{process.pid}/status")
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        found = re.search(r"VmHWM:\s+(\d+)", memory.read_text("ascii"))
        peak = int(found[1]) / 1024 if found else peak
        time.sleep(0.005)  # noqa: TID251 — there is nothing else to wait for
    wall = time.perf_counter() - clock
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    return Finished(process.returncode, process.stdout.read(), started, wall, usage.ru_utime + usage.ru_stime, peak)


def apply(
    folder: Path, kind: str, path: Path, limits: dict[str, int], sink_options: tuple[str, ...] = ()
) -> dict[str, float]:
    """A whole run: rate `none`, everything else as it comes; its own figures, the sink's, and the system's."""
    config, ledger = folder / "batcher.toml", folder / "run.ledger"
    lines = [f"{key} = {value}" for key, value in limits.items()]
    config.write_text("\n".join(["[limits]", *lines, ""]), encoding="utf-8")
    ledger.unlink(missing_ok=True)
    with sink(*sink_options) as url:
        arguments = ["apply", str(path), "-c", str(config), "--target", kind, "--url", url]
        done = command(folder, *arguments, "--rate", "none", "--ledger", str(ledger), "--json", "-q")
        if done.code:
            sys.exit(f"the run ended with {done.code}: {done.output.decode()}")
        seen = counted(url)
    report: dict[str, Any] = json.loads(done.output)
    total = report["changes"]["total"]
    return {
        "changes per second": total / report["seconds"],
        "seconds": report["seconds"],
        "command seconds": done.wall,
        "first request": seen["first"] - done.started,
        "cpu seconds": done.cpu,
        "requests": seen["requests"],
        "bytes per change": seen["bytes"] / (total - report["changes"]["superseded"]),
        "peak MiB": done.peak,
        "ledger bytes per change": ledger.stat().st_size / total,
    }
