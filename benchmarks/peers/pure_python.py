"""The same job in plain Python: the csv module, dictionaries, aiohttp, orjson and uvloop.

    python benchmarks/peers/pure_python.py INPUT.csv URL [--rows N]

The last change of a user and a group wins. Changes are grouped by op and group into ops of at most 1000 users, ops
into requests of at most 5000 changes and 50 ops, 8 of them in flight. What became of each row goes to a CSV file. The
seconds count from the first line of this file to the last row's result.
"""

import time

START = time.perf_counter()
# ruff: noqa: E402
import argparse
import asyncio
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

try:
    import aiohttp
    import orjson
    import uvloop
except ImportError as missing:
    print(f"pure_python needs {missing.name}, which is not installed.", file=sys.stderr)
    sys.exit(69)

USERS, CHANGES, OPS, IN_FLIGHT = 1000, 5000, 50, 8
BOUND = 300
Group = tuple[str, str]
Op = tuple[Group, list[int], list[int]]
"""The op and the group; users; their rows."""


def read(path: Path, rows: int | None, results: TextIO) -> tuple[int, dict[Group, tuple[list[int], list[int]]]]:
    """How many rows there were, and users and rows by op and group."""
    last: dict[Group, tuple[str, int]] = {}
    count = 0
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        for count, (op, user, group) in enumerate(islice(lines, rows), 1):
            pair = user, group
            if pair in last:
                results.write(f"{last[pair][1]},superseded\n")
            last[pair] = op, count
    groups: dict[Group, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for (user, group), (op, row) in last.items():
        users, numbers = groups[op, group]
        users.append(int(user))
        numbers.append(row)
    return count, groups


def requests(groups: dict[Group, tuple[list[int], list[int]]]) -> Iterator[list[Op]]:
    batch: list[Op] = []
    changes = 0
    for key, (users, rows) in groups.items():
        for start in range(0, len(users), USERS):
            some = users[start : start + USERS]
            if changes + len(some) > CHANGES or len(batch) == OPS:
                yield batch
                batch, changes = [], 0
            batch.append((key, some, rows[start : start + USERS]))
            changes += len(some)
    if batch:
        yield batch


def encode(batch: list[Op]) -> bytes:
    return orjson.dumps(
        [{"op": op, "path": "/membership", "users": users, "groups": [int(group)]} for (op, group), users, _ in batch]
    )


async def deliver(url: str, batches: Iterator[list[Op]], results: TextIO) -> None:
    async def sender() -> None:
        for batch in batches:
            async with session.patch(url, data=encode(batch), headers=headers) as reply:
                await reply.read()
            results.writelines(f"{row},{reply.status}\n" for _, _, rows in batch for row in rows)

    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with (
        asyncio.timeout(BOUND),
        aiohttp.ClientSession(connector=connector, raise_for_status=True) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(IN_FLIGHT):
            group.create_task(sender())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        with (Path(folder) / "results.csv").open("w", encoding="ascii", buffering=1 << 20) as results:
            rows, groups = read(options.input, options.rows, results)
            uvloop.run(deliver(options.url, requests(groups), results))
        print(json.dumps({"rows": rows, "seconds": round(time.perf_counter() - START, 4)}))


if __name__ == "__main__":
    main()
