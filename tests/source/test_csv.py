"""CSV: both ways of reading agree, and what is no change is said so line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from columns import listed
from hypothesis import example, given
from hypothesis import strategies as st

from batcher.core.errors import InputError
from batcher.core.model import KeyKind
from batcher.source import csv as module
from batcher.source.csv import CsvParser, read_clean
from batcher.source.csv_records import Forms, lines_of, read_carefully
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields, Layout
from batcher.source.rules import Form

IDS = Fields.of({}, KeyKind.INTEGER)
ANY = Fields.of({})


def carefully(block, header="op,user_id,group_id", fields=ANY, forms=Forms(), delimiter=","):  # noqa: B008
    layout = Layout.of(header.split(delimiter), fields, "x.csv")
    return read_carefully(block, 2, layout, forms, delimiter, 0, is_last=True)


def reasons(block, **options):
    return [row[1] for row in listed(carefully(block, **options)[0])]


_FIELD = st.one_of(
    st.sampled_from(
        [
            "5",
            "0",
            "-3",
            "007",
            "+5",
            " 5",
            "5 ",
            "1.0",
            "1e3",
            "0x1F",
            "0xFFFFFFFFFFFF",
            "-0",
            "",
            "bob",
            "ü",
            "日",
            "a\0b",
        ]
    ),
    st.sampled_from(
        ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "1" * 40, '"7"', '"a,b"', '"x', 'x"y']
    ),
    st.text("ab,\r\t\"'5 ", max_size=4),
)
_OP = st.sampled_from(["add", "remove", "ADD", "Remove", "add ", "", "del", '"add"', "\ufeffadd"])
_END = st.sampled_from(["\n", "\r\n", "\n\n", "\r", ""])
_ROW = st.builds(
    lambda op, user, group, more, end: ",".join([op, user, group, *more]) + end,
    _OP,
    _FIELD,
    _FIELD,
    st.lists(_FIELD, max_size=1),
    _END,
)
_PLAIN = st.builds(
    lambda op, user, group: f"{op},{user},{group}\n",
    st.sampled_from(["add", "REMOVE"]),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([1, 23, 456]),
)


@given(
    st.one_of(
        st.lists(_ROW, max_size=6), st.lists(_PLAIN, max_size=8), st.lists(st.one_of(_ROW, _PLAIN), max_size=6)
    ).map("".join),
    st.sampled_from(
        [
            "op,user_id,group_id",
            "op,user_name,group_id",
            "op,user_name,group_name",
            "op,user,group",
            "op,user_id,group_id,more",
        ]
    ),
    st.sampled_from([Forms(Form.ID, Form.ID), Forms(Form.NAME, Form.ID), Forms()]),
)
@example("add,007,3\nadd,0xFFFFFFFFFFFF,3\n", "op,user_id,group_id", Forms(Form.ID, Form.ID))
@example("add,5,3\n\n", "op,user_id,group_id", Forms(Form.ID, Form.ID))
def test_both_ways_agree_on_every_block_that_the_fast_one_takes(block, header, forms):
    """The vectorised way may decline, but never differ."""
    raw = block.encode()
    layout = Layout.of(header.split(","), ANY, "x.csv")
    clean = read_clean(raw, 2, layout, forms, ",", 0)
    if clean is None:
        return
    careful, _, used, _ = read_carefully(raw, 2, layout, forms, ",", 0, is_last=True)
    assert listed(clean) == listed(careful)
    assert used == len(raw)


@given(st.binary(max_size=60), st.sampled_from([Forms(Form.ID, Form.ID), Forms(Form.NAME, Form.NAME)]))
def test_both_ways_agree_on_any_bytes(block, forms):
    """Bad UTF-8, NUL, whatever."""
    layout = Layout.of(["op", "user", "group"], ANY, "x.csv")
    clean = read_clean(b"add,1,2\n" + block, 2, layout, forms, ",", 0)
    careful, _, used, _ = read_carefully(b"add,1,2\n" + block, 2, layout, forms, ",", 0, is_last=True)
    assert used == 8 + len(block)
    if clean is not None:
        assert listed(clean) == listed(careful)


@given(st.lists(_PLAIN, min_size=1, max_size=20).map("".join), st.booleans(), st.booleans())
def test_clean_blocks_go_the_fast_way(block, crlf, open_end):
    """Otherwise nothing would be fast, and nothing compared."""
    block = block.replace("\n", "\r\n") if crlf else block
    block = block.removesuffix("\n").removesuffix("\r") if open_end else block
    assert (
        read_clean(block.encode(), 2, Layout.of(["op", "user_id", "group_id"], ANY, "x"), Forms(), ",", 0) is not None
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("007", "not an integer as written"),
        ("+5", "not an integer as written"),
        (" 5", "not an integer as written"),
        ("5 ", "not an integer as written"),
        ("1.0", "is not an integer"),
        ("1e3", "is not an integer"),
        ("0x1F", "is not an integer"),
        ("-0", "is not an integer"),
        ("bob", "is not an integer; for names use user_name"),
        ("", "user is empty"),
        ("9223372036854775808", "out of the 64-bit range"),
        ("-9223372036854775809", "out of the 64-bit range"),
        ("1" * 5000, "out of the 64-bit range"),
        ("\u0665", "is not an integer"),
    ],
)
def test_what_is_no_id(text, reason):
    """Nothing that only looks like an integer is turned into one."""
    assert reason in reasons(f"add,{text},3\n".encode())[0]


@pytest.mark.parametrize("text", ["0", "-3", "9223372036854775807", "-9223372036854775808"])
def test_what_is_an_id(text):
    columns, _, _, _ = carefully(f"add,{text},3\n".encode())
    assert listed(columns) == [(2, "add", int(text), 3)]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"del,5,3\n", "op 'del' is neither add nor remove"),
        (b",5,3\n", "op is missing"),
        (b"add,5\n", "too few fields: 2, the header has 3"),
        (b"add,5,3,4\n", "too many fields: 4, the header has 3"),
        (b"add,\xff5,3\n", "user is not UTF-8"),
        (b'add,"5,3\n', "a quote is opened and never closed"),
        (b'add,"5"x,3\n', "expected after"),
        (b"add,5\r6,3\n", "new-line character"),
    ],
)
def test_reasons(block, reason):
    """Each kind of invalid line has its own."""
    found = listed(carefully(block + b"add,1,2\n")[0])
    assert reason in found[0][1]
    assert found[-1] == (3, "add", 1, 2)


def test_an_open_quote_costs_one_line():
    """What follows is read as if it were not there."""
    columns, _, used, _ = carefully(b'add,"5,3\nadd,6,3\nadd,7,3\n')
    assert listed(columns)[1:] == [(3, "add", 6, 3), (4, "add", 7, 3)]
    assert used == 25


def test_quoted_newlines_commas_and_blank_lines_keep_line_numbers():
    """`line` is the first physical line of the record."""
    block = b'add,"a,b",1,"x\ny"\n\n\n,,,\nremove,"say ""x""",2,\r\n'
    columns, _, _, _ = carefully(block, header="op,user_name,group_id,address")
    assert listed(columns) == [(2, "add", "a,b", 1), (7, "remove", 'say "x"', 2)]


def test_the_first_value_decides_a_neutral_column():
    """And the other form is rejected with a hint."""
    columns, forms, _, _ = carefully(b"add,bob,3\nadd,5,3\nadd,eve,x\n", header="op,user,group")
    found = listed(columns)
    assert found[0] == (2, "add", "bob", 3)
    assert "is an integer in a column of names; name the column user_id or user_name" in found[1][1]
    assert "'x' is not an integer; for names use group_name" in found[2][1]
    assert forms == Forms(Form.NAME, Form.ID)


def test_id_and_name_columns_side_by_side():
    """Exactly one is filled per row."""
    header = "op,user_id,user_name,group"
    columns, _, _, _ = carefully(b"add,5,,1\nadd,,bob,1\nadd,5,bob,1\nadd,,,1\nadd,x,,1\n", header=header)
    found = listed(columns)
    assert found[:2] == [(2, "add", 5, 1), (3, "add", "bob", 1)]
    assert found[2][1] == "both an id and a name for the user; fill only one of them"
    assert found[3][1] == "user is empty"
    assert "is not an integer" in found[4][1]


@pytest.mark.parametrize(("length", "valid"), [(1023, True), (1024, True), (1025, False)])
def test_names_at_their_bound(length, valid):
    """n−1, n, n+1, both ways."""
    block = b"add," + b"x" * length + b",1\n"
    layout = Layout.of(["op", "user_name", "group_id"], ANY, "x")
    columns, _, _, _ = read_carefully(block, 2, layout, Forms(), ",", 0, is_last=True)
    assert (not columns.rejects) is valid
    assert (read_clean(block, 2, layout, Forms(), ",", 0) is not None) is valid


def test_a_record_that_is_not_whole_waits_for_the_next_block():
    """Unless it is too long to be one."""
    parser = CsvParser(0, Input("x.csv", Path("x.csv")), Reading(ANY, delimiter=","))
    assert parser.read_header(b"op,user_name,group_id\n") == 22
    block = b'add,a,1\nadd,"b\n'
    rows, used = parser.parse(block, 2, is_last=False)
    assert [listed(part) for part in rows] == [[(2, "add", "a", 1)]]
    assert used == 8
    rows, used = parser.parse(b'add,"' + b"x" * module.LONGEST_RECORD + b"\nadd,c,1\n", 3, is_last=False)
    assert [row[1:] for part in rows for row in listed(part)][1:] == [("add", "c", 1)]


def test_headers():
    """Any case, aliases, one mapping; errors say what to do."""
    layout = Layout.of([" Action", "USER_NAME", "x", "usergroup_id"], ANY, "f")
    assert (layout.op, layout.user.places, layout.group.places) == (0, ((1, Form.NAME),), ((3, Form.ID),))
    mapped = Fields.of({"user": "EmpID", "group": "Dept", "op": "Action"})
    assert Layout.of(["Dept", "EmpID", "Action", "user_id"], mapped, "f").user.places == ((1, Form.OPEN),)
    with pytest.raises(InputError, match=r"f: no column for the user; .*--map user=YOURS"):
        Layout.of(["op", "group"], ANY, "f")
    with pytest.raises(InputError, match="2 columns for the user"):
        Layout.of(["op", "user", "user_id", "group"], ANY, "f")
    with pytest.raises(InputError, match="2 columns for the op"):
        Layout.of(["op", "action", "user", "group"], ANY, "f")


def test_a_target_of_integer_ids_takes_no_names_whatever_the_header():
    """A name's code must never reach a target for an id. Both ways."""
    columns, _, _, _ = carefully(b"add,bob,3\n", header="op,user_name,group_id", fields=IDS)
    assert listed(columns) == [(2, "user 'bob' is a name; this target takes integer ids only")]
    layout = Layout.of(["op", "user_name", "group_id"], IDS, "x")
    assert read_clean(b"add,bob,3\n", 2, layout, Forms(), ",", 0) is None
    both, _, _, _ = carefully(b"add,5,,3\nadd,,bob,3\n", header="op,user_id,user_name,group_id", fields=IDS)
    assert [row[0] for row in listed(both)] == [2, 3]
    assert both.user.dictionary is None


def test_a_target_of_integer_ids_takes_neutral_columns_for_ids():
    columns, _, _, _ = carefully(b"add,bob,3\nadd,5,3\n", header="op,user,group", fields=IDS)
    assert "is not an integer" in listed(columns)[0][1]
    assert listed(columns)[1] == (3, "add", 5, 3)


def test_only_a_line_feed_ends_a_line():
    assert lines_of(b"a\x0bb\x85c\xe2\x80\xa8d\ne") == [b"a\x0bb\x85c\xe2\x80\xa8d\n", b"e"]
    assert lines_of(b"") == []


@pytest.mark.parametrize(("columns", "is_read"), [(9_999, True), (10_000, True), (10_001, False)])
def test_columns_at_their_bound(columns, is_read):
    header = ["op", "user_id", "group_id", *(f"c{n}" for n in range(columns - 3))]
    fields = Fields.of({})
    if is_read:
        assert Layout.of(header, fields, "f.csv").width == columns
    else:
        with pytest.raises(InputError, match="10001 columns, at most 10000"):
            Layout.of(header, fields, "f.csv")


def test_a_long_header_is_not_told_in_full():
    with pytest.raises(InputError, match="'c19' and 980 more, one of"):
        Layout.of([f"c{n}" for n in range(1000)], Fields.of({}), "f.csv")
