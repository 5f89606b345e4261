"""Cells of an Office Open XML sheet (.xlsx, .xlsm) that hold something which is no value.

They are errors, and formulas that nobody has computed. The library that reads the values gives both as empty.

Parts, relationships and cells are those of ECMA-376, part 1 (§18.3.1.4 for the cell `c`) and part 2 (§9.3).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET
from xml.parsers import expat

from batcher.source.cells import Odd, marked

Row = tuple[int, dict[int, str]]
"""Its number, from 0, and its odd cells by column, from 0."""

_PIECE = 1 << 20
_WORTH_A_LOOK = re.compile(rb"""<(?:[\w.-]+:)?f[\s/>]|\bt\s*=\s*["']e["']""")
_OVERLAP = 64
_ODDLY_WRITTEN = re.compile(rb"<!\[CDATA\[|<!--|<(?:[\w.-]+:)?v>[^<]*&#")
_FAR = re.compile(rb"""\br\s*=\s*["']([A-Z]{2,3})([0-9]+)["']""")
"""Cells beyond column Z."""
_ROW = re.compile(rb"""<(?:[\w.-]+:)?row\s[^>]*?\br\s*=\s*["']([0-9]{1,9})["']""")
_MOST_CELLS = 100_000_000
"""What the library takes three gigabytes for."""
_BASE = 26


def odd_cells(path: Path, sheet: str) -> Iterator[Row]:
    """The rows with such cells, in their order.

    Raises:
        zipfile.BadZipFile, KeyError, ET.ParseError, expat.ExpatError: When the file is damaged.

    """
    with zipfile.ZipFile(path) as package:
        part = _part_of(package, sheet)
        with package.open(part) as content:
            if not _is_worth_a_look(content):
                return
        with package.open(part) as content:
            yield from _rows(content)


def check_sheet(path: Path, sheet: str) -> None:
    """See that the library can read a sheet: it holds all cells at once, and misses what is written oddly.

    Raises:
        ValueError: When it cannot.
        zipfile.BadZipFile, KeyError, ET.ParseError: When the file is damaged.

    """
    height, width, farthest = 1, _BASE, ""
    with zipfile.ZipFile(path) as package, package.open(_part_of(package, sheet)) as content:
        before = b""
        while piece := content.read(_PIECE):
            piece = before + piece
            if _ODDLY_WRITTEN.search(piece):
                raise ValueError("its cells hold comments, CDATA or references; save it anew in a spreadsheet program")
            for column, row in _FAR.findall(piece):
                place = _column(column.decode()) + 1
                if place > width:
                    width, farthest = place, (column + row).decode()
            for row in _ROW.findall(piece):
                height = max(height, int(row))
            before = piece[-_OVERLAP:]
    if height * width > _MOST_CELLS:
        raise ValueError(f"it goes to row {height:,}, and to the cell {farthest}, far from all others? Remove it")


def _part_of(package: zipfile.ZipFile, sheet: str) -> str:
    """Where the sheet of this name lies."""
    (workbook,) = (target for kind, _, target in _relations(package, "") if kind.endswith("/officeDocument"))
    places = {name: target for _, name, target in _relations(package, workbook)}
    for element in ET.fromstring(package.read(workbook)).iter():  # noqa: S314 — see `_relations`
        if _local(element.tag) == "sheet" and element.get("name") == sheet:
            ids = [value for name, value in element.items() if _local(name) == "id" and "}" in name]
            return places[ids[0]]
    raise KeyError(f"there is no sheet {sheet!r}")


def _relations(package: zipfile.ZipFile, part: str) -> Iterator[tuple[str, str, str]]:
    """Type, id and target of what a part is related to; the package itself is the empty part.

    Expat bounds what entities may grow to since 2.4.1, and fetches nothing (docs.python.org, XML security).
    """
    folder, name = posixpath.split(part)
    for element in ET.fromstring(package.read(posixpath.join(folder, "_rels", f"{name}.rels"))):  # noqa: S314
        target = posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/")
        yield element.get("Type", ""), element.get("Id", ""), target


def _is_worth_a_look(content: IO[bytes]) -> bool:
    """Whether there may be a formula or an error; what is not in an encoding like ASCII is looked at anyway."""
    before = content.read(2)
    if before in (b"\xfe\xff", b"\xff\xfe") or b"\0" in before:
        return True
    while piece := content.read(_PIECE):
        if _WORTH_A_LOOK.search(before[-_OVERLAP:] + piece):
            return True
        before = piece
    return False


@dataclass(slots=True)
class _Cell:
    column: int = -1
    kind: str = ""
    has_formula: bool = False
    has_value: bool = False
    text: list[str] = field(default_factory=list)

    def odd(self) -> str:
        """The text of the cell, if it is odd."""
        text = "".join(self.text).strip()
        if self.kind == "e":
            return marked(Odd.ERROR, detail=text or "of a spreadsheet")
        # A formula may well have an empty text for its value; then it says that it has a text.
        is_computed = self.has_value and (text != "" or self.kind == "str")
        return marked(Odd.FORMULA) if self.has_formula and not is_computed else ""


class _Sheet:
    """Events of the parser, as rows."""

    def __init__(self) -> None:
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
                self._cell = _Cell(column, attributes.get("t", ""))
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


def _rows(content: IO[bytes]) -> Iterator[Row]:
    sheet = _Sheet()
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
