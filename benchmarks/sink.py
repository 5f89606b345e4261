"""A target in its own process that does as little as it can: counts, and answers what each dialect expects.

    python benchmarks/sink.py [SHARE]

It speaks just enough HTTP/1.1 for one client. `GET /` answers what it counted. SHARE of the requests, half of them
each, is refused with 429 and with 503.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

import orjson

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSALS = [
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
]


class Sink(asyncio.Protocol):
    """One connection."""

    requests = 0
    bytes = 0
    refused = 0.0
    dice = random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.transport.write(self.answer(head, body))

    def answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"get"):
            return reply(json.dumps({"requests": Sink.requests, "bytes": Sink.bytes}).encode())
        if Sink.dice.random() < Sink.refused:
            return Sink.dice.choice(REFUSALS)
        Sink.requests += 1
        Sink.bytes += len(body)
        if head.startswith(b"patch"):
            return NO_CONTENT
        content = orjson.loads(body[body.index(b'{"membership"') : body.rindex(b"\r\n--")])["membership"]
        said = {
            listed: [f"User {e['user_id']} {verb} usergroup {e['usergroup_id']}" for e in content[name]]
            for name, listed, verb in (("add", "added", "added to"), ("remove", "removed", "removed from"))
        }
        return reply(orjson.dumps({"data": said}))


def reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def main() -> None:
    Sink.refused = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends when whoever started it does


if __name__ == "__main__":
    asyncio.run(main())
