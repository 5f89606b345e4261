"""The simulated target behind a real socket, on loopback only."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
from aiohttp import web

from batcher.core.errors import ConfigurationError
from batcher.simulator.behaviour import Behaviour, Stage
from batcher.simulator.journal import opened
from batcher.simulator.messages import Arrival, Reply
from batcher.simulator.world import STATE, World

_log = logging.getLogger("batcher.simulator")

_LARGEST_REQUEST = 64 << 20
_INSUFFICIENT_STORAGE = 507  # RFC 4918, section 11.5


@asynccontextmanager
async def serve(
    behaviour: Behaviour,
    port: int = 0,
    journal: Path | None = None,
    stages: Sequence[Stage] = (),
    applied: Callable[[World], None] = lambda _: None,
) -> AsyncIterator[str]:
    """Serve while the body of the context runs; yields the URL.

    With a `journal`, the memberships are first read from it, and every change is appended to it. `stages` follow the
    initial behaviour. `applied` is called after a request was processed and before its reply is sent.

    Raises:
        ConfigurationError: When the port is taken, or the journal is invalid.
        LedgerHeldError: When another server holds the journal.

    """
    with ExitStack() as stack:
        kept = None if journal is None else stack.enter_context(opened(journal))
        offset = time.time() - anyio.current_time()  # noqa: TID251 — dates in replies are of the real clock
        world = World(behaviour, kept.append if kept else None, stages, offset)
        if kept is not None:
            world.restore(kept.lines())

        async def handle(request: web.Request) -> web.StreamResponse:
            return await _answer(request, world, applied)

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


async def _answer(request: web.Request, world: World, applied: Callable[[World], None]) -> web.StreamResponse:
    headers = {name.lower(): value for name, value in request.headers.items()}
    arrival = Arrival(request.method, request.path_qs, headers, await request.read())
    now = anyio.current_time()
    try:
        reply = Reply(None) if request.path != STATE and world.is_away(now) else world.handle(arrival, now)
    except OSError as error:  # of the journal: the disk is full, say
        _log.warning("the simulator cannot keep its memberships, and answers 507: %s", error)
        reply = Reply(_INSUFFICIENT_STORAGE, b"the memberships cannot be kept")
    applied(world)
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
