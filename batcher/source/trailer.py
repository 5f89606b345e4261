"""Trailers: a last line that states the number of records. It is not a record, and nothing may follow it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batcher.core.errors import InputError
from batcher.core.wholeness import ROWS

_COUNT = rb"([0-9]{1,3}(?:[.,' ][0-9]{3}){1,5}|[0-9]{1,18})"
NOTHING = b' \t\r\n,;"'
"""The characters of lines without content."""
_AROUND = rb"[\"\s;,\t]*"
"""Quotation marks and delimiters, since the trailer may be a row of a table."""


@dataclass(frozen=True, slots=True)
class Found:
    """The position of the trailer in a block, and the number in it."""

    start: int
    end: int
    rows: int


class Trailer:
    """`pattern` has `{rows}` in place of the number, as in `Total: {rows}`; blanks around its parts do not matter."""

    def __init__(self, pattern: str) -> None:
        before, _, after = (re.escape(part.strip().encode()) for part in pattern.partition(ROWS))
        self._line = re.compile(rb"(?m)^" + _AROUND + before + _AROUND + _COUNT + _AROUND + after + _AROUND + rb"$")

    def find(self, block: bytes, where: str, line: int) -> Found | None:
        """The trailer among whole lines, of which the first has this number.

        Raises:
            InputError: When something follows it.

        """
        match = self._line.search(block)
        if match is None:
            return None
        start = match.start() + (len(match[0]) - len(match[0].lstrip()))
        end = block.find(b"\n", match.end(1)) + 1 or len(block)
        if block[end:].strip(NOTHING):
            number = line + block.count(b"\n", 0, start)
            raise InputError(f"{where}, line {number}: this is the trailer, but more lines follow it")
        start = block.rfind(b"\n", 0, start) + 1
        return Found(start, len(block), int(re.sub(rb"[^0-9]", b"", match[1])))
