"""What is not UTF-8 text becomes it on the way in: other encodings, and spreadsheets as CSV."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path

from batcher.core.errors import ConfigurationError, InputError
from batcher.source.lines import Stream

SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_encoding(name: str) -> None:
    """See that there is such an encoding of texts.

    Raises:
        ConfigurationError: When there is none.

    """
    try:
        known = not name or isinstance("".encode(name), bytes)
    except (LookupError, UnicodeError):
        known = False
    if not known:
        raise ConfigurationError(f"input.encoding {name!r} is unknown; for example: windows-1252, utf-16")


def is_utf16(start: bytes) -> bool:
    """By its byte order mark."""
    return start.startswith(_UTF16)


class Transcoded:
    """A stream in another encoding, as UTF-8."""

    def __init__(self, stream: Stream, encoding: str, name: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int) -> bytes:
        """About so many bytes; empty at the end.

        Raises:
            InputError: When the bytes are not in this encoding.

        """
        while True:
            data = self._stream.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeError as error:
                why = str(error)  # such as that UTF-16 has no mark at its beginning
                if isinstance(error, UnicodeDecodeError):
                    why = f"{error.object[error.start : error.end]!r} means nothing there"
                raise InputError(f"{self._name} is not in {self._encoding}: {why}") from None
            if text or not data:
                return text.encode()

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()


class Sheet:
    """One sheet of a spreadsheet as CSV: cells as a person would type them, empty rows as empty lines.

    A number without a fraction is an integer, a day is ISO 8601. The first `skip` rows come as empty lines, so that
    lines are still the sheet's rows.
    """

    def __init__(self, path: Path, sheet: str, skip: int) -> None:
        self._lines = _lines(path, sheet, skip)

    def read(self, size: int) -> bytes:
        """About so many bytes; empty at the end."""
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


def _lines(path: Path, sheet: str, skip: int) -> Iterator[bytes]:
    try:
        import python_calamine  # noqa: PLC0415 — an extra
    except ImportError:
        raise ConfigurationError(f"{path}: spreadsheets need an extra: pip install 'batcher[excel]'") from None
    try:
        with python_calamine.CalamineWorkbook.from_path(path) as workbook:
            if sheet and sheet not in workbook.sheet_names:
                raise InputError(f"{path} has no sheet {sheet!r}; it has {', '.join(workbook.sheet_names)}")
            page = workbook.get_sheet_by_name(sheet or workbook.sheet_names[0])
            row = 0
            for empty in range(page.start[0] if page.start else 0):  # rows above the first that holds anything
                row = empty + 1
                yield b"\n"
            for cells in page.iter_rows():
                row += 1
                texts = [_text(cell) for cell in cells]
                yield _line(texts) if any(texts) and row > skip else b"\n"
    except python_calamine.CalamineError as error:
        raise InputError(f"{path} cannot be read as a spreadsheet: {error}") from None


def _line(texts: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(texts)
    return line.getvalue().encode()


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime) and cell.time() == time():
        cell = cell.date()
    return cell.isoformat() if isinstance(cell, date) else str(cell)
