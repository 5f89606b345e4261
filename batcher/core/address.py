"""Normalised addresses: two URLs that lead to the same place compare equal."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_ENCODED, _UNRESERVED = re.compile("%([0-9A-Fa-f]{2})"), re.compile("[A-Za-z0-9._~-]")
_LOOPBACK = re.compile(r"localhost\.?|127(\.\d{1,3}){1,3}|::1|(0*:)+0*1|::ffff:127(\.\d{1,3}){3}", re.IGNORECASE)


def place_of(url: str) -> str:
    """Host, port and path in normalised form (RFC 3986 §6.2), without the scheme: http and https share one quota.

    Several names of one host, or one appliance behind several addresses, are not recognised as the same.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host):
        host = "localhost"
    port = parts.port
    is_default = port is None or port == _PORTS.get(parts.scheme)
    return f"{host}{'' if is_default else f':{port}'}{_path_of(parts.path).rstrip('/')}"


def _path_of(path: str) -> str:
    """A path without dot segments, its percent-encodings normalised (RFC 3986 §5.2.4, §6.2.2)."""
    found: list[str] = []
    for segment in _ENCODED.sub(_decoded, path).split("/"):
        if segment == "..":
            del found[max(1, len(found) - 1) :]
        elif segment != ".":
            found.append(segment)
    return "/".join(found)


def _decoded(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0].upper()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3, RFC 6761 §6.3)."""
    return _LOOPBACK.fullmatch(host) is not None
