"""One HTTP exchange over aiohttp. Foreign errors become ours here and nowhere else.

Nothing is followed, remembered or repeated: no redirects, no cookies, no retries (but for a GET on a kept connection
that turns out to be closed, which aiohttp sends again on a new one; that waits for its turn like any other). The moment
at which a request is handed to an open connection is when `turn` returns; pacing happens there, so that connecting,
however slow, never brings two sends closer together than the rate allows.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Protocol, Self

import aiohttp

from batcher.core.errors import ConfigurationError, NotSentError, ReplyLostError, UntrustedError
from batcher.core.http import Request, Response
from batcher.core.secrets import Secrets

_LARGEST_BODY = 8 << 20
"""Bytes; far above any reply of a target. A larger one is an unusable one."""
_CONNECT_SECONDS = 30.0


class Transport(Protocol):
    """The narrow port to the network; tests put the simulator behind it."""

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """Send the request when `turn` has returned, and give the whole reply.

        Raises:
            NotSentError: When it never left.
            ReplyLostError: When it left and no whole reply came back in time.

        """
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """How the peer of a TLS connection is verified."""

    ca_file: str = ""
    fingerprint: str = ""
    insecure: bool = False

    def verifier(self) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        """For aiohttp.

        Raises:
            ConfigurationError: When the file or the fingerprint cannot be used.

        """
        if self.insecure:
            return False
        if self.fingerprint:
            try:
                return aiohttp.Fingerprint(bytes.fromhex(self.fingerprint.replace(":", "")))
            except ValueError as error:
                raise ConfigurationError(f"target.tls_fingerprint must be a SHA-256 in hexadecimal: {error}") from None
        if self.ca_file:
            try:
                return ssl.create_default_context(cafile=str(Path(self.ca_file).expanduser()))
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(f"target.ca_file {self.ca_file} cannot be used: {error}") from None
        return True


@dataclass(slots=True)
class _Flight:
    """One exchange, as the connection hook sees it."""

    turn: Callable[[], Awaitable[None]]
    now: Callable[[], float]
    timeout: float
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    sent: bool = False

    async def depart(self) -> None:
        if self.sent:
            self.limit.reschedule(None)
        await self.turn()
        self.sent = True
        self.limit.reschedule(self.now() + self.timeout)


class HttpTransport:
    """Use as an async context manager."""

    def __init__(self, timeout_seconds: float, trust: Trust, secrets: Secrets) -> None:
        self._timeout = timeout_seconds
        self._verifier = trust.verifier()
        self._secrets = secrets

    async def __aenter__(self) -> Self:
        self._now = asyncio.get_running_loop().time
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_depart)
        trace.on_connection_reuseconn.append(_depart)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._verifier),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"User-Agent": "batcher", "Accept": "application/json", "Accept-Encoding": "identity"},
            trace_configs=[trace],
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`. Secrets that the server echoes are masked in the reply's headers and body."""
        flight = _Flight(turn, self._now, self._timeout)
        try:
            async with flight.limit:
                return await self._send(request, flight)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as error:
            raise UntrustedError(
                f"the server's certificate is not trusted ({_reason(error)}); for a self-signed one set"
                " target.ca_file or target.tls_fingerprint"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if flight.limit.expired():
                raise ReplyLostError(f"no whole reply within {self._timeout:g} s") from None
            if flight.sent:
                raise ReplyLostError(f"no whole reply: {_reason(error)}") from None
            raise NotSentError(f"no connection: {_reason(error)}") from None

    async def _send(self, request: Request, flight: _Flight) -> Response:
        async with self._session.request(
            request.method,
            request.url,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=flight,
        ) as reply:
            body = bytearray()
            async for part in reply.content.iter_any():
                body += part
                if len(body) > _LARGEST_BODY:
                    raise aiohttp.ClientPayloadError("the body is larger than 8 MiB")
            headers = {name.lower(): self._secrets.scrub(value) for name, value in reply.headers.items()}
            cookies = tuple(reply.headers.getall("Set-Cookie", ()))
            return Response(reply.status, headers, self._secrets.scrub_bytes(bytes(body)), cookies)


async def _depart(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:  # noqa: ANN401, ARG001 — aiohttp's signature
    await context.trace_request_ctx.depart()


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__
