"""A stream of bytes as blocks of whole lines, tracking what was consumed: bytes, lines, digest."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from batcher.core.errors import InputError
from batcher.source.trailer import NOTHING, Trailer

FIRST_BLOCK = 1 << 16
"""Bytes. Small, so that the first request is sent early and the form of neutral columns is decided cheaply."""
BLOCK = 1 << 20
LARGEST_DOCUMENT = 64 << 20
LONGEST_LINE = LARGEST_DOCUMENT
"""Bytes. A whole document may be on one line."""


class Stream(Protocol):
    """Bytes in order; an empty result means the end."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        ...

    def close(self) -> None:
        """Free all resources."""
        ...


class Waits:
    """An item in a stream of columns that means: nothing more yet, the input still grows."""


WAITS = Waits()


class TooLong:
    """A line longer than `LONGEST_LINE` was skipped."""


class Lines:
    """A stream as blocks. A block is what the parser left over from the last one, followed by whole lines.

    `is_final` says that nothing follows that could complete an open record in the block.
    """

    def __init__(
        self, stream: Stream, is_whole: Callable[[], bool], trailer: Trailer | None = None, where: str = ""
    ) -> None:
        self.offset = 0
        self.line = 0
        self.is_final = False
        self._stream = stream
        self._is_whole = is_whole
        self._hash = blake2b(digest_size=16)
        self._unread = b""
        """Whole lines to be returned next, unchanged."""
        self._open = b""
        """Whole lines of a record that is still incomplete."""
        self._carry = b""
        """The beginning of a line."""
        self._passing_over = False
        self._trailer = trailer
        self._where = where
        self._after = b""
        """The trailer, kept until everything before it is consumed."""
        self.trailer_rows: int | None = None
        """The number of records that the trailer states, once it was found."""
        self._size = FIRST_BLOCK
        self._has_ends = False
        self.has_open_end = False
        """Whether the last line has no line break although others have one."""

    def next(self) -> bytes | Waits | TooLong:
        """The next whole lines; the last may lack its line break. Empty at the end of the stream.

        Raises:
            InputError: When something follows the trailer.

        """
        if self._unread:
            return self._take_unread()
        self.consume(self._after)
        self._after = b""
        block = self._next()
        if self._trailer is None or isinstance(block, Waits | TooLong):
            return block
        return self._before_the_trailer(self._trailer, block)

    def _before_the_trailer(self, trailer: Trailer, block: bytes) -> bytes | Waits | TooLong:
        if self.trailer_rows is not None and block.strip(NOTHING):
            raise InputError(
                f"{self._where}, line {self.line + 1}: more lines follow the trailer, which must be the last line"
            )
        found = trailer.find(block, self._where, self.line + 1)
        if found is None:
            return block
        self.trailer_rows, self.is_final, self.has_open_end = found.rows, True, False
        self._after = block[found.start :]
        return block[: found.start] or self.next()

    def _next(self) -> bytes | Waits | TooLong:
        while True:
            is_whole = self._is_whole()
            chunk = self._stream.read(self._size)
            self._size = BLOCK
            if not chunk:
                return self._end() if is_whole else WAITS
            if self._passing_over:
                if not self._pass_over(chunk):
                    continue
                return TooLong()
            first = chunk.find(b"\n")
            self._has_ends |= first >= 0
            if len(self._carry) + (first if first >= 0 else len(chunk)) > LONGEST_LINE:
                self._carry, self._passing_over = self._carry + chunk, True
                if self._open:
                    self.is_final = True  # the long line cannot complete the record before it
                    return self._take_open(b"")
                if self._pass_over(b""):
                    return TooLong()
                continue
            cut = chunk.rfind(b"\n") + 1
            if cut:
                block, self._carry = self._carry + chunk[:cut], chunk[cut:]
                self.is_final = False
                return self._take_open(block)
            self._carry += chunk

    def _take_unread(self) -> bytes:
        block, self._unread = self._unread, b""
        return self._take_open(block)

    def _take_open(self, block: bytes) -> bytes:
        block, self._open = self._open + block, b""
        return block

    def _end(self) -> bytes | TooLong:
        if self._passing_over:
            self._passing_over = False
            self.consume(self._carry)
            self._carry = b""
            self.line += 1
            return TooLong()
        self.is_final = True
        block, self._carry = self._carry, b""
        self.has_open_end |= bool(block) and self._has_ends
        return self._take_open(block)

    def _pass_over(self, chunk: bytes) -> bool:
        """Skip more of a line that is too long; returns whether its end was reached."""
        line, end, rest = (self._carry + chunk).partition(b"\n")
        self.consume(line + end)
        self._carry = rest
        self._passing_over = not end
        if end and b"\n" in rest:
            cut = rest.rfind(b"\n") + 1
            self._unread, self._carry = rest[:cut], rest[cut:]
        return bool(end)

    def whole_document(self, name: str) -> bytes | Waits:
        """All remaining content, once it is complete."""
        parts: list[bytes] = []
        while not isinstance(block := self.next(), Waits) and block:
            if isinstance(block, TooLong) or sum(map(len, parts)) + len(block) > LARGEST_DOCUMENT:
                raise InputError(f"{name} is larger than 64 MiB; write one change per line into a .jsonl file")
            parts.append(block)
        document = b"".join(parts)
        if isinstance(block, Waits):
            self.unread(document)
            return block
        return document

    def consume(self, data: bytes) -> None:
        """Count these bytes as consumed."""
        self.offset += len(data)
        self.line += data.count(b"\n")
        self._hash.update(data)

    def unread(self, block: bytes) -> None:
        """Push a block back; it is returned next, unchanged."""
        self._unread = block

    def keep(self, rest: bytes) -> None:
        """Put an incomplete record before the next block."""
        self._open = rest

    def skip_to(self, offset: int) -> None:
        """Consume everything before this offset, which must be the beginning of a line."""
        while self.offset < offset:
            block = self._unread + self._carry or self._stream.read(BLOCK)
            if not block:
                return
            done = block[: offset - self.offset]
            self.consume(done)
            rest = block[len(done) :]
            cut = rest.rfind(b"\n") + 1
            self._unread, self._carry = rest[:cut], rest[cut:]

    def digest(self) -> str:
        """The digest of all consumed bytes."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()
