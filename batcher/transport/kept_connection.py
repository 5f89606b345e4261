"""One kept HTTP/1.1 connection, one request at a time, whose reply is passed on by a call instead of a task.

A general client takes several times as long for a small request as the network does. Here the time is taken when the
last byte of the reply has been parsed, and a reply that is byte for byte the same as an earlier one is not parsed at
all. Redirects are not followed, cookies are not kept, and nothing is repeated.

In HTTP/1.1 only the order tells which request a reply belongs to (RFC 9112 §9.2), so a connection on which anything has
come that nobody asked for is closed, and its owner is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

import httptools

from batcher.core.errors import OversizedReplyError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.transport.bodies import LARGEST_BODY, LARGEST_HEAD, unpacked

_log = logging.getLogger(__name__)
SURPLUS = (
    "the target sent a reply that nobody had requested, so replies could be attributed to the wrong requests: from now"
    " on each request uses its own connection; earlier replies may have been about other changes"
)
Done: TypeAlias = Callable[[Response | Exception], None]
"""Called once for each request, with the reply or with the reason why there is none."""


class Peer:
    """What all connections to one target share."""

    def __init__(self) -> None:
        self.keeps = True
        """Whether a connection may be used for another request; not after unrequested data has arrived on one."""
        self.content = b""
        """The last reply that came complete and alone. The same bytes mean the same on any connection."""
        self.response: Response | None = None
        """What they mean."""

    def distrust(self) -> None:
        """A reply has come that nobody had requested."""
        if self.keeps:
            self.keeps = False
            _log.warning(SURPLUS)


class KeptConnection(asyncio.Protocol):
    """One connection. Call `send` only while no other request is in progress on it."""

    transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
        lost: Callable[[KeptConnection], None],
        peer: Peer,
    ) -> None:
        """`lost` is called when it is closed."""
        self.is_reusable = True
        self.has_spoken = False
        """Whether unrequested data has arrived."""
        self.beginning = b""
        """The first bytes of the awaited reply."""
        self._loop = loop
        self._now = now
        self._lost = lost
        self._peer = peer
        self._done: Done | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._status = 0
        self._has_replied = False
        self._head = 0
        """Bytes so far that may belong to the head of the reply; -1 once it is complete."""
        self._chunk = b""
        """What is being parsed."""
        self._reply: Response | None = None

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent on it."""
        may = self.is_reusable and (self._peer.keeps or not self._has_replied)
        return may and self._done is None and not self.transport.is_closing()

    def send(self, head: bytes, body: bytes, patience: float, done: Done) -> None:
        """Send a request. If no complete reply comes within `patience` seconds, it is lost."""
        self._headers, self._body, self._head, self._reply = [], bytearray(), 0, None
        self.beginning, self._done = b"", done
        self._watch = self._loop.call_later(patience, self._too_late, patience)
        self.transport.write(head + body)

    def forget(self) -> None:
        """Nobody waits for the reply any more: close the connection."""
        self._done = None
        self._unwatch()
        self.transport.abort()

    def take_over(self, transport: asyncio.Transport, *, has_replied: bool) -> None:
        """Go on with a connection that somebody else has opened, and on which nothing is awaited."""
        self.transport, self._has_replied = transport, has_replied
        transport.set_protocol(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # the transport of a connection can also write

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the awaited reply, unless the end of the connection is what completes it."""
        self._lost(self)
        if exc is None and self._ends_with_the_connection():
            self.is_reusable = False
            self._complete()
        self._fail(exc or ReplyLostError("no complete reply: the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Recognise the reply, or feed the parser, which calls the methods below."""
        if self._done is None:
            self.has_spoken = True
            self.transport.abort()  # nothing was requested
            if self._has_replied:
                self._peer.distrust()
            return
        known = self._peer.response
        if known is not None and not self._head and data == self._peer.content:
            self._finish(known)
            return
        self.beginning = self.beginning or data[:16]
        is_first = not self._head
        if self._head >= 0:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.is_reusable = False  # even if the reply was complete: more came than that
            self._fail(error)
        if self._head > LARGEST_HEAD:
            self._fail(ReplyLostError("no complete reply: its head is larger than 64 KiB"))
        if self._reply is not None:
            if is_first and self.is_reusable:
                self._peer.content, self._peer.response = bytes(data), self._reply
            self._finish(self._reply)

    def on_message_begin(self) -> None:
        """A reply begins. What follows a complete one would be taken for the beginning of the next request's."""
        if self._is_over():
            self.is_reusable = False
            self._peer.distrust()

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
            self._fail(OversizedReplyError(self._parser.get_status_code()))

    def on_message_complete(self) -> None:
        """The reply is complete, unless it only announces another one (1xx)."""
        if self._is_over():
            self.is_reusable = False  # no second reply was requested
            self._peer.distrust()
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:  # noqa: PLR2004 — RFC 9110 §15.2
            self._headers, self._head = [], 0
            return
        self.is_reusable = self._parser.should_keep_alive() and not self._has_hidden_body()
        self._complete()

    def _is_over(self) -> bool:
        return self._done is None or self._reply is not None

    def _complete(self) -> None:
        """The reply is there; it is passed on once it is clear whether anything follows it."""
        cookies = tuple(value for name, value in self._headers if name == "set-cookie")
        headers = dict(self._headers)
        body = unpacked(bytes(self._body), headers.get("content-encoding", ""), LARGEST_BODY)
        self._reply = Response(self._status, headers, body, cookies, self._now())

    def _ends_with_the_connection(self) -> bool:
        """Whether the reply has begun and is delimited by the end of the connection (RFC 9112 §6.3)."""
        if self._done is None or self._head >= 0:
            return False
        self._status = self._parser.get_status_code()
        names = {name for name, _ in self._headers}
        return self._status >= 200 and not names & {"content-length", "transfer-encoding"}  # noqa: PLR2004 — as below

    def _has_hidden_body(self) -> bool:
        """Whether a 204 has a body nevertheless, which the parser does not read (RFC 9110 §8.6)."""
        return self._status == 204 and any(  # noqa: PLR2004 — as above
            name in {"content-length", "transfer-encoding"} for name, _ in self._headers
        )

    def _too_late(self, patience: float) -> None:
        self._fail(ReplyLostError(f"no complete reply within {patience:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._reply is not None:
            self._finish(self._reply)
        elif self._done is not None:
            self.is_reusable = False
            self._finish(error)
            self.transport.abort()

    def _finish(self, outcome: Response | Exception) -> None:
        done, self._done = self._done, None
        self._has_replied = True
        self._unwatch()
        if done is not None:
            done(outcome)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def head_of(request: Request, host: str, path: str) -> bytes:
    """The head of a request for a path of this host."""
    start = start_of(request, host, path)
    if request.body or request.method != "GET":
        return b"%bContent-Length: %d\r\n\r\n" % (start, len(request.body))
    return start + b"\r\n"


def start_of(request: Request, host: str, path: str) -> bytes:
    """The head without the length, and without the empty line at its end."""
    lines = [f"{request.method} {path or '/'} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (HEADERS | dict(request.headers)).items()]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


HEADERS = {"User-Agent": "batcher", "Accept": "application/json", "Accept-Encoding": "identity"}
"""What every request has, unless its own headers say otherwise."""
