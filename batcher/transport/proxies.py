"""Which proxy is used for a target, according to the settings or the environment.

The environment variables are those that curl and most other programs read: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
NO_PROXY; lower case takes precedence. Loopback addresses are never reached through a proxy from the environment.
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
    """An HTTP proxy. `url` is without credentials, `origin` is the setting or variable that named it."""

    url: str
    origin: str
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.url} ({self.origin})"


def proxy_for(url: str, given: str, credentials: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a target's URL; None for a direct connection.

    Args:
        url: The target's.
        given: `target.proxy`: an address, `none` for a direct connection, or empty to use the environment.
        credentials: `user:password` for the proxy in `given`.
        environment: Variables, such as HTTPS_PROXY.

    Raises:
        ConfigurationError: When the proxy cannot be used.

    """
    if given.lower() == "none":
        return None
    if given:
        proxy = _parsed(given, "target.proxy")
        if proxy.user or proxy.password:
            raise ConfigurationError(
                "target.proxy must not contain credentials; put them into a file (auth.proxy_file) or"
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
        # Under CGI, HTTP_PROXY is the request header `Proxy`, which anybody may send (CVE-2016-5385).
        if environment.get(name) and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environment):
            return name, environment[name]
    return "", ""


def _parsed(text: str, origin: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(
            f"{origin} is not a valid proxy address; expected e.g. http://proxy.example:3128"
        ) from None
    if not host or port == 0:
        raise ConfigurationError(f"{origin} is not a valid proxy address; expected e.g. http://proxy.example:3128")
    if parts.scheme != "http":
        raise ConfigurationError(
            f"{origin} names a proxy with the scheme {parts.scheme}, which is not supported; use an http:// proxy,"
            " or name the target in NO_PROXY"
        )
    where = f"[{host}]" if ":" in host else host
    return Proxy(f"http://{where}:{port or 80}", origin, unquote(parts.username or ""), unquote(parts.password or ""))


def _goes_directly(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether NO_PROXY covers the host, or it is this machine."""
    address = _address(host)
    if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    entries = listed.replace(",", " ").lower().split()
    return any(_means(entry, host.lower().rstrip("."), port, address) for entry in entries)


def _means(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Whether an entry covers a host: `*`, a host, a domain with subdomains, or a network; optionally with a port."""
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
