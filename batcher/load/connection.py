"""The transport of load runs: HTTP/1.1 on kept connections, with exact times of replies.

A general HTTP client takes the time of a reply only when its task gets to run, after all others whose replies came at
the same moment; see `batcher.transport.kept_connection`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from batcher.core.errors import EndpointError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.transport import Trust
from batcher.transport.faults import fault, not_expected
from batcher.transport.kept_connection import KeptConnection, Peer, head_of
from batcher.transport.line import CONNECT_SECONDS, HttpLine

_log = logging.getLogger(__name__)
_FRESH_TRIES = 2
_PORTS = {"http": 80, "https": 443}


class Connections:
    """Use as an async context manager; see `batcher.transport.Transport`."""

    def __init__(self, timeout_seconds: float, trust: Trust, now: Callable[[], float]) -> None:
        self._timeout = timeout_seconds
        self._trust = trust
        self._now = now
        self._peer = Peer()
        self._idle: dict[str, list[KeptConnection]] = {}
        self._open: set[KeptConnection] = set()

    def __repr__(self) -> str:
        return f"<Connections {len(self._open)} open>"

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Created on demand: loading all certificate authorities of a system takes a while."""
        return self._trust.context()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._open):
            connection.transport.abort()

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        scheme, _, rest = request.url.partition("://")
        host, slash, path = rest.partition("/")
        connection = await self._ready(f"{scheme}://{host}", turn)
        replied: asyncio.Future[Response] = self._loop.create_future()

        def done(outcome: Response | Exception) -> None:
            if replied.done():  # nobody waits any more
                return
            if isinstance(outcome, Response):
                replied.set_result(replace(outcome, received_at=self._now()))
            else:
                replied.set_exception(outcome)

        connection.send(head_of(request, host, slash + path), request.body, self._timeout, done)
        try:
            response = await replied
        except BaseException as error:
            connection.forget()
            if isinstance(error, ReplyLostError) or not isinstance(error, Exception):
                raise
            raise fault(error, host, has_left=True, beginning=connection.beginning) from None
        if connection.is_open:
            self._idle[f"{scheme}://{host}"].append(connection)
        else:
            connection.transport.close()
        return response

    async def line(self, url: str) -> HttpLine:
        """See `OffersLines`."""
        kept = await self._connect("/".join(url.split("/", 3)[:3]))
        return HttpLine(kept, urlsplit(url).netloc, self._timeout, lambda: None)

    async def _ready(self, origin: str, turn: Callable[[], Awaitable[None]]) -> KeptConnection:
        """An open connection at the moment when `turn` has returned."""
        idle = self._idle.setdefault(origin, [])
        fresh = 0
        while True:
            while idle and not idle[-1].is_open:
                idle.pop().transport.abort()
            fresh += not idle
            connection = idle.pop() if idle else await self._connect(origin)
            try:
                await turn()
            except BaseException:
                connection.transport.abort()
                raise
            if connection.is_open:
                return connection
            if fresh == _FRESH_TRIES and connection.has_spoken:
                raise EndpointError(
                    f"{urlsplit(origin).netloc} sends data before any request: it is not an HTTP server"
                )

    async def _connect(self, origin: str) -> KeptConnection:
        url = urlsplit(origin)
        host = url.hostname or ""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await self._loop.create_connection(
                    lambda: KeptConnection(self._loop, self._now, self._open.discard, self._peer),
                    host,
                    url.port or _PORTS[url.scheme],
                    ssl=self._context if url.scheme == "https" else None,
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise fault(error, url.netloc, has_left=False) from None
        self._open.add(connection)
        _check_fingerprint(self._trust, connection)
        return connection


def _check_fingerprint(trust: Trust, connection: KeptConnection) -> None:
    tls = connection.transport.get_extra_info("ssl_object")
    if not trust.fingerprint or tls is None:
        return
    found = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
    if found.hex() != trust.fingerprint.replace(":", "").lower():
        with suppress(OSError):
            connection.transport.abort()
        raise not_expected(found)
