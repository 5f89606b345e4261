"""One HTTP exchange as plain values, so that targets and transports share no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST_TEXT = 4096
"""Characters of a reply that are kept as text. Secrets are removed before it is cut to the length that is shown."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Headers and body may hold credentials, so they never appear in a repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Further texts in it that must not be shown, besides the user's own credentials."""


@dataclass(frozen=True, slots=True)
class Response:
    """A reply, unchanged; header names are lower case. `cookies` are `Set-Cookie` values in order.

    It may echo credentials, so its content never appears in a repr, and texts derived from it are scrubbed.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    cookies: tuple[str, ...] = field(default=(), repr=False)
    received_at: float | None = None
    """When its last byte came (monotonic seconds), if the transport can tell."""
    is_cut: bool = False
    """Whether its body was too large to be read, and is empty here."""
    peer: str = ""
    """The address that it came from (the proxy's if there is one), if the transport can tell."""

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (RFC 9110 §15.3)."""
        return 200 <= self.status < 300  # noqa: PLR2004 — as above

    def text(self) -> str:
        """The body's beginning as one printable line."""
        text = self.body[: LONGEST_TEXT * 4].decode("utf-8", "replace")
        return printable(text[:LONGEST_TEXT])


def printable(text: str) -> str:
    """Text of a foreign system without control characters, on one line."""
    return one_line(text).strip()


def one_line(text: str) -> str:
    """The same without stripping, so that every character keeps its position."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def brief(value: object) -> str:
    """Any JSON value of a foreign system as one printable line; strings are not quoted."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except RecursionError:
        return "(nested too deeply to be shown)"
    return printable(text[:LONGEST_TEXT])
