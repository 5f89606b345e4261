"""The interface to the network, and how the peer of a TLS connection is verified."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import aiohttp

from batcher.core.errors import ConfigurationError
from batcher.core.http import Request, Response
from batcher.files import expanded

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Red Hat, and Alpine and BSD keep the certificate authorities that they trust."""


class Line(Protocol):
    """An open connection to the target that carries one request at a time. Nobody waits for it: it calls."""

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent on it now."""
        ...

    def send(self, request: Request, done: Callable[[Response | Exception], None]) -> None:
        """Send the request at once; call it only while the line is open.

        `done` is called once, later, with the complete reply, or with a `ReplyLostError` or `EndpointError`; replies
        that are the same are the same object.
        """
        ...

    def close(self) -> None:
        """Close the connection; `done` is not called any more."""
        ...


@runtime_checkable
class OffersLines(Protocol):
    """A transport that can also open lines."""

    async def line(self, url: str) -> Line | None:
        """A line to the origin of this address; None if there is no such thing for it.

        Raises:
            BatcherError: When no connection can be made.

        """
        ...


class Transport(Protocol):
    """The interface to the network; tests put the simulator behind it."""

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """Send the request once `turn` has returned, and return the complete reply, unchanged.

        Exceptions of `turn` are passed on.

        Raises:
            NotSentError: When it was never sent.
            ReplyLostError: When it was sent, and no complete reply came back in time.

        """
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """How both ends of a TLS connection prove their identity. A fingerprint is checked even with `insecure`."""

    ca_file: str = ""
    """Empty: the system's certificate authorities, as OpenSSL finds them (SSL_CERT_FILE, SSL_CERT_DIR)."""
    fingerprint: str = ""
    insecure: bool = False
    client_cert: str = ""
    """The client certificate for a target that asks for one: a PEM file that includes intermediate certificates."""
    client_key: str = ""
    """The file of its key, if that is not in the same file."""

    def expected(self) -> aiohttp.Fingerprint | None:
        """The fingerprint that the peer's certificate must have.

        Raises:
            ConfigurationError: When the setting is not a fingerprint.

        """
        if not self.fingerprint:
            return None
        digits = "".join(self.fingerprint.replace(":", "").split()).removeprefix("sha256")
        try:
            return aiohttp.Fingerprint(bytes.fromhex(digits))
        except ValueError:
            raise ConfigurationError(
                f"target.tls_fingerprint must be the SHA-256 of a certificate, 64 hexadecimal digits, not {len(digits)}"
                " (openssl x509 -noout -fingerprint -sha256 -in FILE)"
            ) from None

    def context(self) -> ssl.SSLContext:
        """The context for TLS connections.

        Raises:
            ConfigurationError: When a file or the fingerprint cannot be used.

        """
        self.expected()
        context = _authorities(self.ca_file)
        if self.fingerprint or self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert:
            _show(context, self.client_cert, self.client_key)
        elif self.client_key:
            raise ConfigurationError("target.client_key is set without its certificate; set target.client_cert, too")
        return context


def system_authorities() -> str:
    """Where this system's trusted certificate authorities are (honours SSL_CERT_FILE and SSL_CERT_DIR)."""
    known = ssl.get_default_verify_paths()
    # A Python built for another system may look where there is nothing; then these are None, despite their types.
    places: list[str | None] = [known.cafile, known.capath]
    bundles = (place for place in _BUNDLES if Path(place).is_file())
    return next(filter(None, [*places, *bundles]), "no CA bundle (this system has none)")


def _authorities(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        context, known = ssl.create_default_context(), ssl.get_default_verify_paths()
        if not (known.cafile or known.capath) and Path(system_authorities()).is_file():
            context.load_verify_locations(system_authorities())
        return context
    file = expanded(ca_file, "target.ca_file")
    _check_readable("target.ca_file", file)
    try:
        return ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigurationError(f"target.ca_file {file} cannot be used: {why}") from None


def check_authorities() -> None:
    """Check that the files in OpenSSL's variables exist: OpenSSL would ignore missing ones, and trust nobody.

    Raises:
        ConfigurationError: When they do not.

    """
    known = ssl.get_default_verify_paths()
    for name, is_there in ((known.openssl_cafile_env, Path.is_file), (known.openssl_capath_env, Path.is_dir)):
        places = [place for place in os.environ.get(name, "").split(os.pathsep) if place]
        if places and not any(is_there(Path(place)) for place in places):
            raise ConfigurationError(f"{name} names {os.environ[name]}, which does not exist; correct or unset it")


def _check_readable(name: str, file: Path) -> None:
    """Check that the file exists."""
    if file.is_dir():
        raise ConfigurationError(f"{name} {file} is a directory; name a file in it")
    if not file.exists():
        raise ConfigurationError(f"{name} {file} cannot be used: there is no such file")


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load the client certificate."""
    files = {"target.client_cert": expanded(cert, "target.client_cert")}
    if key:
        files["target.client_key"] = expanded(key, "target.client_key")
    for name, file in files.items():
        _check_readable(name, file)

    def ask() -> str:
        raise ConfigurationError(
            "the key of target.client_cert is encrypted, and an unattended run cannot enter its password: remove the"
            " password (openssl pkey), and let nobody else read the file"
        )

    try:
        context.load_cert_chain(files["target.client_cert"], files.get("target.client_key"), password=ask)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or error.strerror or str(error)
        given = " with ".join(f"{name} {file}" for name, file in files.items())
        raise ConfigurationError(
            f"{given} cannot be used: {why}; both must be PEM, and the key must belong to the certificate"
        ) from None
