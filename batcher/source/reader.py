"""Reading one input as a stream of columns: recognises the format, counts lines, and can start in the middle."""

from __future__ import annotations

from collections.abc import Generator

from batcher.core.errors import InputError
from batcher.core.model import Columns, Position
from batcher.core.wholeness import Content
from batcher.source.foreign import HEAD, refuse
from batcher.source.formats import FALLBACK, Format, Parser, named, recognised
from batcher.source.inputs import Input, Reading
from batcher.source.lines import LONGEST_LINE, WAITS, Lines, TooLong, Waits
from batcher.source.opening import LEAST, is_sheet, open_as_utf8
from batcher.source.records import Rows
from batcher.source.sheets import Sheet

_BOM = b"\xef\xbb\xbf"


def read(
    source: int, item: Input, how: Reading, start: Position, found: Content | None = None
) -> Generator[tuple[Columns, Position] | Waits]:
    """The rows of one input from `start` on, each stretch with the position after it.

    Everything before `start` is read again and compared with its digest. The last stretch has no rows and a position
    with `end`; `found` is filled before it.

    Reading stops at once if the file changes meanwhile, since its further content cannot be trusted.

    Raises:
        InputError: When it cannot be opened or read, is not a valid input, differs before `start`, or changes.

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
        # Includes what pyarrow raises for broken archives: "Truncated compressed stream".
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
    lines.unread(block)
    parser = _format_of(item, block).make(source, item, how, start.forms)
    yield from parser.begin(lines)
    lines.skip_to(start.offset)
    if start.offset and lines.digest() != start.digest:
        raise InputError(f"{item.name} was changed since it was read: it differs before line {lines.line + 1}")
    skip = start.skip
    while True:
        block = lines.whole_document(item.name) if parser.takes_whole else lines.next()
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
    parser.describe(found, lines)
    yield Rows(source).columns(), _position(source, lines, parser, end=True)


def _format_of(item: Input, block: bytes) -> Format:
    """A spreadsheet's cells come as CSV, whatever is named."""
    if is_sheet(item):
        return named(FALLBACK)
    return named(item.format) if item.format else recognised(item, block)


def _read_block(
    source: int, lines: Lines, parser: Parser, block: bytes, skip: int
) -> Generator[tuple[Columns, Position], None, int]:
    """The rows of a block except the first `skip`; returns how many are still to be skipped.

    A block may unfold into several stretches; all positions except the last one are within the block.
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


def _too_long(source: int, line: int) -> Columns:
    rows = Rows(source)
    rows.reject(line, f"the line is longer than {LONGEST_LINE} bytes")
    return rows.columns()


def _position(source: int, lines: Lines, parser: Parser, *, skip: int = 0, end: bool = False) -> Position:
    return Position(source, lines.offset, skip, lines.digest(), parser.memory(), end)
