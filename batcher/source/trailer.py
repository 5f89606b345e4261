"""A last line that says how many records there are: it is no record, and nothing may come after it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batcher.core.errors import InputError
from batcher.core.wholeness import ROWS

_COUNT = rb"([0-9]{1,3}(?:[.,' ][0-9]{3}){1,5}|[0-9]{1,18})"
NOTHING = b' \t\r\n,;"'
"""Of what lines are made that say nothing."""
_AROUND = rb"[\"\s;,\t]*"
"""Quotation marks and delimiters: the line may be that of a table."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where in a block it stands, and what it says."""

    start: int
    end: int
    rows: int


class Trailer:
    """`pattern` has `{rows}` in the place of the number, as in `Total: {rows}`; blanks count as any others."""

    def __init__(self, pattern: str) -> None:
        before, _, after = (re.escape(part.strip().encode()) for part in pattern.partition(ROWS))
        self._line = re.compile(rb"(?m)^" + _AROUND + before + _AROUND + _COUNT + _AROUND + after + _AROUND + rb"$")

    def find(self, block: bytes, where: str, line: int) -> Found | None:
        """The trailer among whole lines, of which the first has this number.

        Raises:
            InputError: When something comes after it.

        """
        match = self._line.search(block)
        if match is None:
            return None
        start = match.start() + (len(match[0]) - len(match[0].lstrip()))
        end = block.find(b"\n", match.end(1)) + 1 or len(block)
        if block[end:].strip(NOTHING):
            number = line + block.count(b"\n", 0, start)
            raise InputError(f"{where}, line {number}: the last line by its form, but more lines come after it")
        start = block.rfind(b"\n", 0, start) + 1
        return Found(start, len(block), int(re.sub(rb"[^0-9]", b"", match[1])))
