"""What people give by mistake, and texts that are written otherwise: told by its name, or read as it is meant."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sqlite3
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import pairs_of, rows_of

from batcher.core.errors import InputError
from batcher.core.model import Position
from batcher.core.wholeness import Content
from batcher.source.inputs import Input, Reading
from batcher.source.json_text import loads
from batcher.source.layout import Fields
from batcher.source.mapping import read_mapping
from batcher.source.reader import read
from batcher.source.refine import Condition, Refinement, Validity
from batcher.source.rules import Invalid
from batcher.source.trailer import Trailer

TEXT = "user,group\nbob,staff\nمريم,staff\n张三,Öl\n"
PAIRS = [("bob", "staff"), ("مريم", "staff"), ("张三", "Öl")]


def write(tmp_path, content, name="f.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lzma.compress(TEXT.encode()), "xzcat"),
        (bz2.compress(TEXT.encode()), "bzcat"),
        (gzip.compress(gzip.compress(TEXT.encode(), mtime=0), mtime=0), "compressed twice"),
        (gzip.compress(lzma.compress(TEXT.encode()), mtime=0), "xzcat"),
        (b"PK\x03\x04" + b"x" * 100, "archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "password"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html>\n<html>", "login"),
        (b"<?xml version='1.0'?>\n<a/>", "XML"),
        (b"-----BEGIN PGP MESSAGE-----\n", "gpg"),
        (b"sep=;\nuser;group\na;b\n", "--skip-rows 1"),
        (b"user,group\rbob,staff\r", "CR alone"),
        (bytes(5000), "begins with zero bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # what is compressed differs from second to second
)
def test_what_is_no_table(tmp_path, content, told):
    with pytest.raises(InputError, match=told):
        rows_of(write(tmp_path, content))


def test_a_ledger_is_no_input(tmp_path):
    with sqlite3.connect(tmp_path / "l") as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(InputError, match="batcher results"):
        rows_of(tmp_path / "l")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_encodings_without_a_mark(tmp_path, encoding):
    """The one to try is named, and is right."""
    path = write(tmp_path, TEXT.encode(encoding))
    with pytest.raises(InputError, match=f"--encoding {encoding}$"):
        rows_of(path)
    assert pairs_of(path, encoding=encoding) == PAIRS
    with pytest.raises(InputError, match=r"is not valid utf-(16|32)"):
        rows_of(path, encoding="utf-16")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_encodings_with_a_mark(tmp_path, encoding, packed):
    assert pairs_of(write(tmp_path, packed(TEXT.encode(encoding)))) == PAIRS


def test_a_header_however_it_is_written(tmp_path):
    for header in ("USER , Group", "\ufeffuser,\u200bgroup", "user\u00a0,group\u00ad"):
        assert pairs_of(write(tmp_path, f"{header}\nbob,staff\n")) == [("bob", "staff")]


@pytest.mark.parametrize("again", ["user_name,group_name", " User_Name,GROUP_NAME", '"user_name","group_name"'])
def test_the_header_again(tmp_path, again):
    """Two exports in one file."""
    text = f"user_name,group_name\nbob,staff\n{again}\namy,staff\n"
    rows = rows_of(write(tmp_path, text))
    assert [row[0] for row in rows] == [2, 3, 4]
    assert "the header is repeated" in rows[1][1]
    many = "user_name,group_name\n" + "bob,staff\n" * 20_000 + f"{again}\n" + "amy,staff\n" * 20_000
    assert sum(row[1] != "add" for row in rows_of(write(tmp_path, many))) == 1


@pytest.mark.parametrize("again", ["group_name,user_name", "user,group", "op,user_name"])
def test_another_header(tmp_path, again):
    """With its columns elsewhere: nobody knows what the lines after it say."""
    text = f"user_name,group_name\nbob,staff\n{again}\nstaff,amy\n"
    with pytest.raises(InputError, match="line 3: another header"):
        rows_of(write(tmp_path, text))


@pytest.mark.parametrize("line", [",,", "  , ,", ",", ",,,,,", '"","",""', "\u00a0,,"])
def test_lines_with_nothing_in_them(tmp_path, line):
    text = f"user_name,group_name,note\nbob,staff,x\n{line}\n\namy,staff,\n{line}\n"
    assert [row[0] for row in rows_of(write(tmp_path, text))] == [2, 5]


@pytest.mark.parametrize(
    "damage", ["#N/A", "#REF!", "####", "8.6564E+17", "a\x07b", "a\u200bb", "a\u202eb", "\x1ad2026"]
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_damage_in_texts(tmp_path, damage, kind):
    records = [{"user_name": "bob", "group_name": "staff"}, {"user_name": damage, "group_name": "staff"}]
    if kind == "csv":
        content = "user_name,group_name\n" + "".join(f"{r['user_name']},{r['group_name']}\n" for r in records)
    else:
        content = json.dumps(records) if kind == "json" else "".join(json.dumps(r) + "\n" for r in records)
    first, second = rows_of(write(tmp_path, content, f"f.{kind}"))
    assert first[2:] == ("bob", "staff")
    assert len(second) == 2  # a line and why
    allowed = rows_of(write(tmp_path, content, f"f.{kind}"), takes_odd=True)
    assert [row[2] for row in allowed] == ["bob", damage]


@pytest.mark.parametrize(
    "error",
    ["#NV", "#N/D", "#Н/Д", "#WERT!", "#BEZUG!", "#ÜBERLAUF!", "#VALEUR!", "#¡VALOR!", "#¿NOMBRE?", "#DIV/0 !", "#IMIĘ?",
     "Err:502", "Loading...", "g\ufffd", "#SPILL!", "#BUSY!"],
)  # fmt: skip
def test_errors_in_other_languages_and_in_parts(tmp_path, error):
    """Also within a field of several groups, where a condition asks, and in a mapping."""
    split = Refinement(separator="|", is_feed=True)
    for group in (error, f"a|{error}", f"a| {error} "):
        ((line, told),) = rows_of(write(tmp_path, f"user_name,group_name\nbob,{group}\n"), refinement=split)
        assert line == 2
        assert "spreadsheet" in told or "error value" in told or "invisible" in told
    lines = json.dumps({"user": "bob", "group": error}) + "\n"
    assert len(rows_of(write(tmp_path, lines, "f.jsonl"))[0]) == 2
    with pytest.raises(InputError, match="line 2"):
        read_mapping(write(tmp_path, f"a,b\nx,{error}\n", "m.csv"), is_single=False)
    if not error.startswith("g"):
        where = Refinement((Condition.parse("st=a"),), is_feed=True)
        assert len(rows_of(write(tmp_path, f"user,group,st\nbob,g,{error}\n"), refinement=where)[0]) == 2


@pytest.mark.parametrize(
    ("head", "user", "whose"),
    [
        ("user_id", "7", ("7",)),
        *(("user_id", text, ()) for text in ("7.0", "007", "+7", "7 ", "x7", "9" * 20, "", "#N/A")),
        ("user_name", "bob", ("bob",)),
        *(("user_name", text, ()) for text in ("", "  ", "b\x01b", "\u200b", "x" * 1025, "1E+20")),
    ],
)
def test_whose_an_invalid_line_is(tmp_path, head, user, whose):
    """Only who is named as a change could name him; else the line may be anybody's."""
    separated = Refinement(separator="|", is_feed=True)
    how = Reading(Fields.of({}, is_feed=True), refinement=separated)
    path = write(tmp_path, f'{head},group_name\n"{user}",#N/A\n')
    ((columns, _), *_) = read(0, Input("f", path), how, Position())
    assert [reject.users for reject in columns.rejects] == [whose]
    raw = write(tmp_path, f"{head},group_name\n".encode() + b"b\xe9b,g\n")
    ((columns, _), *_) = read(0, Input("f", raw), how, Position())
    assert [reject.users for reject in columns.rejects] == [()]


@pytest.mark.parametrize("name", ["नमस्ते\u200d", "می\u200cخواهم", "o'neill", "a+b=c", "E+5", "1E5", "#1", "N/A", "NULL"])
def test_names_that_only_look_odd(tmp_path, name):
    assert pairs_of(write(tmp_path, f"user_name,group_name\n{name},g\n")) == [(name, "g")]


@pytest.mark.parametrize("name", ["Valid To", "valid-to", "ValidTo", "VALID_TO", "valid to"])
def test_columns_of_dates_by_other_names(tmp_path, name):
    refinement = Refinement(validity=Validity("valid_from", "valid_to", date(2026, 11, 28)), is_feed=True)
    text = f"user,group,{name}\nbob,staff,2026-11-01\namy,staff,2026-12-01\neve,staff,\n"
    assert pairs_of(write(tmp_path, text), refinement=refinement) == [("amy", "staff"), ("eve", "staff")]
    lines = "".join(
        json.dumps({"user": u, "group": "g", name: d}) + "\n" for u, d in (("a", "2026-11-01"), ("b", None))
    )
    assert pairs_of(write(tmp_path, lines, "f.jsonl"), refinement=refinement) == [("b", "g")]
    twice = text.replace(name, f"{name},validto", 1).replace("\n", ",\n").replace(",\n", "\n", 1)
    if name != "VALID_TO":
        with pytest.raises(InputError, match=r"more than one (column|key) for"):
            rows_of(write(tmp_path, twice), refinement=refinement)


# JSON.


@pytest.mark.parametrize("kind", ["jsonl", "json"])
@pytest.mark.parametrize(
    "entry",
    [
        '{"op":"add","op":"remove","user":"bob","group":"g"}',
        '{"op":"add","user":"bob","user":"eve","group":"g"}',
        '{"op":"add","Op":"remove","user":"bob","group":"g"}',
        '{"op":"add","user":"bob","group":"g","x":{"a":1,"a":2}}',
    ],
)
def test_a_key_twice(tmp_path, entry, kind):
    other = '{"op":"add","user":"amy","group":"g"}'
    content = f"[{entry},{other}]" if kind == "json" else f"{other}\n{entry}\n{other}\n"
    path = write(tmp_path, content, f"f.{kind}")
    if kind == "json" and "Op" not in entry:
        with pytest.raises(InputError, match="twice"):
            rows_of(path, is_feed=False)
        return
    rows = rows_of(path, is_feed=False)
    assert sum(row[1] == "add" for row in rows) == len(rows) - 1
    (told,) = (row[1] for row in rows if row[1] != "add")
    assert "twice" in told or "are the same" in told


@given(
    st.recursive(
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.text('a":\\ '),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('a":\\'), inner),
        max_leaves=8,
    )
)
def test_what_has_each_key_once_is_read(content):
    assert loads(json.dumps(content).encode()) == content


def test_very_deep_json():
    with pytest.raises((Invalid, ValueError)):
        loads(b'{"a":1,"a":' * 2000 + b"1" + b"}" * 2000)


def test_keys_in_any_case(tmp_path):
    lines = '{"OP":"add","User":"bob","Group":"g"}\n{"op":"add","user":"amy","group":"g"}\n'
    assert pairs_of(write(tmp_path, lines, "f.jsonl"), is_feed=False) == [("bob", "g"), ("amy", "g")]
    many = '{"Op":"add","User Name":"bob","GROUP":"g"}\n' * 5000
    path = write(tmp_path, many, "f.jsonl")
    assert len(pairs_of(path, is_feed=False, mapping={"user": "user name"})) == 5000
    ((_, told), *_) = rows_of(write(tmp_path, '{"op":"add","usr":"bob","group":"g"}\n', "f.jsonl"), is_feed=False)
    assert "user is missing; the keys are 'op', 'usr', 'group'" in told


@pytest.mark.parametrize("indent", [0, 2, None])
def test_a_document_in_lines(tmp_path, indent):
    """By chance some of its lines are changes."""
    entries = [{"op": "add", "user": f"u{n}", "group": "g"} for n in range(3)]
    text = json.dumps(entries, indent=indent)
    if indent is None:
        text = "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n"
    with pytest.raises(InputError, match=r"\.json"):
        rows_of(write(tmp_path, text, "f.jsonl"), is_feed=False)
    assert len(pairs_of(write(tmp_path, text, "f.json"), is_feed=False)) == 3
    cut = '{"op":"add","user":"bob"\n{"op":"add","user":"amy","group":"g"}\n'
    assert [row[1] == "add" for row in rows_of(write(tmp_path, cut, "g.jsonl"), is_feed=False)] == [False, True]


# Mappings.


@pytest.mark.parametrize("text", ["1001,bob\n1002,amy\n", "Sales,53\nIT,54\n", "a@b.example,bob\n", "IT,x\nIT,y\n"])
def test_mappings_without_a_header(tmp_path, text):
    with pytest.raises(InputError, match="has no header: its first line"):
        read_mapping(write(tmp_path, text), is_single=False)


def test_a_mapping_whose_header_the_feed_speaks_of(tmp_path):
    table = read_mapping(write(tmp_path, "Sales,staff\nIT,crew\n", "m.csv"), is_single=False)
    refinement = Refinement(groups=table, is_feed=True)
    with pytest.raises(InputError, match=r"m\.csv has no header: its first line, 'Sales'"):
        rows_of(write(tmp_path, "user,group\nbob,IT\namy,Sales\n"), refinement=refinement)
    assert len(rows_of(write(tmp_path, "user,group\nbob,IT\n"), refinement=refinement)) == 1


@pytest.mark.parametrize("text", ["a,b\nx,#N/A\n", "a,b\nx,y\na,b\n", "a,b\nx,1E+10\n"])
def test_mappings_that_are_damaged(tmp_path, text):
    with pytest.raises(InputError, match=r"line [23]"):
        read_mapping(write(tmp_path, text), is_single=False)
    assert dict(read_mapping(write(tmp_path, "a,b\nx,y\n,\n"), is_single=False)) == {"x": ("y",)}


# Trailers and ends.


def content_of(path, pattern="Total: {rows}", **how):
    found = Content(path.name)
    rows = rows_of(path, trailer=Trailer(pattern) if pattern else None, found=found, **how)
    return found, rows


@pytest.mark.parametrize(
    ("line", "pattern", "count"),
    [
        ("Total: 2", "Total: {rows}", 2),
        ("Total: 2;", "Total: {rows}", 2),
        ('"Total: 1,200",,', "Total: {rows}", 1200),
        ("TRL|2|END", "TRL|{rows}|END", 2),
        ("# 12'345 records", "# {rows} records", 12345),
        ("Total:,2", "Total: {rows}", 2),
        ("2", "{rows}", 2),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "", "\n\n \n", "\n,,\n"])
def test_a_last_line_that_counts(tmp_path, line, pattern, count, end):
    found, rows = content_of(write(tmp_path, f"user_name,group_name\nbob,a\namy,b\n{line}{end}"), pattern)
    assert [row[2:] for row in rows] == [("bob", "a"), ("amy", "b")]
    assert (found.trailer, found.rows, found.has_open_end) == (count, 2, False)


def test_no_last_line_or_more_after_it(tmp_path):
    found, rows = content_of(write(tmp_path, "user_name,group_name\nbob,a\nTotals: 2,b\n"))
    assert (found.trailer, len(rows)) == (None, 2)
    with pytest.raises(InputError, match=r"line 3: .* more lines follow it"):
        content_of(write(tmp_path, "user_name,group_name\nbob,a\nTotal: 1\namy,b\n"))
    far = "user_name,group_name\nTotal: 0\n" + "amy,b\n" * 400_000
    with pytest.raises(InputError, match="more lines follow"):
        content_of(write(tmp_path, far))


@pytest.mark.parametrize(
    ("text", "is_open", "rows"),
    [
        ("user,group\nbob,a\n", False, 1),
        ("user,group\nbob,a", True, 1),
        ("user,group\r\nbob,a\r\n\r\n", False, 1),
        ("user,group", False, 0),
        ("user,group\nx,1\nbad\n,,\ny,z", True, 3),
    ],
)
def test_ends_and_counts(tmp_path, text, is_open, rows):
    found, _ = content_of(write(tmp_path, text), "")
    assert (found.has_open_end, found.rows) == (is_open, rows)
    packed, _ = content_of(write(tmp_path, gzip.compress(text.encode()), "f.csv.gz"), "")
    assert (packed.has_open_end, packed.rows) == (is_open, rows)


def test_records_are_counted_whatever_their_form(tmp_path):
    entries = [{"user": f"u{n}", "group": "g"} for n in range(3)]
    assert content_of(write(tmp_path, json.dumps(entries), "f.json"), "")[0].rows == 3
    assert content_of(write(tmp_path, "".join(json.dumps(e) + "\n\n" for e in entries), "f.jsonl"), "")[0].rows == 3
    clean = "user,group\n" + "bob,a\n" * 300_000
    assert content_of(write(tmp_path, clean), "")[0].rows == 300_000
