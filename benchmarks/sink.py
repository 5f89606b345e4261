"""A target in its own process that does as little as it can: counts, and answers what each dialect expects.

    python benchmarks/sink.py [--refused SHARE] [--latency MILLISECONDS] [--spread SIGMA] [--port PORT]

It speaks just enough HTTP/1.1 for one client. `GET /` answers what it counted, and the percentiles of how long it
took itself from a request's last byte to the reply's (and forgets those). SHARE of the requests, half of them each, is
refused with 429 and with 503. With SIGMA the latency is the median of a log-normal distribution. It ends when its
standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import sys
import time
from typing import ClassVar

import orjson
import uvloop

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSALS = [
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
]
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
VERBS = (("add", "added", "added to"), ("remove", "removed", "removed from"))


class Sink(asyncio.Protocol):
    """One connection; the figures are of all together."""

    requests = 0
    bytes = 0
    first = 0.0
    """When the first request with changes came, in the seconds of `time.time()`."""
    refused = 0.0
    latency = 0.0
    spread = 0.0
    took: ClassVar[list[float]] = []
    rng = random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.parts: list[bytes] = []
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self.missing -= len(data)
        if self.missing > 0:
            return
        buffer = b"".join(self.parts)
        stop = 0
        while (end := buffer.find(END)) >= 0:
            end += len(END)
            match = LENGTH.search(buffer, 0, end)
            stop = end + (int(match[1]) if match else 0)
            if len(buffer) < stop:
                break
            self.answer(buffer[:4], buffer[end:stop])
            buffer = buffer[stop:]
        self.parts, self.missing = [buffer], (stop - len(buffer) if end >= 0 else 0)

    def answer(self, method: bytes, body: bytes) -> None:
        if Sink.latency and method != b"GET ":
            seconds = Sink.latency * math.exp(Sink.rng.gauss(0, Sink.spread)) if Sink.spread else Sink.latency
            self.loop.call_later(seconds, self.send, time.monotonic(), self.reply(method, body))
        else:
            self.transport.write(self.reply(method, body))

    def send(self, began: float, reply: bytes) -> None:
        Sink.took.append(time.monotonic() - began)
        self.transport.write(reply)

    def reply(self, method: bytes, body: bytes) -> bytes:
        if method == b"GET ":
            took, Sink.took = sorted(Sink.took), []
            percentiles = {name: took[int(share * len(took))] for name, share in SHARES.items()} if took else {}
            counted = {"requests": Sink.requests, "bytes": Sink.bytes, "first": Sink.first}
            return ok(orjson.dumps(counted | {"took": percentiles}))
        if Sink.refused and Sink.rng.random() < Sink.refused:
            return Sink.rng.choice(REFUSALS)
        Sink.first = Sink.first or time.time()  # noqa: TID251 — a stop-watch across processes
        Sink.requests += 1
        Sink.bytes += len(body)
        return ok(statements(body)) if b"membership" in body[:256] and method == b"POST" else NO_CONTENT


def statements(body: bytes) -> bytes:
    """What Scrutinizer says of each entry: by id or by name, as it was asked."""
    content = orjson.loads(body[body.index(b'{"membership"') : body.rindex(b"\r\n--")])["membership"]
    said = {}
    for name, listed, verb in VERBS:
        entries = content[name]
        if entries and isinstance(next(iter(entries[0].values())), str):
            said[listed] = [f"User {e['user_name']} {verb} usergroup {e['usergroup_name']}" for e in entries]
        else:
            said[listed] = [f"User {e['user_id']} {verb} usergroup {e['usergroup_id']}" for e in entries]
    return orjson.dumps({"data": said})


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--refused", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    Sink.refused, Sink.latency = options.refused, options.latency / 1000
    Sink.spread = options.spread
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", options.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
