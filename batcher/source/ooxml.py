"""Cells of an Office Open XML sheet (.xlsx, .xlsm) that hold something other than the reading library reports.

It reports errors and formulas that were never computed as empty, and does not say how a number is shown.

Parts, relationships and cells are those of ECMA-376, part 1 (§18.3.1.4 for the cell `c`) and part 2 (§9.3).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET
from xml.parsers import expat

from batcher.source.cells import MOST_EXACT, Odd, marked
from batcher.source.number_formats import BUILT_IN, is_telling, shown

Row = tuple[int, dict[int, str]]
"""A row's number, from 0, and its odd cells by column, from 0."""

_PIECE = 1 << 20
_WORTH_A_LOOK = re.compile(rb"""<(?:[\w.-]+:)?f[\s/>]|\bt\s*=\s*["']e["']""")
_STYLE = re.compile(rb"""\bs\s*=\s*["']([0-9]+)["']""")
_OVERLAP = 256
_ODDLY_WRITTEN = re.compile(rb"<!\[CDATA\[|<!--|<(?:[\w.-]+:)?v>[^<]*&#")
_NO_TEXT = re.compile(
    rb"""\bt\s*=\s*["']s["'][^>]*(?<!/)>\s*(?:<(?:[\w.-]+:)?f\b[^>]*?(?:/>|>[^<]*<[^>]*>)\s*)?"""
    rb"""<(?:[\w.-]+:)?v(?:\s[^>]*)?(?:/>|>(?=[^<]*<)(?![0-9]+<))"""
    rb"""|\bt\s*=\s*["']inlineStr["'][^>]*(?<!/)>\s*<(?=[^<>]*>)(?!/|(?:[\w.-]+:)?is[\s/>])"""
)
"""A cell that refers to a text but lacks it where the library looks, which then uses another text, or none."""
_FAR = re.compile(rb"""\br\s*=\s*["']([A-Z]{2,3})([0-9]+)["']""")
"""Cells beyond column Z."""
_ROW = re.compile(rb"""<(?:[\w.-]+:)?row\s[^>]*?\br\s*=\s*["']([0-9]{1,9})["']""")
_MOST_CELLS = 100_000_000
"""For more cells, the library would need over three gigabytes."""
_BASE = 26


def odd_cells(path: Path, sheet: str) -> Iterator[Row]:
    """The rows with such cells, in order.

    Raises:
        zipfile.BadZipFile, KeyError, ET.ParseError, expat.ExpatError: When the file is damaged.

    """
    with zipfile.ZipFile(path) as package:
        styles = _telling_styles(package)
        with package.open(_part_of(package, sheet)) as content:
            yield from _rows(content, styles)


def check_sheet(path: Path, sheet: str) -> bool:
    """Check that the library can read a sheet: it holds all cells at once, and misses unusually written ones.

    Returns whether there may be odd cells, so that every cell has to be examined.

    Raises:
        ValueError: When it cannot.
        zipfile.BadZipFile, KeyError, ET.ParseError: When the file is damaged.

    """
    height, width, farthest, is_worth_a_look = 1, _BASE, "", False
    with zipfile.ZipFile(path) as package, package.open(_part_of(package, sheet)) as content:
        before, styles = b"", _telling_styles(package)
        while piece := content.read(_PIECE):
            if not before and b"\0" in piece[:4]:
                raise ValueError("the sheet is not in UTF-8")
            piece = before + piece
            if _NO_TEXT.search(piece):
                raise ValueError("a cell refers to a text that does not exist")
            if _ODDLY_WRITTEN.search(piece):
                raise ValueError("its cells hold XML comments, CDATA or character references")
            is_worth_a_look = is_worth_a_look or _is_worth_a_look(piece, styles)
            for column, row in _FAR.findall(piece):
                place = _column(column.decode()) + 1
                if place > width:
                    width, farthest = place, (column + row).decode()
            for row in _ROW.findall(piece):
                height = max(height, int(row))
            before = piece[-_OVERLAP:]
    if height * width > _MOST_CELLS:
        raise ValueError(f"it extends to row {height:,} and to the cell {farthest}; remove cells far from all others")
    return is_worth_a_look


def _telling_styles(package: zipfile.ZipFile) -> dict[int, str]:
    """The styles of cells whose numbers may be shown as something else, with their format."""
    parts = [target for kind, _, target in _relations(package, _workbook_of(package)) if kind.endswith("/styles")]
    codes, styles = dict(BUILT_IN), {}
    for element in ET.fromstring(package.read(parts[0])) if parts else ():  # noqa: S314 — see `_relations`
        if _local(element.tag) == "numFmts":
            codes |= {int(known.get("numFmtId", "0")): known.get("formatCode", "") for known in element}
        elif _local(element.tag) == "cellXfs":
            styles = {place: codes.get(int(known.get("numFmtId", "0")), "") for place, known in enumerate(element)}
    return {place: code for place, code in styles.items() if is_telling(code)}


def _workbook_of(package: zipfile.ZipFile) -> str:
    (workbook,) = (target for kind, _, target in _relations(package, "") if kind.endswith("/officeDocument"))
    return workbook


def _part_of(package: zipfile.ZipFile, sheet: str) -> str:
    """The part that holds the sheet of this name."""
    workbook = _workbook_of(package)
    places = {name: target for _, name, target in _relations(package, workbook)}
    for element in ET.fromstring(package.read(workbook)).iter():  # noqa: S314 — see `_relations`
        if _local(element.tag) == "sheet" and element.get("name") == sheet:
            ids = [value for name, value in element.items() if _local(name) == "id" and "}" in name]
            return places[ids[0]]
    raise KeyError(f"there is no sheet {sheet!r}")


def _relations(package: zipfile.ZipFile, part: str) -> Iterator[tuple[str, str, str]]:
    """Type, id and target of a part's relationships; the package itself is the empty part.

    Since 2.4.1, Expat limits entity expansion, and it fetches nothing (docs.python.org, XML security).
    """
    folder, name = posixpath.split(part)
    for element in ET.fromstring(package.read(posixpath.join(folder, "_rels", f"{name}.rels"))):  # noqa: S314
        target = posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/")
        yield element.get("Type", ""), element.get("Id", ""), target


def _is_worth_a_look(piece: bytes, styles: Mapping[int, str]) -> bool:
    """Whether there may be a formula, an error, or a number that is shown in one of these styles."""
    if _WORTH_A_LOOK.search(piece):
        return True
    return bool(styles) and not styles.keys().isdisjoint(map(int, _STYLE.findall(piece)))


@dataclass(slots=True)
class _Cell:
    column: int = -1
    kind: str = ""
    format: str = ""
    """The number format, if it may show something other than the digits."""
    has_formula: bool = False
    has_value: bool = False
    text: list[str] = field(default_factory=list)

    def odd(self) -> str:
        """The text of the cell, if it is odd."""
        text = "".join(self.text).strip()
        if self.kind == "e":
            return marked(Odd.ERROR, detail=text or "of a spreadsheet")
        # The value of a formula may be an empty text; then its type is text.
        is_computed = self.has_value and (text != "" or self.kind == "str")
        if self.has_formula and not is_computed:
            return marked(Odd.FORMULA)
        return _as_shown(text, self.format) if self.format and self.kind in ("", "n") else ""


def _as_shown(text: str, code: str) -> str:
    """The number as people see it; empty if it is shown unchanged, or could not be a name."""
    try:
        number = float(text)
    except ValueError:
        return ""
    if not number.is_integer() or abs(number) >= MOST_EXACT:
        return ""
    told = shown(code, int(number))
    if told is None:
        return marked(Odd.SHOWN, str(int(number)))
    return "" if told == str(int(number)) else marked(Odd.PADDED, told, str(int(number)))


class _Sheet:
    """Collects rows from the events of the parser."""

    def __init__(self, styles: Mapping[int, str]) -> None:
        self._styles = styles
        self.rows: list[Row] = []
        self._row = -1
        self._odd: dict[int, str] = {}
        self._cell = _Cell()
        self._is_value = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match _local(name):
            case "row":
                given = attributes.get("r")
                self._row = int(given) - 1 if given else self._row + 1
                self._cell = _Cell()
            case "c":
                column = _column(attributes["r"]) if "r" in attributes else self._cell.column + 1
                style = int(attributes.get("s") or 0)
                self._cell = _Cell(column, attributes.get("t", ""), self._styles.get(style, ""))
            case "f":
                self._cell.has_formula = True
            case "v":
                self._cell.has_value = self._is_value = True
            case _:
                pass

    def characters(self, data: str) -> None:
        if self._is_value:
            self._cell.text.append(data)

    def end(self, name: str) -> None:
        match _local(name):
            case "v":
                self._is_value = False
            case "c":
                if odd := self._cell.odd():
                    self._odd[self._cell.column] = odd
            case "row":
                if self._odd:
                    self.rows.append((self._row, self._odd))
                    self._odd = {}
            case _:
                pass


def _rows(content: IO[bytes], styles: Mapping[int, str]) -> Iterator[Row]:
    sheet = _Sheet(styles)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = sheet.start
    parser.CharacterDataHandler = sheet.characters
    parser.EndElementHandler = sheet.end
    while piece := content.read(_PIECE):
        parser.Parse(piece, False)
        yield from sheet.rows
        sheet.rows.clear()
    parser.Parse(b"", True)
    yield from sheet.rows


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _column(reference: str) -> int:
    """`AB12` → 27."""
    column = 0
    for letter in reference.rstrip("0123456789").upper():
        column = column * _BASE + ord(letter) - ord("A") + 1
    return column - 1


def letters(column: int) -> str:
    """27 → `AB`."""
    text = ""
    while column >= 0:
        column, letter = divmod(column, _BASE)
        text = chr(ord("A") + letter) + text
        column -= 1
    return text
