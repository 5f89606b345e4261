"""The transport of load runs: HTTP/1.1 on kept connections, with exact times of replies.

A general HTTP client takes more time for a request than the request itself, and takes the time of a reply only when its
task gets to run, after all others whose replies came at the same moment. Here the time is taken when the last byte has
been parsed. A connection carries one request at a time; redirects are not followed, cookies are not kept, and nothing
is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httptools

from batcher.core.errors import EndpointError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.transport import Trust
from batcher.transport.bodies import unpacked
from batcher.transport.client import CONNECT_SECONDS, LARGEST_BODY
from batcher.transport.connector import LARGEST_HEAD, SURPLUS
from batcher.transport.faults import fault, not_expected

_log = logging.getLogger(__name__)
_FRESH_TRIES = 2
_PORTS = {"http": 80, "https": 443}


class Connections:
    """Use as an async context manager; see `batcher.transport.Transport`."""

    def __init__(self, timeout_seconds: float, trust: Trust, now: Callable[[], float]) -> None:
        self._timeout = timeout_seconds
        self._trust = trust
        self._now = now
        self._idle: dict[str, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._keeps = True
        """Whether a connection may be used for another request; not after unrequested data has arrived on one."""

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
        origin = f"{scheme}://{host}"
        idle = self._idle.setdefault(origin, [])
        fresh = 0
        while True:
            while idle and idle[-1].transport.is_closing():
                idle.pop()
            fresh += not idle
            connection = idle.pop() if idle else await self._connect(origin)
            try:
                await turn()
            except BaseException:
                connection.transport.abort()
                raise
            if not connection.transport.is_closing():
                break
            if fresh == _FRESH_TRIES and connection.has_spoken:
                raise EndpointError(f"{host} sends data before any request: it is not an HTTP server")
        head = _head(request, host, slash + path)
        try:
            status, fields, body = await connection.ask(head, request.body, self._timeout)
        except BaseException as error:
            connection.transport.abort()
            if isinstance(error, ReplyLostError) or not isinstance(error, Exception):
                raise
            raise fault(error, host, has_left=True, beginning=connection.beginning) from None
        if connection.is_reusable and self._keeps:
            idle.append(connection)
        else:
            connection.transport.close()
        cookies = tuple(value for name, value in fields if name == "set-cookie")
        headers = dict(fields)
        whole = unpacked(body, headers.get("content-encoding", ""), LARGEST_BODY)
        return Response(status, headers, whole, cookies, connection.received_at)

    async def _connect(self, origin: str) -> _Connection:
        url = urlsplit(origin)
        host = url.hostname or ""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self._loop, self._now, self._open.discard, self._distrust),
                    host,
                    url.port or _PORTS[url.scheme],
                    ssl=self._context if url.scheme == "https" else None,
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise fault(error, url.netloc, has_left=False) from None
        self._open.add(connection)
        _check_fingerprint(self._trust, connection)
        return connection

    def _distrust(self) -> None:
        if self._keeps:
            self._keeps = False
            _log.warning(SURPLUS)
            for connection in (connection for idle in self._idle.values() for connection in idle):
                connection.transport.abort()


class _Connection(asyncio.Protocol):
    """One connection. Call `ask` only if no other request is in progress on it."""

    transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
        lost: Callable[[_Connection], None],
        has_surplus: Callable[[], None],
    ) -> None:
        self.received_at = 0.0
        self.is_reusable = True
        self.has_spoken = False
        """Whether unrequested data has arrived."""
        self.beginning = b""
        """The first bytes of the awaited reply."""
        self._loop = loop
        self._now = now
        self._lost = lost
        self._has_surplus = has_surplus
        self._reply: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._status = 0
        self._head = 0
        """Bytes so far that may belong to the head of the reply; -1 once it is complete."""

    async def ask(self, head: bytes, body: bytes, patience: float) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send a request; returns status, headers (names in lower case) and body of the reply.

        Raises:
            ReplyLostError: When no complete reply came within `patience` seconds.
            HttpParserError: When what came is not a reply.
            OSError: When the connection broke.

        """
        self._headers, self._body, self._head = [], bytearray(), 0
        self._reply = self._loop.create_future()
        self.beginning = b""
        late = ReplyLostError(f"no complete reply within {patience:g} s")
        watch = self._loop.call_later(patience, self._fail, late)
        try:
            self.transport.writelines([head, body]) if body else self.transport.write(head)
            await self._reply
        finally:
            watch.cancel()
            self._reply = None
        return self._status, self._headers, bytes(self._body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # the transport of a connection can also write

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the awaited reply, unless the end of the connection is what completes it."""
        self._lost(self)
        if exc is None and self._ends_with_the_connection():
            self.is_reusable = False
            self._end()
        self._fail(exc or ReplyLostError("no complete reply: the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Feed the parser; it calls the methods below."""
        if self._reply is None:
            self.has_spoken = True
            self.transport.abort()  # nothing was requested
            if self._status:
                self._has_surplus()
            return
        self.beginning = self.beginning or data[:16]
        if self._head >= 0:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.is_reusable = False  # even if the reply was complete: more came than that
            self._fail(error)
        if self._head > LARGEST_HEAD:
            self._fail(ReplyLostError("no complete reply: its head is larger than 64 KiB"))

    def on_message_begin(self) -> None:
        """A reply begins. What follows a complete one would be taken for the beginning of the next request's."""
        if self._is_over():
            self.is_reusable = False
            self._has_surplus()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        if self._is_over():
            return
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete; the body follows."""
        self._head = -1

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._is_over():
            return
        self._body += body
        if len(self._body) > LARGEST_BODY:
            self._fail(ReplyLostError("no complete reply: the body is larger than 8 MiB"))

    def on_message_complete(self) -> None:
        """The reply is complete, unless it only announces another one (1xx)."""
        if self._is_over():
            self.is_reusable = False  # no second reply was requested
            self._has_surplus()
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:  # noqa: PLR2004 — RFC 9110 §15.2
            self._headers, self._head = [], 0
            return
        self.is_reusable = self._parser.should_keep_alive() and not self._has_hidden_body()
        self._end()

    def _is_over(self) -> bool:
        return self._reply is None or self._reply.done()

    def _end(self) -> None:
        self.received_at = self._now()
        if self._reply is not None:
            self._reply.set_result(None)

    def _ends_with_the_connection(self) -> bool:
        """Whether the reply has begun and is delimited by the end of the connection (RFC 9112 §6.3)."""
        if self._reply is None or self._head >= 0:
            return False
        self._status = self._parser.get_status_code()
        names = {name for name, _ in self._headers}
        return self._status >= 200 and not names & {"content-length", "transfer-encoding"}  # noqa: PLR2004 — as below

    def _has_hidden_body(self) -> bool:
        """Whether a 204 has a body nevertheless, which the parser does not read (RFC 9110 §8.6)."""
        return self._status == 204 and any(  # noqa: PLR2004 — as above
            name in {"content-length", "transfer-encoding"} for name, _ in self._headers
        )

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)


def _head(request: Request, host: str, path: str) -> bytes:
    lines = [f"{request.method} {path or '/'} HTTP/1.1", f"Host: {host}"]
    lines += ["User-Agent: batcher", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _check_fingerprint(trust: Trust, connection: _Connection) -> None:
    tls = connection.transport.get_extra_info("ssl_object")
    if not trust.fingerprint or tls is None:
        return
    found = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
    if found.hex() != trust.fingerprint.replace(":", "").lower():
        with suppress(OSError):
            connection.transport.abort()
        raise not_expected(found)
