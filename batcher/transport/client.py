"""HTTP exchanges over aiohttp. This is the only place that converts aiohttp's errors into ours.

Nothing is followed, remembered or repeated: no redirects, no cookies, no retries (except a GET on a kept connection
that turns out to be closed, which aiohttp sends again on a new one; that waits for its turn like any other). A request
is handed to an open connection at the moment when `turn` returns. Pacing happens there, so that connecting, however
slow, never brings two sends closer together than the rate allows.

In HTTP/1.1 only the order tells which request a reply belongs to (RFC 9112 §9.2). So a connection on which unrequested
data has arrived is not used, whether it was idle or a request was waiting for its turn on it. And once that has
happened, no connection is used twice, since a surplus reply that comes a little later would be mistaken for the next
request's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import aiohttp

from batcher.core.errors import EndpointError, OversizedReplyError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.transport.bodies import LARGEST_BODY, LARGEST_HEAD, unpacked
from batcher.transport.connector import SENDING, Connector, Sending, host_of
from batcher.transport.faults import fault
from batcher.transport.kept_connection import HEADERS
from batcher.transport.line import CONNECT_SECONDS, HttpLine, open_line
from batcher.transport.protocol import Trust
from batcher.transport.proxies import Proxy

_MOST_HEADERS = 10_000


class HttpTransport:
    """Use as an async context manager."""

    def __init__(self, timeout_seconds: float, trust: Trust, proxy: Proxy | None = None) -> None:
        self._timeout = timeout_seconds
        self._trust = trust
        self._proxy = proxy

    async def __aenter__(self) -> Self:
        self._now = asyncio.get_running_loop().time
        self._connector = Connector(self._trust, limit=0, ssl=self._trust.expected() or True)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers=HEADERS,
            skip_auto_headers=("Content-Type",),  # a target names it itself
            auto_decompress=False,
            max_line_size=LARGEST_HEAD,
            max_field_size=LARGEST_HEAD,
            max_headers=_MOST_HEADERS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        flight = Sending(turn, self._now, self._timeout)
        SENDING.set(flight)
        try:
            async with flight.limit:
                return replace(await self._send(request), peer=flight.peer)
        except Exception as error:
            if error is flight.interrupted or isinstance(error, EndpointError | ReplyLostError):
                raise
            if flight.limit.expired():
                raise ReplyLostError(f"no complete reply within {self._timeout:g} s") from None
            if flight.protocol is None:
                beginning, why = b"", error
            else:
                beginning, why = flight.protocol.beginning, await flight.protocol.why_lost(error)
            host = host_of(request.url)
            raise fault(why, host, has_left=flight.sent, beginning=beginning, proxy=self._proxy) from None

    def _through(self) -> dict[str, Any]:
        """The proxy, as aiohttp wants it."""
        if self._proxy is None:
            return {}
        known = self._proxy.user or self._proxy.password
        auth = aiohttp.BasicAuth(self._proxy.user, self._proxy.password, "utf-8") if known else None
        return {"proxy": self._proxy.url, "proxy_auth": auth}

    async def line(self, url: str) -> HttpLine | None:
        """See `Transport`. None for a proxy without TLS, which wants requests of another form."""
        if self._proxy is not None and url.startswith("http:"):
            return None
        connector, host = self._connector, host_of(url)
        try:
            return await open_line(connector, url, self._timeout, self._proxy, self._through())
        except Exception as error:
            if isinstance(error, EndpointError):
                raise
            raise fault(error, host, has_left=False, proxy=self._proxy) from None

    async def _send(self, request: Request) -> Response:
        async with self._session.request(
            request.method,
            request.url,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            **self._through(),
        ) as reply:
            body = bytearray()
            async for part in reply.content.iter_any():
                body += part
                if len(body) > LARGEST_BODY:
                    raise OversizedReplyError(reply.status)
            headers = {name.lower(): value for name, value in reply.headers.items()}
            cookies = tuple(reply.headers.getall("Set-Cookie", ()))
            whole = unpacked(bytes(body), headers.get("content-encoding", ""), LARGEST_BODY)
            return Response(reply.status, headers, whole, cookies)
