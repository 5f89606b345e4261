"""Lines as a transport, so that whatever is true of a transport is asked of them, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from batcher.core.http import Request, Response
from batcher.transport import HttpTransport, Trust
from batcher.transport.protocol import Line


class OnLines:
    """Each request leaves on a line, which is kept; where there is none, it goes the other way, as in a run."""

    def __init__(self, timeout_seconds: float, trust: Trust) -> None:
        self._transport = HttpTransport(timeout_seconds, trust)
        self._idle: list[Line] = []

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for line in self._idle:
            line.close()
        await self._transport.__aexit__(*error)

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        line = await self._line(request.url)
        if line is None:
            return await self._transport.exchange(request, turn)
        try:
            await turn()
            if not line.is_open:
                return await self._transport.exchange(request, turn)
            return await self._sent(line, request)
        finally:
            if line.is_open:
                self._idle.append(line)
            else:
                line.close()

    async def _sent(self, line: Line, request: Request) -> Response:
        outcome: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def done(found: Response | Exception) -> None:
            if isinstance(found, Response):
                outcome.set_result(found)
            else:
                outcome.set_exception(found)

        line.send(request, done)
        return await outcome

    async def _line(self, url: str) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_open:
                return line
            line.close()
        return await self._transport.line(url)
