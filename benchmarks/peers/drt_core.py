"""The reverse-ETL tool drt (package drt-core): a SQLite table to a REST API, configured as its users would.

    python benchmarks/peers/drt_core.py INPUT.csv URL [--rows N]

A temporary project holds the table, one sync and the profile; telemetry is off, the rate limit, too, since the default
of ten requests per second would be all there is to see. The destination's batch mode sends JSON arrays of 100,000
records, one after another; 5000 or all in one make no clear difference. The table is filled before the clock starts;
the seconds are those of the process `drt run`.
"""

import argparse
import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

BOUND = 300
RECORDS = 100_000


def fill(source: Path, database: Path, rows: int | None) -> int:
    with source.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        connection = sqlite3.connect(database)
        connection.execute("CREATE TABLE changes (op TEXT, user_id INTEGER, group_id INTEGER)")
        connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", islice(lines, rows))
        count: int = connection.execute("SELECT count(*) FROM changes").fetchone()[0]
        connection.commit()
        connection.close()
    return count


def project(folder: Path, database: Path, url: str) -> None:
    """Writes the files that drt reads: YAML, of which JSON is a part."""
    destination = {
        "type": "rest_api",
        "url": url,
        "method": "PATCH",
        "headers": {"Content-Type": "application/json"},
        "body_mode": "batch",
        "batch_template": "{{ rows | tojson_safe }}",
    }
    sync = {"batch_size": RECORDS, "rate_limit": {"requests_per_second": 0}, "on_error": "fail"}
    files: dict[str, object] = {
        ".drt/profiles.yml": {"peer": {"type": "sqlite", "database": str(database)}},
        "drt_project.yml": {"name": "peer", "profile": "peer"},
        "syncs/changes.yml": {
            "name": "changes",
            "model": "SELECT op, user_id, group_id FROM changes",
            "destination": destination,
            "sync": sync,
        },
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int)
    options = parser.parse_args()
    if not find_spec("drt"):
        print("drt_core needs the package drt-core, which is not installed.", file=sys.stderr)
        return 69
    with TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "changes.sqlite"
        rows = fill(options.input, database, options.rows)
        project(folder, database, options.url)
        environment = os.environ | {"HOME": name, "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
        command = [sys.executable, "-c", "from drt.cli.main import app; app()", "run", "--output", "json"]
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=BOUND
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        print(f"drt ended with {done.returncode}", (done.stdout + done.stderr)[-2000:], sep="\n", file=sys.stderr)
        return 1
    print(json.dumps({"rows": rows, "seconds": round(seconds, 4)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
