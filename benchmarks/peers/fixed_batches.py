"""Batches of so many rows in the order of the file, as scripts often do: each a JSON array, 8 requests in flight.

    python benchmarks/peers/fixed_batches.py INPUT.csv URL [--rows N] [--size 100]

With a size of 1 it is one request per change, which is what an API without batches asks for. Nothing is grouped and no
results are kept. The seconds count from the first line of this file to the last reply.
"""

import time

START = time.perf_counter()
# ruff: noqa: E402
import argparse
import asyncio
import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

try:
    import aiohttp
    import orjson
    import uvloop
except ImportError as missing:
    print(f"fixed_batches needs {missing.name}, which is not installed.", file=sys.stderr)
    sys.exit(69)

IN_FLIGHT, BOUND = 8, 300
Row = list[str]


async def deliver(url: str, rows: Iterator[Row], size: int) -> int:
    async def sender() -> None:
        nonlocal sent
        while batch := list(islice(rows, size)):
            body = orjson.dumps([{"op": op, "user": int(user), "group": int(group)} for op, user, group in batch])
            async with session.patch(url, data=body, headers=headers) as reply:
                await reply.read()
            sent += len(batch)

    sent = 0
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with (
        asyncio.timeout(BOUND),
        aiohttp.ClientSession(connector=connector, raise_for_status=True) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(IN_FLIGHT):
            group.create_task(sender())
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--size", type=int, default=100)
    options = parser.parse_args()
    with options.input.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        rows = uvloop.run(deliver(options.url, islice(lines, options.rows), options.size))
    print(json.dumps({"rows": rows, "seconds": round(time.perf_counter() - START, 4)}))


if __name__ == "__main__":
    main()
