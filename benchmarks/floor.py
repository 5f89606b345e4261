"""What no program could do without: to parse the file once, and to send the same bodies once.

Parsing is pyarrow's reader on all cores, straight to columns that nobody looks at. Sending is a client of a few lines
on plain sockets, with as many connections as asked for, which knows nothing but how replies end.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pyarrow.csv
import uvloop

from batcher.core.model import Position
from batcher.core.ordering import OrderBy
from batcher.engine.run.intake import Packing, take_in
from batcher.engine.run.window_reader import WorkItem
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.source.windows import Windower
from batcher.targets import create


def parse_seconds(path: Path) -> float:
    started = time.perf_counter()
    pyarrow.csv.read_csv(path)
    return time.perf_counter() - started


def bodies(kind: str, path: Path, changes: int) -> list[bytes]:
    """The bodies that a run would send."""
    target = create(kind, "https://example.org", "")
    windower = Windower()
    how = Reading(Fields.of({}, target.key_kind))
    windows = []
    for step in read(0, Input(path.name, path), how, Position()):
        if not isinstance(step, Waits):
            windows += windower.feed(*step)
    limits, result = replace(target.limits, max_changes=changes), []
    packing = Packing(limits, target.wire, OrderBy.PAIR, count().__next__)
    for window in windows + list(windower.flush()):
        intake = take_in(WorkItem(window), OrderBy.PAIR)
        result += [target.encode(batch, "token").body for batch in packing.batches(intake.window, intake.rows)]
    return result


async def replay(url: str, requests: Sequence[bytes], connections: int = 8) -> float:
    """Seconds to send them all and to get all replies."""
    address = urlsplit(url)
    waiting = iter(requests)
    head = f"PATCH / HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: "

    async def work() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for body in waiting:
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())
    return time.perf_counter() - started


async def bare_cpu(url: str, requests: Sequence[bytes], at_once: int = 8) -> float:
    """CPU seconds per request of aiohttp alone, as a program would use it that only sends."""
    waiting = iter(requests)

    async def work(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.patch(url, data=body) as reply:
                await reply.read()

    headers = {"Authorization": "Bearer benchmark", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        before = resource.getrusage(resource.RUSAGE_SELF)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work(session))
        after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(requests)


def run(coroutine: Coroutine[Any, Any, float]) -> float:
    """On the loop that the command uses."""
    return uvloop.run(coroutine)
