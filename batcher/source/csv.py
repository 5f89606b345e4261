"""CSV (RFC 4180, UTF-8): clean blocks as columns at once, everything else record by record.

Both ways agree on every block that the first does not decline. Records are counted in physical lines that end
in LF or CRLF. A quote that is never closed invalidates only the line on which it opens; reading continues after it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv

from batcher.core.errors import EmptyInputError, InputError
from batcher.core.model import Columns, KeyKind
from batcher.core.wholeness import Content
from batcher.source.cells import MARK
from batcher.source.clean_columns import clean_columns, plain_length
from batcher.source.csv_records import LONGEST_RECORD, Forms, lines_of, read_carefully
from batcher.source.formats import Format, suffix_of
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Column, Layout
from batcher.source.lines import Lines, TooLong, Waits
from batcher.source.opening import is_sheet
from batcher.source.rules import Form

_MARKS = ",;\t"
"""Possible delimiters of a header, the most likely first."""
_QUOTED = re.compile('"[^"]*"')


class CsvParser:
    """See `Parser`. `forms` says what columns with neutral headers turned out to hold."""

    takes_whole = False

    def __init__(self, source: int, item: Input, how: Reading, memory: tuple[str, str] = ("", "")) -> None:
        self.forms = Forms(Form(memory[0]), Form(memory[1]))
        self.records = 0
        """The number of records read."""
        self._has_marks = is_sheet(item)
        self._fields = how.fields
        self._delimiter = "," if self._has_marks else how.delimiter or ("\t" if suffix_of(item) == ".tsv" else "")
        self._skip_rows = how.skip_rows
        self._source = source
        self._where = item.name
        self._refinement = how.refinement
        self._layout: Layout | None = None

    def begin(self, lines: Lines) -> Iterator[Waits]:
        """Past the header."""
        skip_rows = self._skip_rows
        while True:
            block = lines.next()
            if isinstance(block, Waits):
                yield block
                continue
            if isinstance(block, TooLong) or not block:
                raise EmptyInputError(f"{self._where} is empty; a CSV file needs a header such as op,user_id,group_id")
            passed = block.split(b"\n", skip_rows)
            skip_rows -= len(passed) - 1
            used = 0 if skip_rows else self.read_header(passed[-1])
            lines.consume(block[: len(block) - len(passed[-1]) + used] if used else block)
            if used:
                lines.unread(passed[-1][used:])
                return

    def read_header(self, block: bytes) -> int:
        """Parse the header; returns the bytes up to its end, or 0 if the block has only blank lines.

        If no delimiter was given, it is inferred from the header.

        Raises:
            InputError: When it is not a usable header.

        """
        lines = lines_of(block)
        texts = [line.decode("utf-8", "replace") for line in lines]
        self._delimiter = self._delimiter or _delimiter_of(next((text for text in texts if text.strip()), ""))
        reader = csv.reader(texts, delimiter=self._delimiter, strict=True)
        try:
            for header in reader:
                if header:
                    self._layout = Layout.of(
                        header, self._fields, self._where, self._refinement, has_marks=self._has_marks
                    )
                    break
            else:
                return 0
        except csv.Error as error:
            raise InputError(f"{self._where}: the header cannot be read: {error}") from None
        return sum(len(line) for line in lines[: reader.line_num])

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:
        """See `Parser`."""
        if self._layout is None:
            raise InputError(f"{self._where}: there is no header")
        clean = read_clean(block, line, self._layout, self.forms, self._delimiter, self._source)
        if clean is not None:
            self.records += len(clean)
            return iter((clean,)), len(block)
        part = read_carefully(block, line, self._layout, self.forms, self._delimiter, self._source, is_last=is_last)
        self.forms = part.forms
        self.records += part.records
        return iter((part.columns,) if len(part.columns) else ()), part.used

    def memory(self) -> tuple[str, str]:
        """See `Parser`."""
        return str(self.forms.user), str(self.forms.group)

    def describe(self, content: Content, lines: Lines) -> None:
        """See `Parser`."""
        content.rows, content.trailer, content.has_open_end = self.records, lines.trailer_rows, lines.has_open_end
        content.columns = () if self._layout is None else self._layout.dates


CSV = Format("csv", (".csv", ".tsv"), lambda _, suffix: suffix in {".csv", ".tsv"}, CsvParser)


def _delimiter_of(header: str) -> str:
    plain = _QUOTED.sub("", header)
    return next((mark for mark in _MARKS if mark in plain), _MARKS[0])


def read_clean(block: bytes, line: int, layout: Layout, forms: Forms, delimiter: str, source: int) -> Columns | None:
    """The whole block at once; None when anything in it is out of the ordinary.

    A value parsed by pyarrow may be shorter than its field (`007`, ` 5`, blank lines), but never longer, except for
    hexadecimal. So a block is accepted only if its values, written plainly, have exactly its length.
    """
    if not layout.is_plain or (layout.has_marks and MARK.encode() in block):
        return None
    sides = [(_form(layout.user, forms.user)), (_form(layout.group, forms.group))]
    if (
        Form.OPEN in sides
        or (layout.kind is KeyKind.INTEGER and Form.NAME in sides)
        or not _looks_clean(block, Form.ID in sides)
    ):
        return None
    if not block.endswith(b"\n"):
        block += b"\r\n" if b"\r\n" in block else b"\n"
    returns = block.count(b"\r") if b"\r" in block else 0
    names = [str(i) for i in range(layout.width)]
    types = dict.fromkeys(names, pa.string())
    dictionary = pa.dictionary(pa.int32(), pa.string())
    places = [layout.user.places[0][0], layout.group.places[0][0]]
    for place, form in zip(places, sides, strict=True):
        types[str(place)] = pa.int64() if form is Form.ID else dictionary
    if layout.op is not None:
        types[str(layout.op)] = dictionary
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + 1),
            pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    count = len(table)
    if returns and returns != count:
        return None
    arrays = [column.chunk(0) for column in table.columns] if count else []
    length = count * (layout.width + (1 if returns else 0))
    length += sum(plain_length(array) for array in arrays)
    if not count or length != len(block):
        return None
    op = None if layout.op is None else arrays[layout.op]
    return clean_columns(op, arrays[places[0]], arrays[places[1]], layout, line, source)


def _looks_clean(block: bytes, has_ids: bool) -> bool:  # noqa: FBT001 — a fact of the layout
    """Whether a block is worth the attempt: no quotes, no lone CR, nothing that may be a hexadecimal id."""
    if not block or b'"' in block or len(block) > LONGEST_RECORD:
        return False
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    # Searching for one byte is many times faster than searching for two.
    return not (has_ids and ((b"x" in block and b"0x" in block) or (b"X" in block and b"0X" in block)))


def _form(column: Column, decided: Form) -> Form:
    """The form of a column with one place; columns with separate places for id and name are never clean."""
    if len(column.places) > 1:
        return Form.OPEN
    return column.places[0][1] or decided
