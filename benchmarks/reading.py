"""How fast the members of groups are read: requests, and CPU of the client alone.

    python benchmarks/reading.py [--groups 300] [--members 1000] [--runs 5]

A server in a process of its own answers `GET /Groups/ID` with so many members, as a SCIM service does. The client is
what `verify --against-target` uses, with its rate `none`; what it reads goes to a file, as in a run.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import uvloop

from batcher.core.target import Credentials
from batcher.engine.jobs.asking import Access, asking
from batcher.engine.jobs.member_spool import MemberSpool
from batcher.engine.run.announced import Announced
from batcher.engine.run.group_reader import GroupReader
from batcher.engine.run.session import make_target, readable
from batcher.host.runtime import real_runtime
from batcher.settings import Settings

_UUID = "00000000-0000-4000-8000-{:012d}"


class Service(asyncio.Protocol):
    """Answers each request with the members of the group that it names."""

    listed = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        group = data.split(b" ", 2)[1].rsplit(b"/", 1)[-1]
        body = b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"id":"%b","members":[%b]}' % (
            group,
            self.listed,
        )
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/scim+json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def serve(members: int) -> None:
    entry = '{{"value":"{0}","type":"User","$ref":"/Users/{0}"}}'
    Service.listed = ",".join(entry.format(_UUID.format(number)) for number in range(members)).encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def service(members: int) -> Iterator[str]:
    """The address of a fresh service, for as long as the block lasts."""
    line = [sys.executable, __file__, "--serve", "--members", str(members)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        process.wait(timeout=10)


async def read(url: str, groups: int) -> tuple[int, int, float, float]:
    """Requests, members, and seconds of CPU and of the clock."""
    settings = Settings.load(None, {"target.kind": "scim", "target.url": url, "rate.requests": "none"})
    target = make_target(settings)
    access = Access(settings, Credentials(token="benchmark"), real_runtime(None))  # noqa: S106 — of nobody
    with tempfile.TemporaryFile() as aside:
        spool = MemberSpool(aside, pa.string(), pa.string())
        async with asking(target, access, 8) as asked:
            reader = GroupReader(
                readable(target), asked.dialect, asked.inquiry, Announced(asked.dialect, asked.inquiry)
            )
            before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            await reader.read([f"group-{number}" for number in range(groups)], spool.take)
            wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        if spool.unread:
            sys.exit(f"unread: {spool.unread[0]}")
        rows = sum(batch.num_rows for batch in spool.batches())
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return asked.inquiry.sent, rows, cpu, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.members))
        return
    with service(options.members) as url:
        found = [uvloop.run(read(url, options.groups)) for _ in range(options.runs)]
    requests, members = found[0][:2]
    cpu, wall = (statistics.median(run[place] for run in found) for place in (2, 3))
    print(f"{requests:,} requests for {options.groups:,} groups, {members:,} members; medians of {options.runs} runs")
    print(f"{members / cpu:,.0f} members per second of CPU, {members / wall:,.0f} per second")


if __name__ == "__main__":
    main()
