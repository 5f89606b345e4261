"""JSON Lines and documents."""

from __future__ import annotations

import json
import re

import orjson
import pytest
from columns import listed
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.errors import InputError
from batcher.core.model import KeyKind
from batcher.source.entries import Entries
from batcher.source.jsonl import read_carefully, read_clean, read_document
from batcher.source.layout import Fields

ANY = Entries(Fields.of({}))
IDS = Entries(Fields.of({}, KeyKind.INTEGER))


def carefully(text, entries=ANY):
    return [row for part in read_carefully(text.encode(), 1, entries, 0) for row in listed(part)]


def document(content, entries=ANY):
    return [row for part in read_document(orjson.dumps(content), entries, 0, "x.json")[1] for row in listed(part)]


_VALUE = st.one_of(
    st.integers(-(2**65), 2**65),
    st.sampled_from(["a", "", "5", "}", "{", "\\u00fc", "x" * 1025, None, True, 1.0, [], {}]),
)
_LINE = st.one_of(
    st.builds(
        lambda op, user, group, names: json.dumps({"op": op, names[0]: user, names[1]: group}),
        st.sampled_from(["add", "remove", "ADD", "x"]),
        _VALUE,
        _VALUE,
        st.sampled_from([("user", "group"), ("user_id", "group_name"), ("user_name", "usergroup_id"), ("u", "group")]),
    ),
    st.sampled_from(["", "  ", "{}", "[1", "2]", '{"op":"add"},{"op":"add"}', '{"a":"}', '{"}', "\xff", "1", "null"]),
)


@given(st.lists(_LINE, max_size=6).map("\n".join))
def test_both_ways_agree_on_every_block_that_the_fast_one_takes(block):
    """The joined parse may decline, but never differ."""
    raw = block.encode()
    clean = read_clean(raw, 1, ANY, 0)
    if clean is not None:
        assert listed(clean) == carefully(block)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove"]), st.integers(-(2**63), 2**63 - 1), st.text("abc", min_size=1)),
        min_size=1,
    )
)
def test_plain_lines_go_the_fast_way(changes):
    lines = b"".join(orjson.dumps({"op": o, "user": u, "group": g}) + b"\n" for o, u, g in changes)
    columns = read_clean(lines, 1, ANY, 0)
    assert [row[1:] for row in listed(columns)] == changes


_TEMPLATES = st.sampled_from(
    [
        '{"op":"OP","user":USER,"group":GROUP}',
        '{"op": "OP", "user_id": USER, "group_id": GROUP}',
        ' {"group_id": GROUP , "user": "USER","op":"OP"} ',
        '{"op":"OP","user_name":"USER","usergroup_name":"GROUP"}',
        '{"op":"OP","user":USER,"group":GROUP,"note":1}',
        '{"op":"OP","user":USER,"group":GROUP,"note":null}',
        '{"op":"OP","user":USER,"note":{"group":GROUP},"group":GROUP}',
        '{"op":"OP","user":USER,"note":{"group":GROUP},"group":null}',
        '{"op":"OP","user":USER,"note":{"group":"GROUP"},"group":"\\u0061"}',
    ]
)
_TEXT = st.one_of(
    st.integers(-20, 20).map(str),
    st.sampled_from(
        ["add", "007", "-0", "1.0", "1e3", "null", "", "ü", '"', "\\u00fc", "\x01", "\x1f", "}", "{", ",", "a b"]
    ),
    st.sampled_from(['1,"user":2', '","user":"x', '"}\n{"op":"', ": ", "99999999999999999999"]),
)


@given(_TEMPLATES, st.lists(st.tuples(st.sampled_from(["add", "remove", "Add", "x"]), _TEXT, _TEXT), max_size=6), _TEXT)
def test_lines_that_are_all_alike_mean_what_each_means_alone(template, changes, after):
    """Whatever stands where the first line has its values."""
    block = "\n".join(_filled(template, change) for change in changes) + (after if len(after) > 1 else "")
    for entries in (ANY, IDS):
        clean = read_clean(block.encode(), 1, entries, 0)
        if clean is not None:
            assert listed(clean) == carefully(block, entries)


def _filled(template, change):
    return re.sub(
        "OP|USER|GROUP", lambda match: dict(zip(("OP", "USER", "GROUP"), change, strict=True))[match[0]], template
    )


def test_uniform_lines_are_read_without_parsing_each(monkeypatch):
    monkeypatch.setattr("batcher.source.jsonl._read_joined", None)
    for block in (
        b'{"op":"add","user":1,"group":2}\n{"op":"remove","user":-33,"group":4}\n',
        b'{"group_name": "A, B", "op": "add", "user_id": 1}\n{"group_name": "C}", "op": "REMOVE", "user_id": 2}',
    ):
        columns = read_clean(block, 1, ANY, 0)
        assert listed(columns) == carefully(block.decode())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not valid JSON"),
        ("5", "not an object: 5"),
        ('{"user":5,"group":1}', "op is missing"),
        ('{"op":"x","user":5,"group":1}', "op 'x' is neither add nor remove"),
        ('{"op":"add","group":1}', "user is missing"),
        ('{"op":"add","user":null,"group":1}', "user is missing"),
        ('{"op":"add","user":true,"group":1}', "user True is neither an integer"),
        ('{"op":"add","user":1.0,"group":1}', "user 1.0 is neither an integer"),
        ('{"op":"add","user":9223372036854775808,"group":1}', "out of the 64-bit range"),
        ('{"op":"add","user":"","group":1}', "user is empty"),
        ('{"op":"add","user_id":"5","group":1}', "is a string under a key for ids"),
        ('{"op":"add","user_name":5,"group":1}', "is a number under a key for names"),
        ('{"op":"add","user_id":5,"user_name":"x","group":1}', "more than one user: user_id and user_name"),
        ('{"op":"add","users":[],"groups":[1]}', "users must be a non-empty list"),
        ('{"op":"add","users":[5]}', "group is missing"),
        ('{"op":"add","users":[5,true],"groups":[1]}', "user True is neither"),
        ('{"op":"add","path":"/x","users":[5],"groups":[1]}', "path '/x' is not /membership"),
        ('{"membership":{"add":5}}', "membership: add must be a list"),
        ('{"membership":{"ad":[]}}', "membership must be an object"),
        ('{"op":"add","action":"remove","user":5,"group":1}', "more than one op: op and action"),
        ('{"op":"add","user":9,"users":[1],"groups":[2]}', "both user and the list users"),
        ('{"op":"remove","membership":{"add":[]}}', "membership must be the only key"),
        ('{"op":"add","user_id":"a","group":5,"":1}', "is a string under a key for ids"),
        ('{"op":"add","user":"\\ud800","group":1}', ""),
        ('{"op":"add","user":' + "[" * 1000 + "]" * 1000 + ',"group":1}', "nested too deeply"),
        ("[" * 1000 + "]" * 1000, "nested too deeply"),
    ],
)
def test_reasons(line, reason):
    """And the others go on."""
    found = carefully(f'{line}\n{{"op":"add","user":1,"group":2}}\n')
    assert reason in found[0][1]
    assert found[-1] == (2, "add", 1, 2)


def test_a_target_of_integer_ids_takes_nothing_else():
    assert read_clean(b'{"op":"add","user_name":"bob","group":1}\n', 1, IDS, 0) is None
    assert "integer ids only" in carefully('{"op":"add","user_name":"bob","group":1}\n', IDS)[0][1]
    assert "this target takes integer ids only" in carefully('{"op":"add","user":"bob","group":1}\n', IDS)[0][1]


def test_an_op_line_means_every_user_in_every_group():
    line = '{"op":"remove","users":[5,6],"groups":[53,"x"]}\n'
    assert carefully(line) == [(1, "remove", u, g) for u in (5, 6) for g in (53, "x")]


def test_a_large_op_unfolds_lazily():
    """10⁵ × 10⁵ must not become 10¹⁰ rows at once."""
    line = orjson.dumps({"op": "add", "users": list(range(100_000)), "groups": list(range(100_000))}) + b"\n"
    parts = read_carefully(line, 1, ANY, 0)
    first, second = next(parts), next(parts)
    assert len(first) == len(second) == 100_000
    assert first.user.value(int(first.user.codes[0])) == 0
    assert second.user.value(int(second.user.codes[0])) == 1


def test_documents_in_the_targets_own_forms():
    """Adds before removes; a text under `*_id` is a name; `line` is the entry's ordinal."""
    ops = [
        {"op": "add", "path": "/membership", "users": [5, 6], "groups": [53]},
        {"op": "remove", "users": [5], "groups": [53]},
    ]
    assert document(ops) == [(1, "add", 5, 53), (1, "add", 6, 53), (2, "remove", 5, 53)]
    membership = {
        "membership": {"remove": [{"user_name": "c", "usergroup_id": 4}], "add": [{"user_id": "a", "usergroup_id": 17}]}
    }
    assert document(membership) == [(1, "add", "a", 17), (2, "remove", "c", 4)]
    assert carefully(orjson.dumps(membership).decode()) == [(1, "add", "a", 17), (1, "remove", "c", 4)]
    assert document({"membership": {"add": [{"op": "remove", "user_id": 1, "usergroup_id": 2}]}}) == [(1, "add", 1, 2)]


def test_empty_documents_are_a_quiet_night():
    assert document([]) == document({"membership": {"add": [], "remove": []}}) == carefully("[]\n") == []


@pytest.mark.parametrize(("content", "reason"), [(b"{", "not valid JSON"), (b"5", "must be an array")])
def test_what_is_no_document(content, reason):
    with pytest.raises(InputError, match=reason):
        read_document(content, ANY, 0, "x.json")
