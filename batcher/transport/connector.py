"""Connections of aiohttp that know whose turn it is, and whether anything has come on them that nobody asked for.

In HTTP/1.1 nothing but its place tells which request a reply belongs to (RFC 9112 §9.2). So a connection on which
anything has come while no request was in flight on it is not used any more, and once that has happened, none is used
twice.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from batcher.core.errors import EndpointError
from batcher.transport.bodies import LARGEST_HEAD
from batcher.transport.kept_connection import Peer
from batcher.transport.protocol import Trust

_FRESH_TRIES = 2
_CODE, _NO_CONTENT = slice(8, 12), b" 204"
"""Where a status line has its code (RFC 9112 §4), and what is there for a 204."""
_STATUS_LINE = b"HTTP/"
_END = b"\r\n\r\n"


@dataclass(slots=True)
class Sending:
    """One exchange, as the connector sees it."""

    turn: Callable[[], Awaitable[None]]
    now: Callable[[], float]
    timeout: float
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    sent: bool = False
    interrupted: BaseException | None = None
    """What `turn` raised."""
    protocol: Watched | None = None

    @property
    def peer(self) -> str:
        """The address of the peer."""
        transport = self.protocol.transport if self.protocol is not None else None
        name = transport.get_extra_info("peername") if transport is not None else None
        return f"[{name[0]}]:{name[1]}" if name and ":" in name[0] else f"{name[0]}:{name[1]}" if name else ""

    async def depart(self) -> None:
        """A connection is there: wait for the turn, with the time limit suspended meanwhile."""
        if self.sent:
            self.limit.reschedule(None)
        try:
            await self.turn()
        except BaseException as error:
            self.interrupted = error
            raise

    def leaves(self, protocol: Watched) -> None:
        """The request is handed over; the time limit starts."""
        self.protocol, self.sent = protocol, True
        self.limit.reschedule(self.now() + self.timeout)


SENDING: ContextVar[Sending] = ContextVar("flight")


class Connector(aiohttp.TCPConnector):
    """Returns a connection when it is the request's turn, provided that no unrequested data has come on it."""

    def __init__(self, trust: Trust, **options: Any) -> None:  # noqa: ANN401 — aiohttp's
        super().__init__(**options)
        self._trust = trust
        self.peer = Peer()
        self._factory: Any = functools.partial(Watched, loop=self._loop, has_surplus=self.peer.distrust)

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ANN401, ASYNC109 — aiohttp's signature
        """See `BaseConnector`."""
        flight, fresh = SENDING.get(), 0
        while True:
            connection = await super().connect(req, traces, timeout)
            handler = cast("Watched", connection.protocol)
            if handler.replies and not self.peer.keeps:
                connection.close()
                continue
            fresh += not handler.replies
            try:
                await flight.depart()
            except BaseException:
                connection.close()
                raise
            if handler.is_quiet:
                handler.expects()
                flight.leaves(handler)
                return connection
            handler.judge()
            connection.close()
            if fresh == _FRESH_TRIES and isinstance(handler.lost_by, ssl.SSLError):
                raise handler.lost_by  # an alert, such as that a client certificate is asked for
            if fresh == _FRESH_TRIES:
                raise EndpointError(f"{host_of(str(req.url))} sends data before any request: it is not an HTTP server")

    async def unused(self, req: Any, seconds: float) -> aiohttp.connector.Connection | None:  # noqa: ANN401 — aiohttp's
        """A connection for somebody who will use it again and again; None when there is none on which nothing came."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds)
        while self.peer.keeps:
            connection = await super().connect(req, [], timeout)
            handler = cast("Watched", connection.protocol)
            if handler.is_quiet:
                return connection
            handler.judge()
            connection.close()
            if not handler.replies:
                break
        return None

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        """Created on demand: loading all certificate authorities of a system takes a while."""
        return self._trust.context()

    def _get_ssl_context(self, req: Any) -> ssl.SSLContext | None:  # noqa: ANN401 — aiohttp's signature
        """Our context even with a fingerprint, for which aiohttp would use one without our client certificate."""
        return self._context if req.is_ssl() else None

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:  # noqa: ANN401 — aiohttp's signature
        if not should_close:
            protocol.judge_rest()
        protocol.has_replied()
        super()._release(key, protocol, should_close=should_close or not self.peer.keeps)


class Watched(ResponseHandler):
    """A connection that tracks how much has come on it, and handles a 204 with a body (RFC 9110 §6.4.1)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, has_surplus: Callable[[], None]) -> None:
        super().__init__(loop)
        self._has_surplus = has_surplus
        self.replies = 0
        self.beginning = b""
        """The first bytes of the reply that is awaited."""
        self.lost_by: BaseException | None = None
        """The error that ended the connection."""
        self._received = 0
        self._known = 0
        """The value of `_received` when the last reply was complete."""
        self._head: bytes | None = None
        """The incomplete head of a reply that may be a 204."""

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come since the last reply."""
        return self.is_connected() and not self.should_close and self._received == self._known

    def judge(self) -> None:
        """Report when unrequested data has come, not just the end of the connection."""
        if self.replies and self._received != self._known:
            self._has_surplus()

    def judge_rest(self) -> None:
        """Report when another reply came together with the one that was read."""
        if self._buffer:
            self._has_surplus()

    def expects(self) -> None:
        """A request is about to be sent."""
        self.beginning, self._head = b"", b""

    def has_replied(self) -> None:
        """The reply is complete, or nobody waits for it any more."""
        self.replies += 1
        self._known, self._head = self._received, None

    async def why_lost(self, error: Exception) -> Exception:
        """The alert that has ended the connection, if one has; else the error.

        When a request is written to a connection that an alert is about to end, all that aiohttp tells is that it
        cannot write.
        """
        if isinstance(error, aiohttp.ClientOSError) and self.lost_by is None:
            await asyncio.sleep(0)  # noqa: TID251 — the loop calls `connection_lost` next
        return self.lost_by if isinstance(self.lost_by, ssl.SSLError) else error

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remember the reason."""
        self.lost_by = exc
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, except with what follows a 204."""
        self._received += len(data)
        self.beginning = self.beginning or data[:16]
        if self._head is not None:
            self._head += data
            if _may_be_without_content(self._head):
                return  # until it is complete
            data, self._head = self._head, None
            if data[_CODE] == _NO_CONTENT and (end := data.find(_END)) > 0:
                head = data[: end + len(_END)]
                if len(head) < len(data) or _announces_a_body(head):
                    self.force_close()
                if data[len(head) :].startswith(_STATUS_LINE):
                    self._has_surplus()
                data = _without_framing(head)
        super().data_received(data)


def _may_be_without_content(head: bytes) -> bool:
    """Whether an incomplete head may be that of a 204; one with other line endings is left to the parser."""
    if len(head) < _CODE.stop:
        return head.startswith(b"HTTP/"[: len(head)])
    is_whole = _END in head or b"\n\n" in head or len(head) > LARGEST_HEAD
    return head[_CODE] == _NO_CONTENT and not is_whole


def _announces_a_body(head: bytes) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in _fields(head))


def _without_framing(head: bytes) -> bytes:
    """The head of a 204 without forbidden framing fields, which parsers interpret differently (RFC 9110 §8.6)."""
    if not _announces_a_body(head):
        return head
    status, _, _ = head.partition(b"\r\n")
    kept = [line for name, line in _fields(head) if name not in {b"content-length", b"transfer-encoding"}]
    return b"\r\n".join([status, *kept]) + b"\r\n\r\n"


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = head.split(b"\r\n")[1:-2]
    return [(line.partition(b":")[0].strip().lower(), line) for line in lines]


def host_of(url: str) -> str:
    """Host and port as written, for messages."""
    return url.partition("://")[2].partition("/")[0]
