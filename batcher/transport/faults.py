"""Our own errors for those of libraries.

A library's error may quote what the server sent, and a server may send anything, such as the credentials that it was
given. So the text of an error is never passed on: only its kind, the operating system's message for its number, and the
TLS library's names for alerts.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from batcher.core.errors import (
    EndpointError,
    ExhaustedError,
    NotSentError,
    ReplyLostError,
    TransportError,
    UnknownClientError,
    UntrustedError,
)
from batcher.transport.proxies import Proxy

E = TypeVar("E", bound=BaseException)
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PASSING = {
    "",
    "UNEXPECTED_EOF_WHILE_READING",
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY",
    "TLSV1_ALERT_INTERNAL_ERROR",
    "TLSV1_ALERT_USER_CANCELLED",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "SSLV3_ALERT_BAD_RECORD_MAC",
}
"""TLS errors that another try may not meet again (RFC 8446 §6); all others are a matter of configuration."""
_TLS_RECORD = (b"\x15\x03", b"\x16\x03")
"""How alerts and handshakes begin (RFC 8446 §5.1)."""
_MEANINGS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port; is it plain http, or another port?",
    "RECORD_LAYER_FAILURE": "it does not speak TLS on this port; is it plain http, or another port?",
    "HTTP_REQUEST": "it does not speak TLS on this port; is it plain http, or another port?",
    "UNSUPPORTED_PROTOCOL": "it supports only TLS versions that are no longer secure",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it supports no TLS version that this machine supports",
}
_UNKNOWN_CLIENT = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate: target.client_cert, target.client_key",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our client certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not accept our client certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our client certificate is revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority that issued our client certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it denies access to our client certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "it does not accept our client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused; perhaps it requires a client certificate (target.client_cert)",
}
"""Alerts by which a server says that it does not accept our identity (RFC 8446 §6.2)."""
_PROXY_WANTS_TO_KNOW = 407
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def fault(
    error: BaseException, host: str, *, has_left: bool, beginning: bytes = b"", proxy: Proxy | None = None
) -> TransportError:
    """Our error for an error of a library.

    Args:
        error: What was raised.
        host: The host that we wanted to reach, for messages.
        has_left: Whether the request was handed to an open connection.
        beginning: The first bytes that were received.
        proxy: The proxy that was used.

    """
    refusal = untrusted(error)
    if refusal is not None:
        return refusal
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _of_proxy(error.status, host, proxy)
    is_of_proxy = proxy is not None and getattr(error, "host", None) == urlsplit(proxy.url).hostname
    if isinstance(error, aiohttp.ClientProxyConnectionError) or (is_of_proxy and not has_left):
        return NotSentError(f"no connection to the proxy {proxy}: {_kind(error)}")
    tls = _of_kind(error, ssl.SSLError)
    if tls is not None and (reason := getattr(tls, "reason", None)) in _UNKNOWN_CLIENT:
        return UnknownClientError(f"no TLS with {host}: {_UNKNOWN_CLIENT[reason]}")
    if tls is not None and (name := getattr(tls, "reason", None) or "") not in _PASSING:
        return EndpointError(f"no TLS with {host}: {_MEANINGS.get(name, name.replace('_', ' ').lower())}")
    if beginning.startswith(_TLS_RECORD):
        return EndpointError(f"{host} speaks TLS on this port; write https://")
    if not has_left and (isinstance(error, aiohttp.InvalidURL) or _of_kind(error, UnicodeError)):
        return EndpointError(f"{host} is not a valid host name")
    system = _of_kind(error, OSError)
    if system is not None and system.errno in _EXHAUSTED and not isinstance(system, socket.gaierror):
        return ExhaustedError(f"no connection: {os.strerror(system.errno)}")
    if has_left:
        return ReplyLostError(f"no complete reply: {_kind(error)}")
    return NotSentError(f"no connection: {host}: {_kind(error)}")


def _of_proxy(status: int, host: str, proxy: Proxy | None) -> TransportError:
    """A proxy refused to connect: then nothing of the request has been sent (RFC 9110 §9.3.6)."""
    if status == _PROXY_WANTS_TO_KNOW:
        return UnknownClientError(f"the proxy {proxy} requires credentials, or does not accept ours (407)")
    told = f"the proxy {proxy} does not let us through to {host} ({status})"
    return NotSentError(told) if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER else EndpointError(told)


def untrusted(error: BaseException) -> UntrustedError | None:
    """Our error if the peer's certificate is the problem."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return not_expected(error.got)
    found = _of_kind(error, ssl.SSLCertVerificationError)
    return None if found is None else _not_trusted(found.verify_message)


def not_expected(fingerprint: bytes) -> UntrustedError:
    """The error for a certificate with this fingerprint, when another one is expected."""
    return _not_trusted(f"it does not match target.tls_fingerprint; its fingerprint is {fingerprint.hex(':').upper()}")


def _not_trusted(why: str) -> UntrustedError:
    return UntrustedError(
        f"the server's certificate is not trusted ({why}); for a self-signed or a renewed one set target.ca_file or"
        " target.tls_fingerprint"
    )


def _of_kind(error: BaseException, kind: type[E]) -> E | None:
    """The error itself, or the error that a library wrapped in it, if it is of this kind."""
    wrapped = (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__, error)
    return next((found for found in wrapped if isinstance(found, kind)), None)


def _kind(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it broke off, or its length is not the announced one"
    if isinstance(error, aiohttp.ClientResponseError):
        return "it is not valid HTTP"
    tls = _of_kind(error, ssl.SSLError)
    if tls is not None:
        return f"TLS: {(getattr(tls, 'reason', None) or 'broken off').replace('_', ' ').lower()}"
    system = _of_kind(error, OSError)
    if isinstance(system, socket.gaierror):
        return system.strerror or "its name cannot be resolved"
    if system is not None and system.errno:
        return os.strerror(system.errno)
    if isinstance(error, TimeoutError):
        return "timed out"
    return f"failed ({type(error).__name__})"
