"""One HTTP exchange as plain values, so that targets and transports share no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out. Headers and body may hold credentials, so they never show in a repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; header names are lower case. `cookies` are `Set-Cookie` values in order."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = field(default=(), repr=False)
    received_at: float | None = None
    """When the last of it came (monotonic seconds), where the transport can tell."""

    def text(self, limit: int = 200) -> str:
        """The body's beginning as one printable line, for people."""
        text = self.body[: limit * 4].decode("utf-8", "replace")
        return printable(text)[:limit]


def printable(text: str) -> str:
    """Text of a foreign system without control characters, on one line."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def brief(value: object, limit: int = 200) -> str:
    """Any JSON value of a foreign system as one short printable line; text as it is."""
    try:
        return printable(value if isinstance(value, str) else repr(value))[:limit]
    except RecursionError:
        return "(nested too deeply to be shown)"
