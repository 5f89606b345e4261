"""Files as HR systems send them: encodings, spreadsheets, titles and totals, dates, several groups in a field."""

from __future__ import annotations

import io
from datetime import date, datetime

import openpyxl
import pytest
from columns import listed
from hypothesis import given
from hypothesis import strategies as st
from inputs import pairs_of, rows_of

from batcher.core.errors import ConfigurationError, InputError
from batcher.core.model import KeyKind, Position
from batcher.source.foreign import Transcoded, check_encoding
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.mapping import read_mapping
from batcher.source.reader import read
from batcher.source.refine import Condition, Refinement, Validity


def write(tmp_path, text, name="feed.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


PEOPLE = [("müller", "Buchhaltung"), ("šimek", "Lager"), ("o'neill", "Büro")]
TEXT = "user,group\n" + "".join(f"{user},{group}\n" for user, group in PEOPLE)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "windows-1252", "utf-16-le"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path, TEXT, encoding=encoding)
    how = {} if encoding in {"utf-8-sig", "utf-16"} else {"encoding": encoding}
    assert pairs_of(path, **how) == PEOPLE


@given(st.integers(1, 9))
def test_an_encoding_is_decoded_alike_wherever_the_blocks_are_cut(size):
    stream = Transcoded(io.BytesIO(TEXT.encode("utf-16")), "utf-16", "x")
    parts = []
    while part := stream.read(size):
        parts.append(part)
    assert b"".join(parts) == TEXT.encode()


def test_what_is_not_in_the_encoding_is_said(tmp_path):
    odd = tmp_path / "odd.csv"
    odd.write_bytes("user,group\na,b\n".encode("utf-16") + b"\x00")
    with pytest.raises(InputError, match="is not valid utf-16"):
        rows_of(odd, encoding="utf-16")
    with pytest.raises(InputError, match=r"is not valid utf-16: .*BOM"):
        rows_of(write(tmp_path, TEXT), encoding="utf-16")
    with pytest.raises(ConfigurationError, match="windows-1252"):
        check_encoding("klingon")
    rejected = rows_of(write(tmp_path, TEXT, encoding="windows-1252"))
    assert "--encoding windows-1252" in rejected[0][1]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_header_tells_the_delimiter(tmp_path, mark):
    lines = [['"Name, first"', '"user"', "group"], ["x", "eve", '"a,b"']]
    path = write(tmp_path, "\n".join(mark.join(line) for line in lines) + "\n")
    assert pairs_of(path) == [("eve", "a,b")]


def test_titles_before_the_header_and_totals_after_the_last_record(tmp_path):
    path = write(tmp_path, "Report of 2026-11-22\n\nuser;group\n7;5\n8;5\nTotal: 2;\n;\n")
    where = tuple(map(Condition.parse, ("user!=Total*", "user!=")))
    assert rows_of(path, skip_rows=2, refinement=Refinement(where)) == [(4, "add", 7, 5), (5, "add", 8, 5)]
    with pytest.raises(InputError, match="no column 'status' for --where"):
        rows_of(path, skip_rows=2, refinement=Refinement((Condition.parse("status=active"),)))
    for wrong in ("status", "=x", "!=x"):
        with pytest.raises(ConfigurationError, match="COLUMN=PATTERN"):
            Condition.parse(wrong)


def test_reading_goes_on_in_the_middle_of_a_file_with_a_title(tmp_path):
    path = write(tmp_path, "title\nuser_id,group_id\n" + "".join(f"{n},1\n" for n in range(30_000)))
    how = Reading(Fields.of({}, KeyKind.INTEGER, is_feed=True), skip_rows=1)
    steps = list(read(0, Input("f", path), how, Position()))
    assert len(steps) > 2
    rest = [row for columns, _ in read(0, Input("f", path), how, steps[0][1]) for row in listed(columns)]
    assert rest == [row for columns, _ in steps[1:] for row in listed(columns)]


def test_conditions_hold_for_changes_and_for_json_too(tmp_path):
    refinement = Refinement((Condition.parse("status=active"),))
    changes = write(tmp_path, "op,user,group,status\nadd,7,5,active\nremove,8,5,left\n")
    assert rows_of(changes, is_feed=False, refinement=refinement) == [(2, "add", 7, 5)]
    lines = '{"user":7,"group":5,"status":"active"}\n{"user":8,"group":5,"status":null}\n{"user":9,"group":5}\n'
    assert pairs_of(write(tmp_path, lines, "f.jsonl"), refinement=refinement) == [(7, 5)]


@pytest.mark.parametrize(
    ("starts", "ends", "counts"),
    [
        ("", "", True),
        ("2026-11-22", "", True),
        ("2026-11-23", "", False),
        ("2026-11-21", "2026-11-22", True),
        ("", "2026-11-21", False),
        ("2026-11-22T23:59:00", "9999-12-31", True),
    ],
)
def test_dates_of_validity_include_both_days(tmp_path, starts, ends, counts):
    validity = Validity("valid_from", "valid_to", date(2026, 11, 22))
    text = f"user,group,valid_from,valid_to\n7,5,{starts},{ends}\n"
    assert bool(pairs_of(write(tmp_path, text), refinement=Refinement(validity=validity))) is counts
    line = f'{{"user":7,"group":5,"valid_from":"{starts}","valid_to":"{ends}"}}\n'
    assert bool(pairs_of(write(tmp_path, line, "f.jsonl"), refinement=Refinement(validity=validity))) is counts


def test_dates_of_another_form_and_no_dates(tmp_path):
    validity = Validity("Eintritt", "Austritt", date(2026, 11, 22), "%d.%m.%Y")
    text = "user;group;Eintritt;Austritt\n7;5;01.02.2020;\n8;5;01.02.2020;31.10.2026\n9;5;2020-02-01;\n"
    rows = rows_of(write(tmp_path, text), refinement=Refinement(validity=validity))
    assert rows[0] == (2, "add", 7, 5)
    assert len(rows) == 2
    assert "Eintritt '2020-02-01' is not a date" in rows[1][1]


def test_several_groups_in_a_field_constant_ones_and_mappings(tmp_path):
    users = read_mapping(write(tmp_path, "EmpID;login\n0017;eve\n0018;bob\n", "users.csv"), is_single=True)
    groups = read_mapping(
        write(tmp_path, "Dept,group\nIT,admins\nIT,vpn\nHR,people\nIntern,\n", "groups.csv"), is_single=False
    )
    refinement = Refinement(separator="|", constants=("everybody",), users=users, groups=groups)
    text = "EmpID,Dept\n0017,IT | HR\n0018,\n0018,Intern\n0019,IT\n0017,Sales\n"
    path = write(tmp_path, text)
    assert rows_of(path, mapping={"user": "EmpID", "group": "Dept"}, refinement=refinement) == [
        (2, "add", "eve", "admins"),
        (2, "add", "eve", "vpn"),
        (2, "add", "eve", "people"),
        (2, "add", "eve", "everybody"),
        (3, "add", "bob", "everybody"),
        (4, "add", "bob", "everybody"),
        (5, "user '0019' is not in the mapping file"),
        (6, "group 'Sales' is not in the mapping file"),
    ]
    lines = '{"EmpID":"0017","groups":["IT","HR"]}\n{"EmpID":"0018"}\n'
    found = pairs_of(
        write(tmp_path, lines, "f.jsonl"), mapping={"user": "EmpID", "group": "Dept"}, refinement=refinement
    )
    assert found == [("eve", g) for g in ("admins", "vpn", "people", "everybody")] + [("bob", "everybody")]


def test_constant_groups_need_no_column(tmp_path):
    refinement = Refinement(constants=("53", "54"))
    assert pairs_of(write(tmp_path, "user_id\n5\n"), kind=KeyKind.INTEGER, refinement=refinement) == [(5, 53), (5, 54)]
    with pytest.raises(InputError, match="no column for the group"):
        rows_of(write(tmp_path, "user_id\n5\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a,b\n1,2,3\n", "line 2: 3 fields"), ("a,b\n1,2\n1,3\n", "two users"), ('a,b\n"1,2\n', "not a CSV")],
)
def test_mappings_that_are_none(tmp_path, text, reason):
    with pytest.raises(InputError, match=reason):
        read_mapping(write(tmp_path, text, "m.csv"), is_single=True)
    with pytest.raises(InputError, match="no such file"):
        read_mapping(tmp_path / "none.csv", is_single=True)


def test_spreadsheets(tmp_path):
    """Numbers as integers, days as ISO 8601, texts with zeros as they are, empty rows as none."""
    book = openpyxl.Workbook()
    book.create_sheet("Other")
    sheet = book.active
    for row in (
        ["Staff of November", None, None],
        ["user", "group", "valid_from"],
        [7, "IT", date(2026, 1, 2)],
        [None, None, None],
        [8, 'a\n"b"', datetime(2026, 12, 1)],  # noqa: DTZ001 — as spreadsheets keep them
        [9, "007", None],
    ):
        sheet.append(row)
    path = tmp_path / "staff.xlsx"
    book.save(path)
    validity = Validity("valid_from", "valid_to", date(2026, 11, 22))
    assert rows_of(path, skip_rows=1, refinement=Refinement(validity=validity)) == [
        (3, "add", 7, "IT"),
        (6, "add", 9, "007"),
    ]
    with pytest.raises(InputError, match="has no sheet 'Staff'; it has Sheet, Other"):
        rows_of(path, sheet="Staff")
    with pytest.raises(InputError, match="is empty"):
        rows_of(path, sheet="Other")
    path.write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(InputError, match="cannot be read as a spreadsheet"):
        rows_of(path)
