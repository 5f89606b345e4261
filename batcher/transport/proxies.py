"""Which proxy stands between this machine and a target, as the environment or the settings say.

The environment's variables are those that curl, and nearly every program since, reads: HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY and NO_PROXY, in lower case first. A machine's own addresses are never reached through a proxy of the
environment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from batcher.core.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `url` is without credentials, `origin` says who named it."""

    url: str
    origin: str
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.url} ({self.origin})"


def proxy_for(url: str, given: str, credentials: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a target's URL; None for the direct way.

    Args:
        url: The target's.
        given: `target.proxy`: an address, `none` for the direct way, or empty for what the environment says.
        credentials: `user:password` for the proxy that is given.
        environment: Variables, such as HTTPS_PROXY.

    Raises:
        ConfigurationError: When it is no proxy that can be used.

    """
    if given.lower() == "none":
        return None
    if given:
        proxy = _parsed(given, "target.proxy")
        if proxy.user or proxy.password:
            raise ConfigurationError(
                "target.proxy holds credentials, which belong into a file of their own (auth.proxy_file) or"
                " BATCHER_PROXY_CREDENTIALS"
            )
        user, _, password = credentials.partition(":")
        return Proxy(proxy.url, proxy.origin, user, password)
    parts = urlsplit(url)
    name, value = _named(parts.scheme, environment)
    if (
        not value
        or not parts.hostname
        or _goes_directly(parts.hostname, parts.port or _PORTS[parts.scheme], environment)
    ):
        return None
    return _parsed(value, name)


def _named(scheme: str, environment: Mapping[str, str]) -> tuple[str, str]:
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        # A web server gives its programs the header `Proxy` as HTTP_PROXY, which anybody may send (CVE-2016-5385).
        if environment.get(name) and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environment):
            return name, environment[name]
    return "", ""


def _parsed(text: str, origin: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{origin} is no address of a proxy; write http://proxy.example:3128") from None
    if not host or port == 0:
        raise ConfigurationError(f"{origin} is no address of a proxy; write http://proxy.example:3128")
    if parts.scheme != "http":
        raise ConfigurationError(
            f"{origin} names a proxy that is spoken to by {parts.scheme}, which is not supported; give an http:// one,"
            " or name the target in NO_PROXY"
        )
    where = f"[{host}]" if ":" in host else host
    return Proxy(f"http://{where}:{port or 80}", origin, unquote(parts.username or ""), unquote(parts.password or ""))


def _goes_directly(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether NO_PROXY means a host, or it is this machine."""
    address = _address(host)
    if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    entries = listed.replace(",", " ").lower().split()
    return any(_means(entry, host.lower().rstrip("."), port, address) for entry in entries)


def _means(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """`*`, a host or a domain with everything in it (with or without a dot before it), a network; each with a port."""
    if entry == "*":
        return True
    if address is not None:
        with suppress(ValueError):
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
