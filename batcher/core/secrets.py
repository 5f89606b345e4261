"""What must not appear anywhere, taken out of every text that comes from outside before anybody sees it.

A server may echo what it was given, and not only as it was: percent-encoded, as HTML entities, as escapes of JSON, in
base64 or hexadecimal, in another case. So a secret is looked for in all of these, by its beginning, which is enough of
it: what follows up to the next blank goes, too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from batcher.core.http import LONGEST_TEXT, printable
from batcher.core.verdict import Settled, Verdict

_MASK = "***"
_SHORTEST = 4
"""Shorter secrets would mask ordinary words; nobody issues such."""
_ENOUGH = 32
"""Characters of a secret without blanks by which it is recognised."""
_LEAST_BASE64 = 6
_SHOWN = 300
"""Characters of a text that people are shown."""
_LONGEST_BEGINNING = 1024
"""Characters that the beginning of a secret may take in any of its forms: as much of a text that was cut off at its
end is not shown, since it may be half a secret."""
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BETWEEN = r"[\s\x00-\x1f]{0,2}"
"""What may have been put between the characters of a secret."""


class Secrets:
    """All credentials that this process knows."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def __repr__(self) -> str:
        return f"<Secrets {len(self._texts)}>"

    def add(self, *secrets: str) -> None:
        """Know these too."""
        new = {secret for secret in secrets if len(secret) >= _SHORTEST} - self._texts
        if new:
            self._texts |= new
            self.__dict__.pop("_pattern", None)

    def scrub(self, text: str) -> str:
        """The text without any of them, as one printable line that is not too long.

        One that is as long as texts from outside ever are was cut off, perhaps within a secret.
        """
        if self._texts:
            text = self._masked(text, len(text) - (_LONGEST_BEGINNING if len(text) >= LONGEST_TEXT else 0))
        return printable(text)[:_SHOWN]

    def _masked(self, text: str, end: int) -> str:
        """The text up to `end`, and to the end of a secret that has begun before."""
        parts, at = [], 0
        for found in self._pattern.finditer(text):
            if found.start() >= end:
                break
            parts += [text[at : found.start()], _MASK]
            at = found.end()
        return "".join([*parts, text[at:end]])

    def scrub_verdict(self, verdict: Verdict) -> Verdict:
        """The same for what a target made of a reply."""
        if isinstance(verdict, Settled):
            if not verdict.details:
                return verdict
            return replace(verdict, details={index: self.scrub(text) for index, text in verdict.details.items()})
        return replace(verdict, reason=self.scrub(verdict.reason))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Of every secret in every form, the longest first, so that no part of one is left over."""
        ordered = sorted(self._texts, key=len, reverse=True)
        return re.compile("|".join(form for secret in ordered for form in _forms(secret)), re.IGNORECASE)


def _forms(secret: str) -> Iterator[str]:
    start = secret if re.search(r"\s", secret) else secret[:_ENOUGH]
    rest = r"\S*(?:\s{1,2}\S(?!\S))*" if len(secret) > len(start) else ""
    yield _BETWEEN.join(map(_character, start)) + rest
    raw = start.encode()
    yield r"(?:0x|\\x|[\s:,-])*".join(f"{byte:02x}" for byte in raw) + (rest and r"(?:(?:0x|\\x|[\s:,-])*[0-9a-f]{2})*")
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw).decode()
        known = text[-(-8 * shift // 6) : 8 * (shift + len(raw)) // 6]  # what does not depend on what is around it
        if len(known) >= _LEAST_BASE64:
            yield f"(?-i:{_BETWEEN.join(map(_of_base64, known))})" + (rest or "[A-Za-z0-9+/=_-]*")


def _character(char: str) -> str:
    """A character of a secret as it is, or as an escape of URLs, JSON, HTML, strings, or MIME."""
    code = ord(char)
    ways = [
        "%(?:25)*" + "%(?:25)*".join(f"{byte:02x}" for byte in char.encode()),
        rf"\\+u{code:04x}",
        rf"\\+x{code:02x}",
        rf"&(?:amp;)*\#0*{code};",
        rf"&(?:amp;)*\#x0*{code:x};",
        f"={code:02x}",
        r"\\*" + re.escape(char),  # the last, or it would take the x of an escape for itself
    ]
    if char in _ENTITIES:
        ways.insert(0, f"&(?:amp;)*{_ENTITIES[char]};")
    return f"(?:{'|'.join(ways)})"


def _of_base64(char: str) -> str:
    """Both alphabets (RFC 4648 §4, §5), and what is escaped of them in URLs."""
    return {"+": r"(?:[+-]|%2[Bb])", "/": r"(?:[/_]|%2[Ff])"}.get(char, char)
