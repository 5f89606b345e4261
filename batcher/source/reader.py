"""One input as a stream of columns: opens, decompresses, recognises, counts lines, and can start in the middle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import orjson
import pyarrow as pa

from batcher.core.errors import InputError
from batcher.core.model import Columns, Position
from batcher.source.csv import CsvParser, Forms
from batcher.source.jsonl import Entries, JsonParser, read_document
from batcher.source.layout import Fields, Form
from batcher.source.records import Rows

FIRST_BLOCK = 1 << 16
"""Bytes. Small, so that the first request leaves early and neutral headers are decided cheaply."""
BLOCK = 1 << 20
LONGEST_LINE = 1 << 24
LARGEST_DOCUMENT = 64 << 20
_BOM = b"\xef\xbb\xbf"
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
FORMATS = ("csv", "jsonl", "json")


@dataclass(frozen=True, slots=True)
class Input:
    """One file to read. `name` is what people see; a spool grows until `is_whole` says that it does not."""

    name: str
    path: Path
    format: str = ""
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are to be understood."""

    fields: Fields
    ids_only: bool
    delimiter: str = ""


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


class _TooLong:
    """A line beyond `LONGEST_LINE` was passed over."""


def read(
    source: int, item: Input, how: Reading, start: Position
) -> Generator[tuple[Columns, Position] | Waits]:
    """The rows of one input from `start` on, each stretch with the position after it.

    Everything before `start` is read again and compared with the digest that was taken of it. The last stretch
    has no rows and a position that says `end`.

    Raises:
        InputError: When it cannot be opened or read on, is no input of ours, or differs before `start`.

    """
    try:
        lines = _Lines(_open(item), item.is_whole)
        try:
            yield from _read(source, item, how, start, lines)
        finally:
            lines.close()
    except OSError as error:
        # Also what pyarrow says of broken archives: "Truncated compressed stream".
        raise InputError(f"{item.name}: cannot be read: {error.strerror or error}") from error


def _read(
    source: int, item: Input, how: Reading, start: Position, lines: _Lines
) -> Generator[tuple[Columns, Position] | Waits]:
    while isinstance(block := lines.next(), Waits):
        yield block
    if isinstance(block, _TooLong):
        raise InputError(f"{item.name}: the first line is longer than {LONGEST_LINE} bytes")
    if block.startswith(_BOM):
        lines.consume(_BOM)
        block = block[len(_BOM) :]
    kind = item.format or _recognise(item, block)
    lines.unread(block)
    parser = _parser(kind, source, item, how, start)
    if isinstance(parser, CsvParser):
        yield from _skip_header(parser, lines, item)
    lines.skip_to(start.offset)
    if start.offset and lines.digest() != start.digest:
        raise InputError(f"{item.name} was changed since it was read: it differs before line {lines.line + 1}")
    skip = start.skip
    while True:
        block = lines.whole_document(item.name) if isinstance(parser, _Document) else lines.next()
        if isinstance(block, Waits):
            yield block
            continue
        if not block:
            break
        held: Columns | None = None
        given = 0
        if isinstance(block, _TooLong):
            chunks, used = iter((_too_long(source, lines.line),)), 0
        else:
            chunks, used = parser.parse(block, lines.line + 1, is_last=lines.at_end)
        for columns in chunks:
            if held is not None:
                yield held, _position(source, lines, parser, skip=given)
            given += len(columns)
            cut = min(skip, len(columns))
            skip -= cut
            held = columns.take(cut, len(columns)) if cut else columns
        if not isinstance(block, _TooLong):
            lines.consume(block[:used])
            lines.keep(block[used:])
        if held is not None:
            yield held, _position(source, lines, parser)
    yield Rows(source).columns(), _position(source, lines, parser, end=True)


class _Parser(Protocol):
    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]: ...


def _parser(kind: str, source: int, item: Input, how: Reading, start: Position) -> _Parser:
    if kind == "json":
        return _Document(source, item, how)
    if kind == "jsonl":
        return JsonParser(how.fields, source, ids_only=how.ids_only)
    tabs = _suffixes(item)[:1] == [".tsv"]
    parser = CsvParser(how.fields, how.delimiter or ("\t" if tabs else ","), source, item.name)
    parser.forms = Forms(Form(start.forms[0]), Form(start.forms[1]))
    return parser


class _Document:
    """A whole document as one block."""

    def __init__(self, source: int, item: Input, how: Reading) -> None:
        self._source = source
        self._name = item.name
        self._entries = Entries(how.fields, ids_only=how.ids_only)

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:  # noqa: ARG002
        return read_document(block, self._entries, self._source, self._name), len(block)


def _skip_header(parser: CsvParser, lines: _Lines, item: Input) -> Generator[Waits]:
    while True:
        block = lines.next()
        if isinstance(block, Waits):
            yield block
            continue
        if isinstance(block, _TooLong) or not block:
            raise InputError(f"{item.name} is empty; a CSV file needs a header such as op,user_id,group_id")
        used = parser.read_header(block)
        lines.consume(block[: used or len(block)])
        if used:
            lines.unread(block[used:])
            return


def _too_long(source: int, line: int) -> Columns:
    rows = Rows(source)
    rows.reject(line, f"the line is longer than {LONGEST_LINE} bytes")
    return rows.columns()


def _position(source: int, lines: _Lines, parser: _Parser, *, skip: int = 0, end: bool = False) -> Position:
    forms = (str(parser.forms.user), str(parser.forms.group)) if isinstance(parser, CsvParser) else ("", "")
    return Position(source, lines.offset, skip, lines.digest(), forms, end)


def _suffixes(item: Input) -> list[str]:
    """The file's suffixes, last first, without those of compression."""
    return [s.lower() for s in reversed(item.path.suffixes) if s.lower() not in {".gz", ".zst"}]


def _recognise(item: Input, block: bytes) -> str:
    known = _BY_SUFFIX.get(next(iter(_suffixes(item)), ""), "")
    first, _, rest = block.strip().partition(b"\n")
    if known == "json" or (not known and first[:1] in {b"{", b"["}):
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return "json"
        return "jsonl" if rest or not known else "json"
    return known or "csv"


def _open(item: Input) -> Stream:
    with item.path.open("rb") as file:
        magic = file.read(4)
    codec = next((name for start, name in _MAGIC.items() if magic.startswith(start)), None)
    if codec is None:
        return item.path.open("rb", buffering=0)
    if not item.is_whole():
        raise InputError(f"{item.name} is compressed; pipe it through zcat or zstdcat first")
    return pa.input_stream(str(item.path), compression=codec)  # type: ignore[no-any-return]  # untyped library


class _Lines:
    """A stream as blocks of whole lines, with what was consumed so far: bytes, lines, digest."""

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

    def next(self) -> bytes | Waits | _TooLong:
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
            if cut:
                block, self._carry = self._carry + chunk[:cut], chunk[cut:]
                return block
            self._carry += chunk
            if len(self._carry) > LONGEST_LINE:
                self._pass_over_line()
                return _TooLong()

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
            if isinstance(block, _TooLong) or sum(map(len, parts)) + len(block) > LARGEST_DOCUMENT:
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
        self._stream.close()
