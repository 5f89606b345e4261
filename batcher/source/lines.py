"""A stream of bytes as blocks of whole lines, with what was consumed so far: bytes, lines, digest."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from batcher.core.errors import InputError

FIRST_BLOCK = 1 << 16
"""Bytes. Small, so that the first request leaves early and neutral headers are decided cheaply."""
BLOCK = 1 << 20
LONGEST_LINE = 1 << 24
LARGEST_DOCUMENT = 64 << 20


class Stream(Protocol):
    """Bytes in order; an empty answer is the end."""

    def read(self, size: int) -> bytes:
        """At most so many bytes."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


class Waits:
    """In a stream of columns: nothing more yet, the input still grows."""


WAITS = Waits()


class TooLong:
    """A line beyond `LONGEST_LINE` was passed over."""


class Lines:
    """See the module. `at_end` is known once the stream gave its last bytes."""

    def __init__(self, stream: Stream, is_whole: Callable[[], bool]) -> None:
        self.offset = 0
        self.line = 0
        self.at_end = False
        self._stream = stream
        self._is_whole = is_whole
        self._hash = blake2b(digest_size=16)
        self._unread = b""
        self._carry = b""
        self._size = FIRST_BLOCK

    def next(self) -> bytes | Waits | TooLong:
        """The next whole lines; the last may lack its end. Empty at the end of the stream."""
        if self._unread:
            block, self._unread = self._unread, b""
            return block
        while True:
            is_whole = self._is_whole()
            chunk = self._stream.read(self._size)
            if not chunk:
                if not is_whole:
                    return WAITS
                self.at_end = True
                block, self._carry = self._carry, b""
                return block
            self._size = BLOCK
            cut = chunk.rfind(b"\n") + 1
            line = chunk.find(b"\n") if cut else len(chunk)
            if len(self._carry) + line > LONGEST_LINE:
                self._carry += chunk
                self._pass_over_line()
                return TooLong()
            if cut:
                block, self._carry = self._carry + chunk[:cut], chunk[cut:]
                return block
            self._carry += chunk

    def _pass_over_line(self) -> None:
        chunk, self._carry = self._carry, b""
        while chunk and b"\n" not in chunk:
            self.consume(chunk)
            chunk = self._stream.read(BLOCK)
        line, end, self._carry = chunk.partition(b"\n")
        self.consume(line + end)
        self.line += not end

    def whole_document(self, name: str) -> bytes | Waits:
        """Everything that is left, once it is all there."""
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
        """Count these bytes as done."""
        self.offset += len(data)
        self.line += data.count(b"\n")
        self._hash.update(data)

    def unread(self, block: bytes) -> None:
        """Give this block back; it comes next, as it is."""
        self._unread = block

    def keep(self, rest: bytes) -> None:
        """Put the beginning of an unfinished record before the next block."""
        self._carry = rest + self._carry

    def skip_to(self, offset: int) -> None:
        """Consume everything before this offset."""
        while self.offset < offset:
            block = self._unread or self._carry or self._stream.read(BLOCK)
            self._unread, rest = b"", self._carry if self._unread else b""
            if not block:
                return
            done = block[: offset - self.offset]
            self.consume(done)
            self._carry = block[len(done) :] + rest

    def digest(self) -> str:
        """Over all consumed bytes."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()
