"""Spreadsheets as CSV: which sheet is read, and what its cells say."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import ExpatError

from batcher.core.errors import ConfigurationError, InputError
from batcher.core.http import one_line
from batcher.source.cells import MARK, MOST_EXACT, Odd, marked
from batcher.source.ooxml import Row, check_sheet, letters, odd_cells

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook, SheetMetadata

SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})
_OOXML = frozenset({".xlsx", ".xlsm"})
"""Formats in which errors and formulas are detected; in the others an empty cell may be anything."""
_KNOWN_ERRORS = frozenset(
    {"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#DATA!", "#GETTING_DATA"}
)
"""Error values that the library knows."""

_Range = tuple[tuple[int, int], tuple[int, int]]
_OLD = b"\xd0\xcf\x11\xe0"
"""Compound files, the format before 2007, which also wrap password-protected files (MS-OFFCRYPTO)."""
IsHeader = Callable[[Sequence[str]], bool]
"""Tells whether a row has the required columns."""


def is_spreadsheet(path: Path) -> bool:
    """Whether a file is a spreadsheet, by its extension."""
    return path.suffix.lower() in SPREADSHEETS


def _is_ooxml(path: Path) -> bool:
    return path.suffix.lower() in _OOXML


def chosen_sheet(path: Path, wanted: str, skip: int, is_header: IsHeader) -> str:
    """The sheet that is read: the one in `wanted`, or the first visible one.

    Raises:
        InputError: When there is none, or more than one visible sheet could be meant.

    """
    with _opened(path) as workbook:
        _check_sheets(path, workbook, wanted)
        return _chosen(path, workbook, wanted, skip, is_header)


class Sheet:
    """One sheet of a spreadsheet as CSV: cells as a person would type them, empty rows as empty lines.

    A number without a fraction is an integer, a date is in ISO 8601; what is not plain text is marked (`cells`). The
    first `skip` rows become empty lines, so that line numbers are row numbers of the sheet.
    """

    def __init__(self, path: Path, wanted: str, skip: int, is_header: IsHeader) -> None:
        self.name = ""
        """The name of the sheet, once anything was read."""
        self._lines = self._read(path, wanted, skip, is_header)

    def read(self, size: int) -> bytes:
        """About `size` bytes; empty at the end."""
        parts: list[bytes] = []
        held = 0
        for line in self._lines:
            parts.append(line)
            held += len(line)
            if held >= size:
                break
        return b"".join(parts)

    def close(self) -> None:
        """Free the workbook."""
        self._lines.close()  # type: ignore[attr-defined]  # a generator

    def _read(self, path: Path, wanted: str, skip: int, is_header: IsHeader) -> Iterator[bytes]:
        with _opened(path) as workbook:
            have_odd = _check_sheets(path, workbook, wanted)
            self.name = _chosen(path, workbook, wanted, skip, is_header)
            odd = odd_cells(path, self.name) if self.name in have_odd else iter(())
            yield from _lines(odd, _loaded(path, workbook, self.name), skip, is_told=_is_ooxml(path))


@contextmanager
def _opened(path: Path) -> Iterator[CalamineWorkbook]:
    try:
        import python_calamine  # noqa: PLC0415 — an extra
    except ImportError:
        raise ConfigurationError(f"{path}: spreadsheets need an extra: pip install 'batcher[excel]'") from None
    _refuse_others(path)
    try:
        with python_calamine.CalamineWorkbook.from_path(path) as workbook:
            yield workbook
    except (python_calamine.CalamineError, zipfile.BadZipFile, KeyError, ValueError, ParseError, ExpatError) as error:
        told = one_line(str(error))
        raise InputError(
            f"{path} cannot be read as a spreadsheet: {told}; save it again in a spreadsheet program"
        ) from None


def _refuse_others(path: Path) -> None:
    """Check that the content of a file fits its extension.

    Raises:
        InputError: When it does not.

    """
    with path.open("rb") as file:
        head = file.read(512)
    is_old, is_package = head.startswith(_OLD), head.startswith(b"PK")
    if is_old and path.suffix.lower() != ".xls":
        raise InputError(
            f"{path} has a password, or is an .xls with another extension; save it without one, as .xlsx or CSV"
        )
    if not is_old and not is_package and head:
        what = "a web page" if b"<" in head[:8] and b"<ht" in head.lower() else "not a spreadsheet"
        if b"urn:schemas-microsoft-com:office:spreadsheet" in head:
            what = "a spreadsheet in the XML format of 2003"
        elif b"\0" not in head and what == "not a spreadsheet":
            what = "a text file (if it is CSV, rename it to .csv)"
        raise InputError(f"{path} is {what}, despite its extension; open it in a spreadsheet program, save it as .xlsx")


def _check_sheets(path: Path, workbook: CalamineWorkbook, wanted: str) -> set[str]:
    """Check the candidate sheets before the library loads any; returns those that may have odd cells."""
    known = [sheet for sheet in workbook.sheets_metadata if _is_seen(sheet) or sheet.name == wanted]
    return {sheet.name for sheet in known if check_sheet(path, sheet.name)} if _is_ooxml(path) else set()


def _chosen(path: Path, workbook: CalamineWorkbook, wanted: str, skip: int, is_header: IsHeader) -> str:
    names = workbook.sheet_names
    if wanted:
        if wanted not in names:
            raise InputError(f"{path} has no sheet {wanted!r}; it has {', '.join(names)}")
        return wanted
    seen = [known.name for known in workbook.sheets_metadata if _is_seen(known)]
    if not seen:
        raise InputError(f"{path} has no visible sheet; choose one with --sheet: {', '.join(names)}")
    fitting = [name for name in seen if _has_header(path, workbook, name, skip, is_header)] if len(seen) > 1 else []
    if len(fitting) > 1:
        raise InputError(
            f"{path} has {len(fitting)} sheets with these columns: {', '.join(fitting)}; choose one with --sheet"
        )
    if fitting and fitting[0] != seen[0]:
        raise InputError(
            f"{path}: the first sheet, {seen[0]!r}, lacks the required columns; if {fitting[0]!r} is meant:"
            f" --sheet {fitting[0]!r}"
        )
    return seen[0]


def _is_seen(known: SheetMetadata) -> bool:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum  # noqa: PLC0415 — an extra

    return known.visible == SheetVisibleEnum.Visible and known.typ == SheetTypeEnum.WorkSheet


def _loaded(path: Path, workbook: CalamineWorkbook, name: str) -> CalamineSheet:
    """A sheet. If the library does not know an error value, the message names its cell."""
    import python_calamine  # noqa: PLC0415 — an extra

    try:
        return workbook.get_sheet_by_name(name)
    except python_calamine.CalamineError:
        for row, cells in odd_cells(path, name) if _is_ooxml(path) else ():
            for column, text in cells.items():
                error = text.removeprefix(f"{MARK}{Odd.ERROR.code}")
                if error not in (*_KNOWN_ERRORS, text):
                    place = f"{letters(column)}{row + 1}"
                    raise ValueError(f"{place} holds the unknown error {error}; clear it") from None
        raise


def _has_header(path: Path, workbook: CalamineWorkbook, name: str, skip: int, is_header: IsHeader) -> bool:
    page = _loaded(path, workbook, name)
    for row, cells in enumerate(page.iter_rows(), 1):
        if row > skip and any(cell != "" for cell in cells):
            return is_header([str(cell) for cell in cells])
    return False


def _lines(odd_rows: Iterator[Row], page: CalamineSheet, skip: int, *, is_told: bool) -> Iterator[bytes]:
    """The rows; `is_told` says that a cell that is empty and not odd is really empty."""
    odd = _Odd(odd_rows, page)
    row = -1
    for row, cells in enumerate(page.iter_rows()):  # all rows, but columns only from the first non-empty one
        texts = odd.put_into(row, [_text(cell) for cell in cells])
        if row < skip or not any(texts):
            yield b"\n"
        else:
            yield _line(texts if is_told else [text or marked(Odd.UNTOLD) for text in texts])
    while (odd_row := odd.next_row()) is not None:  # the library's rows end with the last value
        yield from (b"\n" for _ in range(odd_row - row - 1))
        yield _line(odd.put_into(odd_row, [""] * page.width))
        row = odd_row


class _Odd:
    """Puts marks for odd and merged cells into the texts of rows; rows must be requested in order."""

    def __init__(self, rows: Iterator[Row], page: CalamineSheet) -> None:
        self._rows = rows
        self._left = page.start[1] if page.start else 0
        self._next = next(rows, None)
        self._merged = sorted(page.merged_cell_ranges or [], reverse=True)
        self._around: list[_Range] = []
        """The merged ranges that the current row is in."""
        self._filled: set[tuple[int, int]] = set()
        """The first cells of merged ranges that are not empty."""

    def next_row(self) -> int | None:
        """The number of the next row with such a cell."""
        return None if self._next is None else self._next[0]

    def put_into(self, row: int, texts: list[str]) -> list[str]:
        while self._next is not None and self._next[0] <= row:
            number, cells = self._next
            if number < row:
                raise ValueError("its rows are out of order")
            for column, text in cells.items():
                if 0 <= column - self._left < len(texts):  # outside the other columns there is no header
                    texts[column - self._left] = text
            self._next = next(self._rows, None)
        while self._merged and self._merged[-1][0][0] <= row:
            self._around.append(self._merged.pop())
        self._around = [merged for merged in self._around if merged[1][0] >= row]
        for first, last in self._around:
            self._cover(row, first, last, texts)
        return texts

    def _cover(self, row: int, first: tuple[int, int], last: tuple[int, int], texts: list[str]) -> None:
        for column in range(first[1], last[1] + 1):
            place = column - self._left
            if not 0 <= place < len(texts):
                continue
            if (row, column) == first:
                if texts[place]:
                    self._filled.add(first)
            elif first in self._filled or texts[place]:  # also values hidden below the visible one
                texts[place] = marked(Odd.MERGED)


def _line(texts: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(texts)
    return line.getvalue().encode("utf-8", "surrogatepass")


def _text(cell: Any) -> str:  # noqa: ANN401 — any type that the library returns
    match cell:
        case bool():
            return marked(Odd.TRUTH, str(cell).lower())
        case int() | float() if not math.isfinite(cell):
            return marked(Odd.NO_NUMBER)
        case int() | float() if abs(cell) >= MOST_EXACT:
            return marked(Odd.DIGITS)
        case int() | float():
            return str(int(cell)) if cell == int(cell) else marked(Odd.FRACTION, repr(cell))
        case datetime() if cell.time() != time():
            return marked(Odd.DATE, cell.isoformat(), cell.isoformat(" "))
        case date():
            return marked(Odd.DATE, (cell.date() if isinstance(cell, datetime) else cell).isoformat())
        case time():
            return marked(Odd.TIME, cell.isoformat())
        case timedelta():
            return marked(Odd.DURATION, str(cell))
        case _:
            return _one_line(str(cell))


def _one_line(text: str) -> str:
    """A text on one line, so that a cell with line breaks stays on the line with its row's number."""
    if MARK in text:
        return marked(Odd.CONTROL)
    if "\n" in text or "\r" in text:
        return marked(Odd.BREAK, " ".join(text.split()))
    return text
