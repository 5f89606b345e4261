"""Masks credentials in every text that comes from outside, before anybody sees it.

A server may echo what it was given, and not only literally: percent-encoded, as HTML entities, as JSON escapes, in
base64 or hexadecimal, in another case. So a secret is looked for in all of these forms. Its beginning is enough to find
it: what follows, up to the next blank, is masked, too.

A server may also echo a part that is not the beginning, or wrap the secret into lines. So any run of characters of a
long secret is found, too, whatever separates them: the text is read without separators, and the result is compared with
samples of every form. That way a secret takes little memory, and a text without one takes little time.
"""

from __future__ import annotations

import base64
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from batcher.core.http import LONGEST_TEXT, one_line, printable
from batcher.core.verdict import Settled, Verdict

_MASK = "***"
_SHORTEST = 4
"""Shorter secrets would mask ordinary words; nobody issues such short ones."""
_ENOUGH = 32
"""A secret without blanks is recognised by this many characters."""
_LEAST_BASE64 = 6
_SHOWN = 300
"""How many characters of a text are shown to people."""
_LONGEST_BEGINNING = 1024
"""The most characters that the beginning of a secret may take in any form. That much of the end of a truncated text is
not shown, since it may be half a secret."""
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BETWEEN = r"[\s\x00-\x1f]{0,3}"
"""What may stand between the characters of a secret, such as three NULs in UTF-32."""
_RUN = 16
"""This many characters of a secret in any form are masked wherever they occur; ordinary text shares fewer."""
_SAMPLE = 8
_STRIDE = _RUN - _SAMPLE + 1
"""The distance between samples of a form, chosen so that every run contains a complete sample."""
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Unlike `str.lower`, this never changes the length of a text."""
_ESCAPE_OR_SEPARATOR = re.compile(
    r"""
    (?: %(?:25)* | \\+x ) (?P<two>[0-9a-f]{2})
    | (?: % | \\+ ) u (?P<four>[0-9a-f]{4})
    | (?: \\+[ux]\{ | &(?:amp;)*\#x ) 0* (?P<some>[0-9a-f]{1,6}) [;}]
    | &(?:amp;)*\#0* (?P<decimal>[0-9]{1,7}) ;
    | \\+ (?P<octal>[0-3]?[0-7]{2})
    | (?: < | &lt; ) /? (?:br|wbr|p|li|td|tr|div|span) \s* /? (?: > | &gt; )
    | &(?:amp;)* (?:amp|lt|gt|quot|apos|nbsp|shy) ;
    | \b0x (?=[0-9a-f]{2}[\s,;:\]}])
    | \\+[nrt]
    | [\s"'`,>\[\]]+
    | [\\<&]  # none of which may be taken together with what begins after it
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_NO_LETTER = re.compile(r"[^\w*]|_")
"""Also ignored when looking for a secret that is wrapped, listed or spelled out. A mask stays, as a separator."""
_BASES = {"two": 16, "four": 16, "some": 16, "decimal": 10, "octal": 8}


class Secrets:
    """All credentials that this process knows."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._samples: dict[str, list[str]] = {}
        """Samples of the forms of long secrets, each with the forms that contain it."""

    def __repr__(self) -> str:
        return f"<Secrets {len(self._texts)}>"

    def add(self, *secrets: str) -> None:
        """Mask these, too."""
        new = {secret for secret in secrets if len(secret) >= _SHORTEST} - self._texts
        if new:
            self._texts |= new
            self.__dict__.pop("_pattern", None)
        for form in {form for secret in new if len(secret) >= _RUN for form in _long_forms(secret)}:
            for at in range(0, len(form) - _SAMPLE + 1, _STRIDE):
                forms = self._samples.setdefault(form[at : at + _SAMPLE], [])
                if form not in forms:
                    forms.append(form)

    def scrub(self, text: str) -> str:
        """The text with all secrets masked, as one printable line of limited length.

        A text of the maximum length was truncated, perhaps within a secret.
        """
        if self._texts:
            text = self._masked(text, len(text) - (_LONGEST_BEGINNING if len(text) >= LONGEST_TEXT else 0))
        return printable(text)[:_SHOWN]

    def _masked(self, text: str, end: int) -> str:
        """The text up to `end`, or to the end of a secret that begins before it, with secrets masked."""
        parts: list[str] = []
        at = 0
        for start, stop in sorted(self._found(text)):
            if start >= end:
                break
            if start > at or not parts:
                parts += [text[at:start], _MASK]
            at = max(at, stop)
        return "".join([*parts, text[at:end]])

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets and parts of them are, both in the text and in its printable form."""
        for seen in {text, shown := one_line(text)}:
            yield from (found.span() for found in self._pattern.finditer(seen))
        if not self._samples:
            return
        plain = _plain(shown)
        for reading in {plain, _NO_LETTER.sub("", plain)}:
            if runs := list(self._runs(reading)):
                places = _places(shown)
                if reading != plain:
                    places = [place for place, char in zip(places, plain, strict=True) if not _NO_LETTER.match(char)]
                yield from ((places[at][0], places[at + _RUN - 1][1]) for at in runs)

    def _runs(self, text: str) -> Iterator[int]:
        """Where runs of a secret begin in a text without separators."""
        for at in range(len(text) - _SAMPLE + 1):
            forms = self._samples.get(text[at : at + _SAMPLE])
            if forms is None:
                continue
            for start in range(max(0, at - _STRIDE + 1), min(at, len(text) - _RUN) + 1):
                if any(text[start : start + _RUN] in form for form in forms):
                    yield start

    def scrub_verdict(self, verdict: Verdict) -> Verdict:
        """The same for a target's verdict on a reply."""
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
    for known in _in_base64(raw):
        if len(known) >= _LEAST_BASE64:
            yield f"(?-i:{_BETWEEN.join(map(_of_base64, known))})" + (rest or "[A-Za-z0-9+/=_-]*")


def _character(char: str) -> str:
    """A pattern for a character of a secret, literal or escaped as in URLs, JSON, HTML, strings, or MIME."""
    code = ord(char)
    ways = [
        "%(?:25)*" + "%(?:25)*".join(f"{byte:02x}" for byte in char.encode()),
        rf"\\+u{code:04x}",
        rf"\\+x{code:02x}",
        rf"&(?:amp;)*\#0*{code};",
        rf"&(?:amp;)*\#x0*{code:x};",
        f"={code:02x}",
        r"\\*" + re.escape(char),  # the last, or it would match the x of an escape
    ]
    if char in _ENTITIES:
        ways.insert(0, f"&(?:amp;)*{_ENTITIES[char]};")
    return f"(?:{'|'.join(ways)})"


def _of_base64(char: str) -> str:
    """A pattern for both alphabets (RFC 4648 §4, §5), also percent-encoded."""
    return {"+": r"(?:[+-]|%2[Bb])", "/": r"(?:[/_]|%2[Ff])"}.get(char, char)


def _plain(text: str) -> str:
    """A text without escapes, quotes and blanks, in lower case."""
    return _ESCAPE_OR_SEPARATOR.sub(_decoded, text).translate(_LOWER)


def _places(text: str) -> list[tuple[int, int]]:
    """For each character of the plain text, the span that it comes from."""
    places: list[tuple[int, int]] = []
    at = 0
    for found in _ESCAPE_OR_SEPARATOR.finditer(text):
        places += ((index, index + 1) for index in range(at, found.start()))
        places += [found.span()] * len(_decoded(found))
        at = found.end()
    places += ((index, index + 1) for index in range(at, len(text)))
    return places


def _decoded(found: re.Match[str]) -> str:
    """The character that an escape stands for; empty for separators."""
    if found.lastgroup is None:
        return ""
    code = int(found[found.lastgroup], _BASES[found.lastgroup])
    char = chr(code) if code <= sys.maxunicode else ""
    return "" if not char.isprintable() or _ESCAPE_OR_SEPARATOR.fullmatch(char) else char


def _long_forms(secret: str) -> Iterator[str]:
    """A whole secret in all forms that remain when a text is read without escapes and separators."""
    raw = secret.encode()
    twice = (form for once in _in_base64(raw) for form in _in_base64(once.encode()))
    wide = _in_base64(secret.encode("utf-16-le"))
    plain = _plain(one_line(secret))
    yield from (secret.translate(_LOWER), plain)
    for form in (plain, raw.hex(), "".join(map(str, raw)), *_in_base64(raw), *twice, *wide, *_in_base32(raw)):
        yield _NO_LETTER.sub("", form).translate(_LOWER)


def _in_base64(raw: bytes) -> Iterator[str]:
    """For each position of the first byte within a group of three: the part that does not depend on the neighbours."""
    for shift in range(3):
        yield base64.b64encode(bytes(shift) + raw).decode()[-(-8 * shift // 6) : 8 * (shift + len(raw)) // 6]


def _in_base32(raw: bytes) -> Iterator[str]:
    """The same for groups of five."""
    for shift in range(5):
        yield base64.b32encode(bytes(shift) + raw).decode()[-(-8 * shift // 5) : 8 * (shift + len(raw)) // 5]
