"""The simulated target behind a real socket, on loopback only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
from aiohttp import web

from batcher.core.errors import ConfigurationError
from batcher.simulator.behaviour import Behaviour
from batcher.simulator.messages import Arrival
from batcher.simulator.world import World

_LARGEST_REQUEST = 64 << 20


@asynccontextmanager
async def serve(behaviour: Behaviour, port: int = 0, journal: Path | None = None) -> AsyncIterator[str]:
    """Serve while the body runs; gives the address.

    With a `journal` the membership is read from it first, and every change is added to it.

    Raises:
        ConfigurationError: When the port is taken.

    """
    with ExitStack() as stack:
        write = None
        if journal is not None:
            write = stack.enter_context(journal.open("ab", buffering=0)).write
        world = World(behaviour, write)
        if journal is not None:
            _cut_torn_line(journal)
            with journal.open("rb") as lines:
                world.restore(lines)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await _answer(request, world)

        application = web.Application(client_max_size=_LARGEST_REQUEST)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
            except OSError as error:
                raise ConfigurationError(f"port {port} cannot be used: {error.strerror}") from None
            host, bound = runner.addresses[0][:2]
            yield f"http://{host}:{bound}"
        finally:
            await runner.cleanup()


def _cut_torn_line(journal: Path) -> None:
    """A kill may have left half a line; the next one must not be glued to it."""
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)


async def _answer(request: web.Request, world: World) -> web.StreamResponse:
    headers = {name.lower(): value for name, value in request.headers.items()}
    arrival = Arrival(request.method, request.path_qs, headers, await request.read())
    reply = world.handle(arrival, anyio.current_time())
    if reply.delay:
        await anyio.sleep(reply.delay)
    if reply.status is None:
        _drop(request)
        return web.Response()
    response = web.Response(status=reply.status, body=reply.body)
    for name, value in reply.headers:
        response.headers.add(name, value)
    if not reply.is_cut:
        return response
    stream = web.StreamResponse(status=reply.status, headers=response.headers)
    stream.content_length = len(reply.body)
    await stream.prepare(request)
    await stream.write(reply.body[: len(reply.body) // 2])
    _drop(request)
    return stream


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
