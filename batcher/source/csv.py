"""CSV (RFC 4180, UTF-8): clean blocks as columns at once, everything else record by record.

Both ways agree on every block that the first does not decline. Records are counted in physical lines that end
in LF or CRLF. A quote that is never closed costs only the line on which it opens: reading goes on with the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
import pyarrow as pa
import pyarrow.csv

from batcher.core.errors import InputError
from batcher.core.model import Columns, Ints, Key, Keys
from batcher.core.wire import total_digits
from batcher.source.layout import Column, Fields, Form, Layout
from batcher.source.records import Rows
from batcher.source.rules import LONGEST_NAME, Invalid, action_of, is_integer, key_of, shown

LONGEST_RECORD = 4 << 20
"""Bytes. A quote that is not closed by then counts as never closed, wherever the blocks are cut."""

_TOO_LONG = "the record is larger than 4 MiB"
_NEVER_CLOSED = "a quote is opened and never closed (within 4 MiB)"
_NOT_CLOSED = re.compile("unexpected end of data|larger than field limit")

csv.field_size_limit(LONGEST_RECORD)  # the module's own default is 128 KiB


@dataclass(frozen=True, slots=True)
class Forms:
    """What the values of the user and group columns are, as far as it is decided."""

    user: Form = Form.OPEN
    group: Form = Form.OPEN


class CsvParser:
    """Turns blocks of whole lines into columns. `forms` is what neutral headers turned out to hold."""

    def __init__(self, fields: Fields, delimiter: str, source: int, where: str) -> None:
        self.forms = Forms()
        self._fields = fields
        self._delimiter = delimiter
        self._source = source
        self._where = where
        self._layout: Layout | None = None

    def read_header(self, block: bytes) -> int:
        """Understand the header; returns the bytes up to its end, 0 when the block has nothing but blank lines.

        Raises:
            InputError: When it is no header of ours.

        """
        lines = lines_of(block)
        texts = [line.decode("utf-8", "replace") for line in lines]
        reader = csv.reader(texts, delimiter=self._delimiter, strict=True)
        try:
            for header in reader:
                if header:
                    self._layout = Layout.of(header, self._fields, self._where)
                    break
            else:
                return 0
        except csv.Error as error:
            raise InputError(f"{self._where}: the header cannot be read: {error}") from None
        return sum(len(line) for line in lines[: reader.line_num])

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:
        """The columns of a block whose first line has this number, and the bytes that they come from.

        Fewer bytes than the block has means that its last record is not whole; unless `is_last`, the caller puts
        the rest before the next block.
        """
        if self._layout is None:
            raise InputError(f"{self._where}: there is no header")
        clean = read_clean(block, line, self._layout, self.forms, self._delimiter, self._source)
        if clean is not None:
            return iter((clean,)), len(block)
        columns, self.forms, used = read_carefully(
            block, line, self._layout, self.forms, self._delimiter, self._source, is_last=is_last
        )
        return iter((columns,) if len(columns) else ()), used


def read_clean(block: bytes, line: int, layout: Layout, forms: Forms, delimiter: str, source: int) -> Columns | None:
    """The whole block at once; None when anything in it is out of the ordinary.

    What pyarrow makes of a field may be shorter than the field (`007`, ` 5`, blank lines), never longer, but for
    hexadecimal. So a block is taken only if its values, written plainly, give back exactly its length.
    """
    sides = [(_form(layout.user, forms.user)), (_form(layout.group, forms.group))]
    if Form.OPEN in sides or (layout.ids_only and Form.NAME in sides) or not _looks_clean(block, Form.ID in sides):
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
    length += sum(_plain_length(array) for array in arrays)
    if not count or length != len(block):
        return None
    action = _actions(arrays[layout.op])
    columns = [
        _keys(arrays[place], decided=column.places[0][1] is Form.OPEN)
        for place, column in zip(places, (layout.user, layout.group), strict=True)
    ]
    if action is None or columns[0] is None or columns[1] is None:
        return None
    lines = np.arange(line, line + count)
    return Columns(action, columns[0], columns[1], lines, np.full(count, source, np.int32))


def _looks_clean(block: bytes, has_ids: bool) -> bool:  # noqa: FBT001 — a fact of the layout
    """Whether a block is worth the attempt: no quotes, no lone returns, nothing that may be a hexadecimal id."""
    if not block or b'"' in block or len(block) > LONGEST_RECORD:
        return False
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    # A search for one byte is many times faster than one for two.
    return not (has_ids and ((b"x" in block and b"0x" in block) or (b"X" in block and b"0X" in block)))


def _form(column: Column, decided: Form) -> Form:
    """What a column of one place holds; columns with an id's and a name's place are never clean."""
    if len(column.places) > 1:
        return Form.OPEN
    return column.places[0][1] or decided


def _plain_length(array: pa.Array) -> int:
    """Bytes of all values as they would be written plainly."""
    if pa.types.is_int64(array.type):
        return total_digits(array.to_numpy())
    if pa.types.is_dictionary(array.type):
        return int(np.diff(_offsets(array.dictionary))[array.indices.to_numpy()].sum())
    offsets = _offsets(array)
    return int(offsets[-1] - offsets[0])


def _offsets(texts: pa.StringArray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Where each text begins and the last one ends, in bytes; Arrow keeps them so."""
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _actions(array: pa.DictionaryArray) -> np.ndarray[tuple[int], np.dtype[np.int8]] | None:
    try:
        codes = np.array([action_of(text) for text in array.dictionary.to_pylist()], np.int8)
    except Invalid:
        return None
    indices: Ints = array.indices.to_numpy()
    return codes[indices]


def _keys(array: pa.Array, *, decided: bool) -> Keys | None:
    if pa.types.is_int64(array.type):
        return Keys(array.to_numpy())
    entries: list[str] = array.dictionary.to_pylist()
    if any(not entry or len(entry) > LONGEST_NAME for entry in entries):
        return None
    if decided and any(map(is_integer, entries)):
        return None
    return Keys(array.indices.to_numpy().astype(np.int64), tuple(entries))


def read_carefully(
    block: bytes,
    line: int,
    layout: Layout,
    forms: Forms,
    delimiter: str,
    source: int,
    *,
    is_last: bool,
) -> tuple[Columns, Forms, int]:
    """Record by record, with a reason for each that is no change. Returns also the bytes of whole records."""
    lines = lines_of(block)
    texts = [part.decode("utf-8", "surrogateescape") for part in lines]
    ends = [0, *accumulate(map(len, lines))]
    rows = Rows(source)
    start = 0
    while start < len(texts):
        reader = csv.reader(islice(texts, start, None), delimiter=delimiter, strict=True)
        first = start
        try:
            for record in reader:
                end = first + reader.line_num
                if ends[end] - ends[start] > LONGEST_RECORD:
                    raise csv.Error(_TOO_LONG)  # noqa: TRY301 — treated as what the reader itself refuses
                forms = _row(rows, record, line + start, layout, forms)
                start = end
        except csv.Error as error:
            never_closed = _NOT_CLOSED.search(str(error)) is not None
            if never_closed and not is_last and ends[-1] - ends[start] <= LONGEST_RECORD:
                break
            rows.reject(line + start, _NEVER_CLOSED if never_closed else str(error))
            start += 1
    return rows.columns(), forms, ends[start]


def lines_of(block: bytes) -> list[bytes]:
    """Physical lines, their ends included; only LF ends a line."""
    lines = [part + b"\n" for part in block.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _row(rows: Rows, record: Sequence[str], line: int, layout: Layout, forms: Forms) -> Forms:
    """One record's change or reject; returns the forms, which it may have decided."""
    if not record:
        return forms
    try:
        _check_width(record, layout.width)
        forms = Forms(_decide(layout.user, forms.user, record), _decide(layout.group, forms.group, record))
        action = action_of(_text(record, layout.op, "op"))
        user = _key(layout.user, forms.user, record, ids_only=layout.ids_only)
        group = _key(layout.group, forms.group, record, ids_only=layout.ids_only)
    except Invalid as invalid:
        rows.reject(line, str(invalid))
    else:
        rows.add(line, action, user, group)
    return forms


def _check_width(record: Sequence[str], width: int) -> None:
    if len(record) != width:
        how = "few" if len(record) < width else "many"
        raise Invalid(f"too {how} fields: {len(record)}, the header has {width}")


def _decide(column: Column, form: Form, record: Sequence[str]) -> Form:
    place, given = column.places[0]
    if form or given or not record[place] or (not record[place].isascii() and _is_broken(record[place])):
        return form
    return Form.ID if is_integer(record[place]) else Form.NAME


def _key(column: Column, form: Form, record: Sequence[str], *, ids_only: bool) -> Key:
    filled = [(place, given) for place, given in column.places if record[place]]
    if len(filled) > 1:
        raise Invalid(f"both an id and a name for the {column.label}; fill one of them")
    place, given = filled[0] if filled else column.places[0]
    if ids_only and given is Form.NAME and record[place]:
        raise Invalid(f"{column.label} {shown(record[place])} is a name; this target takes integer ids only")
    return key_of(_text(record, place, column.label), given or form, column.label, decided=given is Form.OPEN)


def _text(record: Sequence[str], place: int, label: str) -> str:
    text = record[place]
    if _is_broken(text):
        raise Invalid(f"{label} is not UTF-8: {shown(text)}")
    return text


def _is_broken(text: str) -> bool:
    """Whether the bytes were no UTF-8; those decode to lone surrogates."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)
