"""A long run against a target that refuses half of the requests: does anything grow that should not?

    python benchmarks/soak.py [--rows 20000000] [--refused 0.5]

Prints the memory, the open files and threads of the client and the size of its ledger over the run. It ends with 1 when
the memory of the last quarter is more than a tenth above that of the second, files or threads add up, or the ledger
holds more than 14 bytes per change.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
MOST_BYTES = 14
REMOVALS = 0.1
CHUNK = 1_000_000


def generate(path: Path, rows: int) -> None:
    """Random pairs of two million users and 500 groups, one removal in ten."""
    rng = np.random.default_rng(1)
    with path.open("w", encoding="ascii") as file:
        file.write("op,user_id,group_id\n")
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            users = rng.integers(10_000_000, 12_000_000, count).tolist()
            groups = rng.integers(1000, 1500, count).tolist()
            removed = (rng.random(count) < REMOVALS).tolist()
            rows_ = zip(removed, users, groups, strict=True)
            file.writelines(f"{'remove' if gone else 'add'},{user},{group}\n" for gone, user, group in rows_)


def sample(pid: int, ledger: Path) -> tuple[float, int, int, float]:
    """Resident MiB, open files, threads, ledger MiB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines())
    size = sum(path.stat().st_size for path in ledger.parent.glob(ledger.name + "*"))
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]), size / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--refused", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "changes.csv", options.rows)
        (folder / "batcher.toml").write_text(
            "[limits]\nmax_changes = 5000\n[retry]\nbase_seconds = 0.01\nmax_seconds = 0.05\ngrace_seconds = 0.1\n",
            "ascii",
        )
        sink = subprocess.Popen(
            [sys.executable, str(HERE / "sink.py"), "--refused", str(options.refused)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        pause = threading.Event()
        samples: list[tuple[float, int, int, float]] = []
        try:
            url = f"http://127.0.0.1:{sink.stdout.readline().decode().strip()}"
            ledger = folder / "run.ledger"
            command = [sys.executable, "-m", "batcher", "apply", str(folder / "changes.csv"), "--target", "minapp"]
            command += ["-c", str(folder / "batcher.toml"), "--url", url, "--rate", "none", "--ledger", str(ledger)]
            environment = os.environ | {"BATCHER_TOKEN": "soak", "XDG_STATE_HOME": str(folder / "state")}
            started = time.perf_counter()
            run = subprocess.Popen([*command, "--json", "-q"], env=environment, stdout=subprocess.PIPE)
            while run.poll() is None:
                try:
                    samples.append(sample(run.pid, ledger))
                except (OSError, KeyError):
                    break  # it has just ended
                pause.wait(1)
            told = json.loads(run.communicate()[0])
            wall = time.perf_counter() - started
        finally:
            sink.stdin.close()
            sink.wait(timeout=10)
        bytes_per_change = ledger.stat().st_size / options.rows
    report(samples, told, wall, bytes_per_change, options.rows)


def report(samples: list[tuple[float, int, int, float]], told: dict, wall: float, per_change: float, rows: int) -> None:
    quarter = len(samples) // 4
    print("| | memory MiB | files | threads | ledger MiB |\n|---|---|---|---|---|")
    quarters = [samples[n * quarter : (n + 1) * quarter] or samples for n in range(4)]
    for number, part in enumerate(quarters, 1):
        memory = f"{statistics.median(s[0] for s in part):.0f} (at most {max(s[0] for s in part):.0f})"
        files, threads, size = max(s[1] for s in part), max(s[2] for s in part), part[-1][3]
        print(f"| quarter {number} | {memory} | {files} | {threads} | {size:.0f} |")
    counts, requests = told["changes"], told["requests"]
    print(f"{rows:,} rows in {wall:.0f} s, exit {told['exit_code']}; requests {requests}")
    print(f"{per_change:.1f} bytes of ledger per change")
    memory = [statistics.median(s[0] for s in part) for part in quarters]
    is_flat = memory[3] <= 1.1 * memory[1]
    is_tight = max(s[1] for s in quarters[3]) <= max(s[1] for s in quarters[1]) + 5
    is_done = counts["applied"] + counts["superseded"] == rows
    if not (is_flat and is_tight and is_done and per_change <= MOST_BYTES):
        sys.exit(f"flat {is_flat}, tight {is_tight}, done {is_done}, {per_change:.1f} bytes per change")


if __name__ == "__main__":
    main()
