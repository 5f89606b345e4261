"""Workbooks as other programs write them, created by openpyxl, or with the standard library alone."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import openpyxl

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


@dataclass(frozen=True)
class Broken:
    """A cell without a value: an error, or a formula that was never computed."""

    error: str = ""


def by_openpyxl(path: Path, rows: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for number, row in enumerate(rows, 1):
        for place, value in enumerate(row, 1):
            cell = book.active.cell(number, place)
            if isinstance(value, Broken):
                cell.value = value.error or "=A1"
            elif isinstance(value, str):
                cell.value, cell.data_type = value, "s"
            else:
                cell.value = value
    book.save(path)
    return path


def by_hand(path: Path, rows: list[list[object]], *, prefix: str = "", references: bool = True) -> Path:
    """A workbook without styles or shared strings; optionally with a namespace prefix and without references."""
    x = f"{prefix}:" if prefix else ""
    own = f":{prefix}" if prefix else ""
    lines = []
    for number, row in enumerate(rows, 1):
        cells = "".join(
            _cell(x, value, f'r="{chr(65 + place)}{number}"' if references else "") for place, value in enumerate(row)
        )
        lines.append(f"<{x}row>{cells}</{x}row>")
    sheet = f'<{x}worksheet xmlns{own}="{NAMESPACE}"><{x}sheetData>{"".join(lines)}</{x}sheetData></{x}worksheet>'
    package = {
        "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": _relations(("worksheet", "worksheets/sheet1.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{NAMESPACE}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": sheet,
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in package.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return path


def _relations(*related: tuple[str, str]) -> str:
    inner = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(related, 1)
    )
    return f'<Relationships xmlns="{PACKAGE}">{inner}</Relationships>'


def _cell(x: str, value: object, reference: str) -> str:
    match value:
        case None:
            return f"<{x}c {reference}/>"
        case Broken(error="") if reference:
            return f"<{x}c {reference}><{x}f>A1</{x}f></{x}c>"
        case Broken(error=""):
            return f"<{x}c><{x}f>A1</{x}f><{x}v/></{x}c>"
        case Broken(error=error):
            return f"<{x}c {reference} t='e'><{x}v>{error}</{x}v></{x}c>"
        case bool():
            return f'<{x}c {reference} t="b"><{x}v>{int(value)}</{x}v></{x}c>'
        case int() | float():
            return f"<{x}c {reference}><{x}v>{value!r}</{x}v></{x}c>"
        case _:
            text = escape(str(value))
            return f'<{x}c {reference} t="inlineStr"><{x}is><{x}t xml:space="preserve">{text}</{x}t></{x}is></{x}c>'
