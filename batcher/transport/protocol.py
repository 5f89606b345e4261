"""The narrow port to the network, and how the peer of a TLS connection is verified."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from batcher.core.errors import ConfigurationError
from batcher.core.http import Request, Response
from batcher.files import expanded


class Transport(Protocol):
    """The narrow port to the network; tests put the simulator behind it."""

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """Send the request when `turn` has returned, and give the whole reply, as it came.

        Whatever `turn` raises is raised.

        Raises:
            NotSentError: When it never left.
            ReplyLostError: When it left and no whole reply came back in time.

        """
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """How the peer of a TLS connection is verified. A fingerprint is always looked at, also with `insecure`."""

    ca_file: str = ""
    fingerprint: str = ""
    insecure: bool = False

    def verifier(self) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        """For aiohttp.

        Raises:
            ConfigurationError: When the file or the fingerprint cannot be used.

        """
        if self.fingerprint:
            try:
                return aiohttp.Fingerprint(bytes.fromhex(self.fingerprint.replace(":", "")))
            except ValueError as error:
                raise ConfigurationError(f"target.tls_fingerprint must be a SHA-256 in hexadecimal: {error}") from None
        if self.insecure:
            return False
        if self.ca_file:
            return _context(expanded(self.ca_file, "target.ca_file"))
        return True


def _context(file: Path) -> ssl.SSLContext:
    try:
        if not file.is_file():
            raise FileNotFoundError("there is no such file")
        return ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigurationError(f"target.ca_file {file} cannot be used: {why}") from None
