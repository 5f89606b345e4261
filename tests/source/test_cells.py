"""Cells of tables, whatever a spreadsheet has made of them: nothing that cannot be read counts as nothing."""

from __future__ import annotations

import json
import zipfile
from datetime import date, datetime, time, timedelta

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inputs import pairs_of, rows_of
from workbooks import NAMESPACE, OFFICE, Broken, by_hand, by_openpyxl

from batcher.core.errors import InputError
from batcher.core.wholeness import Content
from batcher.source import ooxml
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.ooxml import letters
from batcher.source.opening import sheet_of
from batcher.source.refine import Condition, Refinement, Validity

SPLIT = Refinement(separator="|", is_feed=True)
ERRORS = ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"]
writers = pytest.mark.parametrize("write", [by_openpyxl, by_hand])


@writers
@pytest.mark.parametrize("broken", [Broken(), *map(Broken, ERRORS)])
@pytest.mark.parametrize("place", [0, 1])
def test_what_cannot_be_read_is_not_empty(tmp_path, write, broken, place):
    """With a separator an empty cell of groups means that somebody is in none; an error says nothing."""
    row = ["eve", "staff"]
    row[place] = broken
    path = write(tmp_path / "f.xlsx", [["user_name", "group_name"], ["bob", "staff"], row, ["amy", None]])
    rows = rows_of(path, refinement=SPLIT)
    assert rows[0] == (2, "add", "bob", "staff")
    assert [row[0] for row in rows] == [2, 3]
    assert ("formula without a computed value" if broken == Broken() else broken.error) in rows[1][1]


@writers
def test_a_formula_whose_value_is_an_empty_text_is_empty(tmp_path, write):
    """`=IF(A2="","",…)`, filled down beyond the last record."""
    path = tmp_path / "f.xlsx"
    write(path, [["user_name", "group_name"], ["bob", "staff"], [None, Broken()]])
    assert len(rows_of(path)) == 2
    with_text = by_hand(tmp_path / "g.xlsx", [["user_name", "group_name"], ["bob", "staff"], [None, "@"]])
    _replace(
        with_text,
        b'<c r="B3" t="inlineStr"><is><t xml:space="preserve">@</t></is></c>',
        b'<c r="B3" t="str"><f>A</f><v></v></c>',
    )
    assert pairs_of(with_text) == [("bob", "staff")]


def _replace(path, before, after):
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content.replace(before, after))


@writers
@pytest.mark.parametrize(
    ("number", "is_id"),
    [
        (999_999_999_999_999, True),
        (10**15, False),
        (-(10**15) + 1, True),
        (-(10**15), False),
        (865640023012945123, False),
        (5.0, True),
        (5.5, False),
        (1e300, False),
    ],
)
def test_numbers_that_a_spreadsheet_may_have_rounded(tmp_path, write, number, is_id):
    for head in ("user_id", "user_name"):
        path = write(tmp_path / f"{head}.xlsx", [[head, "group_name"], [number, "staff"]])
        ((_, what, *found),) = rows_of(path)
        assert (what == "add") is is_id
        assert found == ([number if head == "user_id" else str(int(number)), "staff"] if is_id else [])
        if not is_id and abs(number) >= 10**15:
            assert "a spreadsheet keeps 15; store it as text" in what


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (date(2026, 2, 1), "the date 2026-02-01"),
        (datetime(2026, 2, 1, 3, 4), "the date 2026-02-01 03:04:00"),  # noqa: DTZ001 — as spreadsheets keep them
        (time(3, 4), "the time 03:04:00"),
        (timedelta(hours=30), "the duration 1 day, 6:00:00"),
        (True, "the boolean true"),
        ("a\nb", "line break"),
        ("a\x0bb", "invisible"),
        ("#N/A", "error value #N/A"),
        ("8.65E+17", "shortened"),
    ],
)
@pytest.mark.parametrize("head", ["user_id", "user_name", "user"])
def test_what_is_no_name_and_no_id(tmp_path, value, told, head):
    if isinstance(value, str) and "\x0b" in value:
        path = by_hand(tmp_path / "f.xlsx", [[head, "group_name"], ["@", "staff"]])
        _replace(path, b">@<", b">a_x000B_b<")
    else:
        path = by_openpyxl(tmp_path / "f.xlsx", [[head, "group_name"], [value, "staff"]])
    ((line, reason),) = rows_of(path)
    assert line == 2
    assert told in reason or (head == "user_id" and isinstance(value, str))


def test_merged_cells_say_nothing_but_in_their_first(tmp_path):
    book = openpyxl.Workbook()
    for row in (["user_name", "group_name"], ["bob", "staff"], ["eve", None], ["amy", "other"], ["joe", None]):
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    path = tmp_path / "f.xlsx"
    book.save(path)
    rows = rows_of(path, refinement=SPLIT)
    assert [row for row in rows if row[1] == "add"] == [(2, "add", "bob", "staff"), (4, "add", "amy", "other")]
    ((line, reason),) = [row for row in rows if row[1] != "add"]
    assert line == 3
    assert "part of a merged cell" in reason


@pytest.mark.parametrize("top", [0, 1, 4])
@pytest.mark.parametrize("left", [0, 2])
def test_sheets_that_begin_elsewhere(tmp_path, top, left):
    """Whatever stands above and beside it: each cell is what it is, in the row that people see."""
    book = openpyxl.Workbook()
    table = [["user_name", "group_name"], ["bob", "staff"], ["eve", None], ["amy", Broken("#N/A")], ["joe", "x"]]
    for row, cells in enumerate(table, top + 1):
        for column, value in enumerate(cells, left + 1):
            book.active.cell(row, column).value = value.error if isinstance(value, Broken) else value
    book.active.merge_cells(start_row=top + 2, end_row=top + 3, start_column=left + 2, end_column=left + 2)
    path = tmp_path / "f.xlsx"
    book.save(path)
    rows = rows_of(path, refinement=SPLIT)
    assert [row for row in rows if row[1] == "add"] == [
        (top + 2, "add", "bob", "staff"),
        (top + 5, "add", "joe", "x"),
    ]
    told = {row[0]: row[1] for row in rows if row[1] != "add"}
    assert "merged" in told[top + 3]
    assert "#N/A" in told[top + 4]
    assert rows_of(path, refinement=SPLIT, skip_rows=top) == rows


def test_a_cell_far_from_all_others(tmp_path):
    """The library would ask for the memory of everything in between, and end the process."""
    book = openpyxl.Workbook()
    book.active.append(["user_name", "group_name"])
    book.active.append(["bob", "g"])
    book.active["ZZ100"] = "x"
    path = tmp_path / "f.xlsx"
    book.save(path)
    rows_of(path)
    book.active["XFD1048576"] = "x"
    book.save(path)
    with pytest.raises(InputError, match="to the cell XFD1048576"):
        rows_of(path)
    book.create_sheet("Other").append(["user_name", "group_name"])  # now each is looked at for its header
    book.save(path)
    how = Reading(Fields.of({}, is_feed=True))
    for look in (lambda: rows_of(path), lambda: sheet_of(Input("f", path), how)):
        with pytest.raises(InputError, match="to the cell XFD1048576"):
            look()


@pytest.mark.parametrize("written", [b"<![CDATA[a|b]]>", b"1<!-- -->2", b"&#49;2"])
def test_cells_that_are_written_oddly(tmp_path, written):
    """The library would read nothing, or a part."""
    path = by_hand(tmp_path / "f.xlsx", [["user_name", "group_name"], ["bob", 12]])
    _replace(path, b"<v>12</v>", b"<v>" + written + b"</v>")
    with pytest.raises(InputError, match="save it again"):
        rows_of(path, refinement=SPLIT)


def test_marks_are_no_odd_names(tmp_path):
    path = by_openpyxl(tmp_path / "f.xlsx", [["user_name", "group_name"], [Broken("#N/A"), "g"], [Broken(), "g"]])
    assert [len(row) for row in rows_of(path, takes_odd=True)] == [2, 2]


def test_lines_are_the_rows_of_the_sheet(tmp_path):
    """Also behind cells of several lines."""
    path = by_openpyxl(
        tmp_path / "f.xlsx", [["user_name", "group_name", "note"], ["bob", "a", "x\ny\nz"], ["eve", True, ""]]
    )
    assert [row[0] for row in rows_of(path)] == [2, 3]


def test_conditions_and_days_of_odd_cells(tmp_path):
    """A condition sees the value; what it cannot see it is not asked about. A day of a spreadsheet has one form."""
    rows = [
        ["user_name", "group_name", "active", "valid_to"],
        ["a", "g", True, date(2026, 12, 1)],
        ["b", "g", True, date(2026, 1, 1)],
        ["c", "g", False, None],
        ["d", "g", Broken("#N/A"), None],
        ["e", "g", True, Broken("#REF!")],
        ["f", "g", True, time(1, 2)],
        ["g", "g", True, 46000],
        ["h", "g", True, "01.12.2026"],
    ]
    path = by_openpyxl(tmp_path / "f.xlsx", rows)
    validity = Validity("valid_from", "valid_to", date(2026, 11, 22), "%d.%m.%Y")
    refinement = Refinement((Condition.parse("active=true"),), validity, is_feed=True)
    found = rows_of(path, refinement=refinement)
    assert [row[2] for row in found if row[1] == "add"] == ["a", "h"]
    assert [row[0] for row in found if row[1] != "add"] == [5, 6, 7, 8]


def test_the_sheet_that_people_see(tmp_path):
    book = openpyxl.Workbook()
    old, data = book.active, book.create_sheet("Data")
    old.title, old.sheet_state = "Old", "hidden"
    very = book.create_sheet("Very", 0)
    very.sheet_state = "veryHidden"
    book.create_chartsheet("Chart", 0)
    for sheet, name in ((old, "old"), (data, "new"), (very, "very")):
        sheet.append(["user_name", "group_name"])
        sheet.append([name, "staff"])
    path = tmp_path / "f.xlsx"
    book.save(path)
    assert pairs_of(path) == [("new", "staff")]
    assert pairs_of(path, sheet="Old") == [("old", "staff")]
    found = Content("f")
    rows_of(path, found=found)
    assert (found.sheet, found.rows) == ("Data", 1)
    other = book.create_sheet("Notes")
    other.append(["what", "why"])
    book.save(path)
    assert pairs_of(path) == [("new", "staff")]
    other.insert_rows(1)
    other["A1"], other["B1"] = "group_name", "user_name"
    book.save(path)
    with pytest.raises(InputError, match=r"2 sheets with these columns: Data, Notes; choose one with --sheet"):
        pairs_of(path)
    data.delete_rows(1, 2)
    book.save(path)
    with pytest.raises(InputError, match=r"the first sheet, 'Data', lacks the required columns.* --sheet 'Notes'"):
        pairs_of(path)
    book.create_sheet("Seen")
    book.save(path)
    _replace(path, b'state="visible"', b'state="hidden"')  # which the library refuses to write
    with pytest.raises(InputError, match="no visible sheet"):
        pairs_of(path)


CELLS = st.one_of(
    st.text("abÄ张é #/.-", min_size=1, max_size=4),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    st.sampled_from([Broken(), *map(Broken, ERRORS)]),
    st.sampled_from(["#N/A", "1E+12", "user_name", "a\nb", "x\u200by", " "]),
)
TABLES = st.lists(st.tuples(CELLS, CELLS), max_size=8)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    TABLES, st.sampled_from([("user_name", "group_name"), ("user", "group"), ("user_id", "group_name")]), st.booleans()
)
def test_no_change_holds_what_the_source_does_not_say(tmp_path, table, head, is_prefixed):
    """Of each kind of file: a change as the cells say it, or a rejected line, and nothing else."""
    rows = [list(head), *map(list, table)]
    committer = [
        by_openpyxl(tmp_path / "o.xlsx", rows),
        by_hand(tmp_path / "h.xlsx", rows, prefix="x" if is_prefixed else "", references=not is_prefixed),
    ]
    flat = [[_shown(cell) for cell in row] for row in rows]
    csv_file, lines = tmp_path / "f.csv", tmp_path / "f.jsonl"
    csv_file.write_text("".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in flat), "utf-8", newline="")
    lines.write_text("".join(json.dumps(_entry(head, row)) + "\n" for row in rows[1:]), "utf-8")
    for path in (*committer, csv_file, lines):
        told = set()
        try:
            found = rows_of(path, refinement=SPLIT)
        except InputError:  # a neutral column of both ids and names
            continue
        for line, *change in found:
            told.add(line)
            if change[0] != "add":
                continue
            said = table if path == committer[0] else [tuple(map(_written(path), row)) for row in table]
            assert change[1:] in [list(pair) for pair in _said(said)]
        if path in committer:
            damaged = {number for number, row in enumerate(table, 2) if any(isinstance(cell, Broken) for cell in row)}
            assert damaged <= told  # none of them was passed over


def _written(path):
    """What a cell becomes in files that know fewer kinds of values; by hand, only days are texts."""
    return (lambda cell: str(cell) if isinstance(cell, date) else cell) if path.suffix == ".xlsx" else _shown


def _said(table):
    """Every pair that a reader could take from the table."""
    for user, group in table:
        for one in _readings(user):
            for text in _readings(group):
                parts = text.split("|") if isinstance(text, str) else [text]
                yield from ((one, part.strip() if isinstance(part, str) else part) for part in parts)


def _readings(cell):
    if cell is None or isinstance(cell, Broken | bool | date):
        return []
    if isinstance(cell, str):
        return [cell, cell.strip(), *([int(cell)] if cell.lstrip("-").isdecimal() else [])]
    if abs(cell) >= 10**15 and isinstance(cell, float):
        return []
    return [cell, str(cell), *([int(cell), str(int(cell))] if cell == int(cell) else [])]


def _shown(cell):
    match cell:
        case None:
            return ""
        case Broken():
            return cell.error or ""
        case _:
            return str(cell)


def _entry(head, row):
    values = dict(zip(head, row, strict=True))
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | None)}


def _hand_made(path, cell, *, sheet="worksheets/sheet1.xml", encoding="UTF-8"):
    """A workbook with one cell, A2, below `user_name`, as its XML says; two texts are shared."""
    texts = f'<sst xmlns="{NAMESPACE}"><si><t>alpha</t></si><si><t>beta</t></si></sst>'
    by_hand(path, [["user_name", "group_name"], ["@", "staff"]])
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name).decode() for name in package.namelist()}
    whole = '<c r="A2" t="inlineStr"><is><t xml:space="preserve">@</t></is></c>'
    assert whole in parts["xl/worksheets/sheet1.xml"]
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"].replace(whole, cell)
    parts["xl/sharedStrings.xml"] = texts
    related = f'<Relationship Id="rId9" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
    name = "xl/_rels/workbook.xml.rels"
    parts[name] = parts[name].replace("</Relationships>", related).replace("worksheets/sheet1.xml", sheet)
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content.encode(encoding if "sheet1" in name else "utf-8"))
    return path


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ('t="s"><v>0</v>', "alpha"),
        ('t="s"><v> 1 </v>', None),
        ('s="0" t="s"><f>B1</f><v>1</v>', "beta"),
        ('t="s"><v/>', None),
        ('t="s"><v></v>', None),
        ('t="s"><v>x</v>', None),
        ('t="s"><v>-1</v>', None),
        ('t="s"><v>1.0</v>', None),
        ('t="s"><v>9</v>', None),
        ("t='s' s='0'><v >y</v>", None),
        ('t="s"><f>B1</f><v/>', None),
        ('t="inlineStr"><v>text</v>', None),
        ('t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r></is>', "ab"),
        ('t="n"><v>abc</v>', None),
        ('t="b"><v>2</v>', None),
        ('t="e"><v>#SPILL!</v>', None),
        ('t="odd"><v>12</v>', None),
        ('t="str"><v>text</v>', "text"),
        ("><v>12</v>", "12"),
        ('t="n"><v>12</v>', "12"),
    ],
)
def test_a_cell_is_what_its_text_says_or_the_file_is_refused(tmp_path, cell, name):
    """The library takes the first text for one that is not there, and nothing for a text where it does not look."""
    path = _hand_made(tmp_path / "f.xlsx", f'<c r="A2" {cell}</c>')
    if name is not None:
        assert rows_of(path) == [(2, "add", name, "staff")]
        return
    with pytest.raises(InputError, match=r"cannot be read as a spreadsheet: .*; save it again"):
        rows_of(path)


def test_an_error_newer_than_the_library_is_told_with_its_cell(tmp_path):
    path = _hand_made(tmp_path / "f.xlsx", '<c r="A2" t="e"><v>#SPILL!</v></c>')
    with pytest.raises(InputError, match="A2 holds the unknown error #SPILL!; clear it"):
        rows_of(path)
    assert [letters(number) for number in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


@pytest.mark.parametrize("place", ["./worksheets/sheet1.xml", "worksheets/sheet%31.xml", "../xl/worksheets/sheet1.xml"])
def test_a_workbook_that_the_library_cannot_follow_is_refused_with_advice(tmp_path, place):
    path = _hand_made(tmp_path / "f.xlsx", '<c r="A2"><v>1</v></c>', sheet=place)
    with pytest.raises(InputError, match="save it again in a spreadsheet program"):
        rows_of(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_sheet_that_is_not_utf_8_is_not_an_empty_one(tmp_path, encoding):
    path = _hand_made(tmp_path / "f.xlsx", '<c r="A2"><v>1</v></c>', encoding=encoding)
    with pytest.raises(InputError, match="not in UTF-8"):
        rows_of(path)


@pytest.mark.parametrize("size", range(100, 140))
def test_a_cell_that_is_read_in_two_pieces_is_whole(tmp_path, monkeypatch, size):
    monkeypatch.setattr(ooxml, "_PIECE", size)
    path = _hand_made(tmp_path / "f.xlsx", '<c r="A2" t="s"><f>B1</f><v>1</v></c>')
    assert rows_of(path) == [(2, "add", "beta", "staff")]


@pytest.mark.parametrize(
    ("code", "number", "told"),
    [
        ("General", 17, "17"),
        ("0", 17, "17"),
        ("@", 17, "17"),
        ("#,##0", 1700, "1700"),
        ("0.00", 17, "17"),
        ("00000", 17, "00017"),
        ("00000", 123456, "123456"),
        ("0000;-0000", -17, "-0017"),
        ("[Red]0000_ ;[Blue](0000)", 17, "0017"),
        ("000 000", 1234, "001234"),
        ("#,##0 [$€-407]", 17, "17"),
        ('"U-"0', 17, None),
        ("\\U0", 17, None),
        ("0%", 1, None),
        ("0,", 17000, None),
        ("0.0E+0", 17, None),
        ("# ?/?", 17, None),
        ('"no";"a;b"', 17, None),
        (";;;", 17, None),
        ("0;0", -17, None),
        ("0;(0)", -17, "-17"),
        ("0;-000", -17, "-017"),
        ("0;-0;;@", 0, None),
        ("0;-0;;@", 6, "6"),
        ('0;-0;"-"', 0, None),
        ("#,###", 0, None),
        ("[<1000]0;00000", 17, None),
        ("[<1000]0;0", 17, "17"),
        ("[Red]0;[Red]-0", -17, "-17"),
    ],
)
def test_a_number_is_what_people_see(tmp_path, code, number, told):
    book = openpyxl.Workbook()
    for row in (["user_name", "group_name"], [number, "staff"], [5, "staff"]):
        book.active.append(row)
    book.active["A2"].number_format = code
    path = tmp_path / "f.xlsx"
    book.save(path)
    first, second = rows_of(path)
    assert second == (3, "add", "5", "staff")
    if told is None:
        assert f"is the number {number}, which its cell format shows as something else" in first[1]
    else:
        assert first == (2, "add", told, "staff")


def test_padded_numbers_are_ids_and_dates_stay_dates(tmp_path):
    book = openpyxl.Workbook()
    for row in (["user_id", "group_name", "valid_to"], [17, "staff", date(2026, 2, 1)]):
        book.active.append(row)
    book.active["A2"].number_format = "00000"
    book.active["C2"].number_format = 'dd"th of "mmmm'
    path = tmp_path / "f.xlsx"
    book.save(path)
    assert rows_of(path, refinement=Refinement(is_feed=True)) == [(2, "add", 17, "staff")]


@pytest.mark.parametrize("first", ["staff", None])
def test_what_lies_below_a_merged_cell_is_seen_by_nobody(tmp_path, first):
    path = by_hand(tmp_path / "f.xlsx", [["user_name", "group_name"], ["bob", first], ["eve", "admins"]])
    _replace(path, b"</sheetData>", b'</sheetData><mergeCells count="1"><mergeCell ref="B2:B3"/></mergeCells>')
    assert "part of a merged cell" in rows_of(path)[-1][1]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("f.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "has a password"),
        ("f.xls", b"<html><body><table>", "a web page"),
        ("f.xls", b"<!DOCTYPE HTML><HTML>", "a web page"),
        ("f.xls", b"user_id\tgroup_id\n1\t2\n", "a text file .if it is CSV"),
        (
            "f.xls",
            b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
            "XML format of 2003",
        ),
        ("f.ods", b"\0\1\2", "not a spreadsheet"),
        ("f.xlsx", b"", "cannot be read as a spreadsheet"),
    ],
)
def test_what_only_has_the_name_of_a_spreadsheet(tmp_path, name, content, told):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        rows_of(path)
