"""The simulated target as a transport, without a network in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from batcher.core.errors import NotSentError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.simulator.messages import Arrival
from batcher.simulator.world import World


class InMemory:
    """See `batcher.transport.Transport`; `timeout` is how many seconds a reply may take."""

    def __init__(self, world: World, timeout: float) -> None:
        self.world = world
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<InMemory {self.world!r}>"

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """As over a network: takes as long as the world says, and gets lost if it says so."""
        await anyio.lowlevel.checkpoint()
        if self.world.is_away(anyio.current_time()):
            raise NotSentError("connection refused")
        await turn()
        return await self.reply(request)

    async def reply(self, request: Request) -> Response:
        """The reply to a request that was sent.

        Raises:
            ReplyLostError: When no reply comes in time, or not all of it.

        """
        path = "/" + request.url.split("/", 3)[3]
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrival = Arrival(request.method, path, headers, request.body)
        reply = self.world.handle(arrival, anyio.current_time())
        if reply.delay > self.timeout:
            await anyio.sleep(self.timeout)
            raise ReplyLostError("no complete reply in time")
        await anyio.sleep(reply.delay)
        if reply.status is None or reply.is_cut:
            raise ReplyLostError("connection reset")
        cookies = tuple(value for name, value in reply.headers if name == "Set-Cookie")
        return Response(reply.status, {n.lower(): v for n, v in reply.headers}, reply.body, cookies)
