"""A proxy on loopback that lets requests through to one server, and some of them only half of the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web


@dataclass
class Faults:
    """The share of each fault among the requests with changes, and how often each has happened."""

    shares: dict[str, float]
    """`429`, `503`, `before` (dropped before the server has it), `after` (it has it, the reply is dropped)."""
    rng: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    def next(self) -> str:
        roll = self.rng.random()
        for kind, share in self.shares.items():
            roll -= share
            if roll < 0:
                self.happened[kind] += 1
                return kind
        self.happened["none"] += 1
        return ""


@asynccontextmanager
async def faulty(url: str, faults: Faults) -> AsyncIterator[str]:
    """The address of the proxy of this server while the body runs."""
    origin = "/".join(url.split("/", 3)[:3])
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            fault = faults.next() if request.method == "PATCH" else ""
            if fault.isdecimal():
                return web.Response(status=int(fault), headers={"Retry-After": "0"})
            if fault != "before":
                headers = {n: v for n, v in request.headers.items() if n.lower() not in {"host", "content-length"}}
                async with session.request(request.method, origin + request.path_qs, data=body, headers=headers) as got:
                    content = await got.read()
            if fault:
                request.transport.abort()
                return web.Response()
            kept = {n: v for n, v in got.headers.items() if n.lower() in {"content-type", "location", "etag"}}
            return web.Response(status=got.status, body=content, headers=kept)

        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}/{url.split('/', 3)[3]}"
        finally:
            await runner.cleanup()
