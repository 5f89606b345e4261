"""One input as a stream of columns: recognises it, counts lines, and can start in the middle."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import orjson

from batcher.core.errors import EmptyInputError, InputError
from batcher.core.model import Columns, Position
from batcher.core.wholeness import Content
from batcher.source.csv import CsvParser
from batcher.source.csv_records import Forms
from batcher.source.entries import Entries
from batcher.source.foreign import HEAD, refuse
from batcher.source.inputs import Input, Reading
from batcher.source.jsonl import JsonParser, read_document
from batcher.source.lines import LONGEST_LINE, WAITS, Lines, TooLong, Waits
from batcher.source.opening import LEAST, is_sheet, open_as_utf8
from batcher.source.records import Rows
from batcher.source.rules import Form
from batcher.source.sheets import Sheet

_BOM = b"\xef\xbb\xbf"
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
FORMATS = ("csv", "jsonl", "json")


def read(
    source: int, item: Input, how: Reading, start: Position, found: Content | None = None
) -> Generator[tuple[Columns, Position] | Waits]:
    """The rows of one input from `start` on, each stretch with the position after it.

    Everything before `start` is read again and compared with the digest that was taken of it. The last stretch
    has no rows and a position that says `end`; `found` is filled before it.

    A file that changes while it is read is read no further: what has come of it since may be anything.

    Raises:
        InputError: When it cannot be opened or read on, is no input of ours, differs before `start`, or moves.

    """
    try:
        while not item.is_whole() and item.path.stat().st_size < LEAST:
            yield WAITS
        item = item.as_it_is()
        stream = open_as_utf8(item, how)
        lines = Lines(stream, item.is_whole, how.trailer, item.name)
        try:
            item.check_version()
            yield from _read(source, item, how, start, lines, found or Content(item.name))
            if found is not None and isinstance(stream, Sheet):
                found.sheet = stream.name
        finally:
            lines.close()
    except OSError as error:
        # Also what pyarrow says of broken archives: "Truncated compressed stream".
        raise InputError(f"{item.name}: cannot be read: {error.strerror or error}") from error


def _read(
    source: int, item: Input, how: Reading, start: Position, lines: Lines, found: Content
) -> Generator[tuple[Columns, Position] | Waits]:
    while isinstance(block := lines.next(), Waits):
        yield block
    if isinstance(block, TooLong):
        raise InputError(f"{item.name}: the first line is longer than {LONGEST_LINE} bytes")
    if block.startswith(_BOM):
        lines.consume(_BOM)
        block = block[len(_BOM) :]
    refuse(block.split(b"\n", how.skip_rows)[-1][:HEAD], item.name)
    kind = item.format or _recognise(item, block)
    lines.unread(block)
    parser = _parser(kind, source, item, how, start)
    if isinstance(parser, CsvParser):
        yield from _skip_header(parser, lines, item, how.skip_rows)
    lines.skip_to(start.offset)
    if start.offset and lines.digest() != start.digest:
        raise InputError(f"{item.name} was changed since it was read: it differs before line {lines.line + 1}")
    skip = start.skip
    while True:
        block = lines.whole_document(item.name) if isinstance(parser, _Document) else lines.next()
        if isinstance(block, Waits):
            yield block
        elif isinstance(block, TooLong):
            yield _too_long(source, lines.line), _position(source, lines, parser)
        elif block:
            item.check_version()
            skip = yield from _read_block(source, lines, parser, block, skip)
        else:
            break
    item.check_version()
    _describe(found, lines, parser)
    yield Rows(source).columns(), _position(source, lines, parser, end=True)


def _describe(found: Content, lines: Lines, parser: _Parser) -> None:
    found.rows, found.trailer = parser.records, lines.trailer_rows
    if isinstance(parser, CsvParser):
        found.has_open_end, found.columns = lines.has_open_end, parser.dates


def _read_block(
    source: int, lines: Lines, parser: _Parser, block: bytes, skip: int
) -> Generator[tuple[Columns, Position], None, int]:
    """The rows of a block but for the first `skip`; returns how many are still to be skipped.

    A block may unfold into several stretches. The position after all but the last of them is within the block.
    """
    chunks, used = parser.parse(block, lines.line + 1, is_last=lines.is_final)
    held: Columns | None = None
    given = 0
    for columns in chunks:
        if held:
            yield held, _position(source, lines, parser, skip=given)
        given += len(columns)
        cut = min(skip, len(columns))
        skip -= cut
        held = columns.take(cut, len(columns)) if cut else columns
    lines.consume(block[:used])
    lines.keep(block[used:])
    if held:
        yield held, _position(source, lines, parser)
    return skip


class _Parser(Protocol):
    records: int

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]: ...


def _parser(kind: str, source: int, item: Input, how: Reading, start: Position) -> _Parser:
    if kind == "json":
        return _Document(source, item, how)
    if kind == "jsonl":
        return JsonParser(_entries(how), source, item.name)
    delimiter = how.delimiter or ("\t" if _suffixes(item)[:1] == [".tsv"] else "")
    if is_sheet(item):
        delimiter = ","
    parser = CsvParser(how.fields, delimiter, source, item.name, how.refinement, has_marks=is_sheet(item))
    parser.forms = Forms(Form(start.forms[0]), Form(start.forms[1]))
    return parser


class _Document:
    """A whole document as one block."""

    def __init__(self, source: int, item: Input, how: Reading) -> None:
        self._source = source
        self._name = item.name
        self._entries = _entries(how)
        self.records = 0

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:  # noqa: ARG002
        self.records, chunks = read_document(block, self._entries, self._source, self._name)
        return chunks, len(block)


def _entries(how: Reading) -> Entries:
    return Entries(how.fields, how.refinement)


def _skip_header(parser: CsvParser, lines: Lines, item: Input, skip_rows: int) -> Generator[Waits]:
    while True:
        block = lines.next()
        if isinstance(block, Waits):
            yield block
            continue
        if isinstance(block, TooLong) or not block:
            raise EmptyInputError(f"{item.name} is empty; a CSV file needs a header such as op,user_id,group_id")
        passed = block.split(b"\n", skip_rows)
        skip_rows -= len(passed) - 1
        used = 0 if skip_rows else parser.read_header(passed[-1])
        lines.consume(block[: len(block) - len(passed[-1]) + used] if used else block)
        if used:
            lines.unread(passed[-1][used:])
            return


def _too_long(source: int, line: int) -> Columns:
    rows = Rows(source)
    rows.reject(line, f"the line is longer than {LONGEST_LINE} bytes")
    return rows.columns()


def _position(source: int, lines: Lines, parser: _Parser, *, skip: int = 0, end: bool = False) -> Position:
    forms = (str(parser.forms.user), str(parser.forms.group)) if isinstance(parser, CsvParser) else ("", "")
    return Position(source, lines.offset, skip, lines.digest(), forms, end)


def _suffixes(item: Input) -> list[str]:
    """The file's suffixes, last first, without those of compression."""
    return [s.lower() for s in reversed(item.path.suffixes) if s.lower() not in {".gz", ".zst"}]


def _recognise(item: Input, block: bytes) -> str:
    if is_sheet(item):
        return "csv"
    known = _BY_SUFFIX.get(next(iter(_suffixes(item)), ""), "")
    first, _, rest = block.strip().partition(b"\n")
    if known == "json" or (not known and first[:1] in {b"{", b"["}):
        try:
            orjson.loads(first)
        except orjson.JSONDecodeError:
            return "json"
        return "jsonl" if rest or not known else "json"
    return known or "csv"
