"""Mapping files, which translate an employee number into the target's user, or a department into groups."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from batcher.core.errors import InputError
from batcher.files import check_file
from batcher.small_files import decoded
from batcher.source.cells import plain
from batcher.source.rules import Invalid, is_integer, name_of

_COLUMNS = 2


class Table(dict[str, tuple[str, ...]]):
    """A mapping, with the name of its first column."""

    header = ""
    path = Path()

    def check_header(self, text: str) -> None:
        """Check that a value which the mapping lacks is not the one that was read as its header.

        Raises:
            InputError: When it is: then the file has no header, and its first line is a record.

        """
        if text and text == self.header:
            raise _no_header(self.path, text)


def read_mapping(path: Path, *, is_single: bool, takes_open_end: bool = True) -> Table:
    """Read a CSV with a header and two columns: the value in the feed, and its name in the target.

    A value may occur on several lines, unless the mapping `is_single`; with an empty second field it is mapped to
    nothing.

    Raises:
        InputError: When the file cannot be read, has no header, or a line is not of that form.

    """
    table: dict[str, list[str]] = {}
    header, *records = _records(path, takes_open_end=takes_open_end)
    if any(is_integer(field) or "@" in field for field in header.fields):
        raise _no_header(path, ",".join(header.fields))
    for number, fields in records:
        known, meaning = fields
        if fields == header.fields:
            raise InputError(f"{path}, line {number}: the header is repeated: a second export within the file?")
        targets = table.setdefault(known, [])
        if meaning and meaning not in targets:
            targets.append(meaning)
        if is_single and len(targets) > 1:
            raise InputError(f"{path}, line {number}: {known!r} is mapped to two users: {targets}")
    made = Table({known: tuple(targets) for known, targets in table.items()})
    made.path, made.header = path, header.fields[0] if header.fields else ""
    made.check_header(next((known for known in made if known == made.header), ""))
    return made


class _Record(NamedTuple):
    line: int
    fields: list[str]


def _records(path: Path, *, takes_open_end: bool) -> Iterator[_Record]:
    """The header, and every non-empty record; each record except the header has two columns."""
    check_file(path)
    try:
        text = decoded(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a CSV in UTF-8, nor in UTF-16 with a byte order mark; save it as one") from None
    lines = text.splitlines(keepends=True)
    if len(lines) > 1 and lines[-1].strip() and not takes_open_end and not lines[-1].endswith(("\n", "\r")):
        raise InputError(
            f"{path}, line {len(lines)}: the last line has no line break although the others have one: it may be cut"
            ' off; end it with a line break (or guard.open_end = "allow")'
        )
    records = csv.reader(lines, delimiter=_delimiter(lines[0] if lines else ""), strict=True)
    try:
        yield _Record(1, [field.strip() for field in next(records, [])])
        for record in filter(lambda fields: any(map(str.strip, fields)), records):
            yield _checked(path, records.line_num, record)
    except csv.Error as error:
        raise InputError(f"{path}, line {records.line_num}: not a CSV: {error}") from None


def _checked(path: Path, line: int, record: Sequence[str]) -> _Record:
    if len(record) != _COLUMNS:
        raise InputError(
            f"{path}, line {line}: {len(record)} fields; a mapping has two columns: the value in the feed, and its"
            " name in the target"
        )
    try:
        fields = [name_of(plain(field.strip(), "the cell"), "the cell") for field in record]
    except Invalid as invalid:
        raise InputError(f"{path}, line {line}: {invalid}") from None
    if not fields[0]:
        raise InputError(f"{path}, line {line}: the first column is empty; it must hold the value in the feed")
    return _Record(line, fields)


def _no_header(path: Path, first: str) -> InputError:
    return InputError(
        f"{path} has no header: its first line, {first!r}, is a record; put a header before it, such as feed,target"
    )


def _delimiter(header: str) -> str:
    return next((mark for mark in ",;\t" if mark in header), ",")
