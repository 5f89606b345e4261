"""One input as a stream of columns: opens, decompresses, recognises, counts lines, and can start in the middle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import orjson
import pyarrow as pa

from batcher.core.errors import EmptyInputError, InputError
from batcher.core.look_alikes import Names
from batcher.core.model import Columns, Position
from batcher.core.wholeness import Content
from batcher.source.csv import CsvParser
from batcher.source.csv_records import Forms
from batcher.source.entries import Entries
from batcher.source.foreign import COMPRESSED, HEAD, Transcoded, marked_encoding, refuse
from batcher.source.jsonl import JsonParser, read_document
from batcher.source.layout import Fields, Layout
from batcher.source.lines import LONGEST_LINE, WAITS, Lines, Stream, TooLong, Waits
from batcher.source.records import Rows
from batcher.source.refine import PLAIN, Refinement
from batcher.source.rules import Form
from batcher.source.sheets import Sheet, chosen_sheet, is_spreadsheet
from batcher.source.trailer import Trailer

_BOM = b"\xef\xbb\xbf"
_MAGIC_BYTES = 4
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
FORMATS = ("csv", "jsonl", "json")


@dataclass(frozen=True, slots=True)
class Input:
    """One file to read. `name` is what people see; a spool grows until `is_whole` says that it does not."""

    name: str
    path: Path
    format: str = ""
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)
    is_spool: bool = False
    version: tuple[int, ...] = ()
    """What it was when it was judged, or opened; when it is something else, it is not read. Empty: whatever it is."""

    def present_version(self) -> tuple[int, ...]:
        """What tells the file from one that was put in its place, or written to: device, inode, size, and when.

        Raises:
            InputError: When it is not there.

        """
        try:
            now = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns

    def as_it_is(self) -> Input:
        """The same, to be read as it is now, or as it was when it was judged."""
        return self if self.version or self.is_spool else replace(self, version=self.present_version())

    def check_version(self) -> None:
        """See that it is still what was judged, or opened.

        Raises:
            InputError: When it is not; says what has happened to it.

        """
        now = self.present_version() if self.version else self.version
        if now != self.version:
            raise InputError(f"{self.name} was {what_happened(self.version, now)}, while it was read or judged")


def what_happened(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    """To a file of which these are the versions, for people."""
    (*identity, size, _), (*other, new_size, _) = before, now
    if identity != other:
        return "replaced by another file"
    if new_size != size:
        return f"{'cut' if new_size < size else 'appended to'}: it had {size:,} bytes, and has {new_size:,} now"
    return "written to"


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are to be understood."""

    fields: Fields
    ids_only: bool
    delimiter: str = ""
    """Empty: the header tells."""
    encoding: str = ""
    """Empty: UTF-8, or UTF-16 with a byte order mark."""
    sheet: str = ""
    """Of a spreadsheet; empty is the first that people see."""
    skip_rows: int = 0
    """Lines before a CSV's header."""
    refinement: Refinement = PLAIN
    names: Names = Names.EXACT
    """What the target makes of names that look alike."""
    trailer: Trailer | None = None
    """The form of a last line that counts the others."""

    def is_header(self, row: Sequence[str]) -> bool:
        """Whether a row has the columns that are needed."""
        try:
            Layout.of(row, self.fields, "", self.refinement)
        except InputError:
            return False
        return True


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
        while not item.is_whole() and item.path.stat().st_size < _MAGIC_BYTES:
            yield WAITS
        item = item.as_it_is()
        lines = Lines(_open(item, how), item.is_whole, how.trailer, item.name)
        try:
            item.check_version()
            yield from _read(source, item, how, start, lines, found or Content(item.name))
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
    _describe(found, lines, parser, sheet_of(item, how))
    yield Rows(source).columns(), _position(source, lines, parser, end=True)


def _describe(found: Content, lines: Lines, parser: _Parser, sheet: str) -> None:
    found.rows, found.trailer, found.sheet = parser.records, lines.trailer_rows, sheet
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
    if _is_spreadsheet(item):
        delimiter = ","
    parser = CsvParser(how.fields, delimiter, source, item.name, how.refinement, has_marks=_is_spreadsheet(item))
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
    return Entries(how.fields, ids_only=how.ids_only, refinement=how.refinement)


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
    if _is_spreadsheet(item):
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


def sheet_of(item: Input, how: Reading) -> str:
    """The sheet of a spreadsheet that is read; empty for any other file.

    Raises:
        InputError: When the file cannot be read, or does not tell.

    """
    if not _is_spreadsheet(item):
        return ""
    return chosen_sheet(item.path, how.sheet, how.skip_rows, how.is_header)


def _is_spreadsheet(item: Input) -> bool:
    return is_spreadsheet(item.path) and not item.is_spool


def _open(item: Input, how: Reading) -> Stream:
    """The input's bytes as UTF-8."""
    if _is_spreadsheet(item):
        return Sheet(item.path, how.sheet, how.skip_rows, how.is_header)
    stream = _Begun(_decompressed(item))
    encoding = how.encoding or marked_encoding(stream.head)
    return Transcoded(stream, encoding, item.name) if encoding else stream


def _decompressed(item: Input) -> Stream:
    """The input's bytes."""
    with item.path.open("rb") as file:
        magic = file.read(_MAGIC_BYTES)
    codec = next((name for start, name in COMPRESSED.items() if magic.startswith(start)), None)
    if codec is None:
        return item.path.open("rb", buffering=0)
    if item.is_spool:  # also one that is whole by chance: what is refused must not depend on who was faster
        raise InputError(f"{item.name} is compressed; pipe it through zcat or zstdcat first")
    return cast("Stream", pa.input_stream(str(item.path), compression=codec))


class _Begun:
    """A stream of which the first bytes are known."""

    def __init__(self, stream: Stream) -> None:
        self.head = b""
        while len(self.head) < _MAGIC_BYTES and (piece := stream.read(_MAGIC_BYTES - len(self.head))):
            self.head += piece
        self._stream = stream
        self._unread = self.head

    def read(self, size: int) -> bytes:
        """At most so many bytes, or as many as were read already."""
        head, self._unread = self._unread, b""
        return head + self._stream.read(max(0, size - len(head))) if len(head) < size else head

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()
