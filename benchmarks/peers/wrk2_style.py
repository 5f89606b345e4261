"""Constant throughput and latencies from the intended start, as wrk2 measures them; nothing but sockets.

    python benchmarks/peers/wrk2_style.py URL BODY_FILE RATE SECONDS

It prints percentiles in milliseconds as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


SPIN_SECONDS = 0.0015


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    idle: list[Client]
    latencies: list[float]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.due = 0.0

    def data_received(self, _: bytes) -> None:
        """A reply of the sink fits into one read."""
        self.latencies.append(time.monotonic() - self.due)
        self.idle.append(self)


async def main() -> None:
    url, rate, seconds = urlsplit(sys.argv[1]), float(sys.argv[3]), float(sys.argv[4])
    body = Path(sys.argv[2]).read_bytes()
    head = (
        f"PATCH /oserve/v1/miniapp/group/membership/ HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    loop = asyncio.get_running_loop()
    Client.idle, Client.latencies = [], []
    clients = [(await loop.create_connection(Client, url.hostname, url.port))[1] for _ in range(64)]
    Client.idle.extend(clients)
    start = time.monotonic() + 0.1
    for number in range(int(rate * seconds)):
        due = start + number / rate
        while time.monotonic() < due or not Client.idle:
            left = due - time.monotonic()
            await asyncio.sleep(max(0.0, left - SPIN_SECONDS))  # noqa: TID251 — no library but its own
        client = Client.idle.pop()
        client.due = due
        client.transport.write(request)
    while len(Client.idle) < len(clients):  # noqa: ASYNC110 — the same
        await asyncio.sleep(0.01)  # noqa: TID251 — the same
    took = sorted(Client.latencies)
    print(json.dumps({name: 1000 * took[int(share * len(took))] for name, share in SHARES.items()}))


if __name__ == "__main__":
    uvloop.run(main())
