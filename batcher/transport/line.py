"""Lines: connections that aiohttp's connector has opened (names, proxies, TLS), and on which we write and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp.helpers import TimerNoop
from yarl import URL

from batcher.core.errors import BatcherError
from batcher.core.http import Request, Response
from batcher.transport.connector import Connector, Watched
from batcher.transport.faults import fault
from batcher.transport.kept_connection import Done, KeptConnection, start_of
from batcher.transport.proxies import Proxy

CONNECT_SECONDS = 30.0


async def open_line(
    connector: Connector, url: str, timeout_seconds: float, proxy: Proxy | None, through: dict[str, Any]
) -> HttpLine | None:
    """A line to the origin of this address; `through` is the proxy, as aiohttp wants it.

    Raises whatever aiohttp raises when no connection can be made.
    """
    loop = asyncio.get_running_loop()
    request = aiohttp.ClientRequest(
        "GET", URL(url), loop=loop, timer=TimerNoop(), response_class=aiohttp.ClientResponse, **through
    )
    connection = await connector.unused(request, CONNECT_SECONDS)
    if connection is None:
        return None
    kept = KeptConnection(loop, loop.time, lambda _: None, connector.peer)
    transport, handler = cast("asyncio.Transport", connection.transport), cast("Watched", connection.protocol)
    kept.take_over(transport, has_replied=handler.replies > 0)
    return HttpLine(kept, urlsplit(url).netloc, timeout_seconds, connection.close, proxy)


class HttpLine:
    """See `Line`."""

    def __init__(
        self,
        kept: KeptConnection,
        host: str,
        timeout_seconds: float,
        closed: Callable[[], None],
        proxy: Proxy | None = None,
    ) -> None:
        """`closed` is called when it is closed."""
        self._kept = kept
        self._host = host
        self._timeout = timeout_seconds
        self._closed = closed
        self._proxy = proxy
        self._done: Done | None = None
        self._known: tuple[object, ...] = ()
        self._start = b""
        """The beginning of the head of requests that have these methods, addresses and headers."""

    def __repr__(self) -> str:
        return f"<HttpLine to {self._host}>"

    @property
    def is_open(self) -> bool:
        """See `Line`."""
        return self._kept.is_open

    def send(self, request: Request, done: Callable[[Response | Exception], None]) -> None:
        """See `Line`."""
        known = (request.method, request.url, request.headers)
        if known != self._known:
            path = request.url.partition("://")[2].partition("/")[2]
            self._known, self._start = known, start_of(request, self._host, f"/{path}")
        self._done = done
        head = b"%bContent-Length: %d\r\n\r\n" % (self._start, len(request.body))
        self._kept.send(head, request.body, self._timeout, self._replied)

    def close(self) -> None:
        """See `Line`."""
        self._kept.forget()
        self._closed()

    def _replied(self, outcome: Response | Exception) -> None:
        if not isinstance(outcome, Response | BatcherError):
            beginning = self._kept.beginning
            outcome = fault(outcome, self._host, has_left=True, beginning=beginning, proxy=self._proxy)
        cast("Done", self._done)(outcome)
