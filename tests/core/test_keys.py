"""Columns of users or groups, whatever their texts hold, against plain Python."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Batch, Op, Shape
from batcher.core.keys import Dictionary, Keys
from batcher.core.model import Action
from batcher.core.text_bytes import escaped, hashed, joined, lengths_of
from batcher.core.wire import Wire
from batcher.ledger.arrays import pack_dictionary, pack_ints, unpack_keys
from batcher.targets.scrutinizer import Scrutinizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KEY = st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.integers(-3, 3).map(str))
COLUMN = st.lists(KEY, max_size=12)


def listed(keys):
    return keys.values(keys.codes)


@given(COLUMN)
def test_a_column_says_what_it_was_made_of(values):
    keys = Keys.of(values)
    assert listed(keys) == values
    assert [keys.value(code) for code in keys.codes.tolist()] == values
    assert [type(key) for key in listed(keys)] == [type(key) for key in values]
    assert keys.forms == sum({1 if isinstance(key, int) else 2 for key in values})
    assert dict(keys.counted()) == {key: values.count(key) for key in values}


@given(st.lists(COLUMN, min_size=1, max_size=4))
def test_columns_are_joined(parts):
    joined_keys = Keys.concat([Keys.of(part) for part in parts])
    everything = [key for part in parts for key in part]
    assert listed(joined_keys) == everything
    if joined_keys.dictionary is not None:
        known = listed(Keys(np.arange(len(joined_keys.dictionary)), joined_keys.dictionary))
        assert len(set(known)) == len(known)


@given(COLUMN)
def test_what_it_takes_on_the_wire(values):
    wire = Wire(Shape.PAIRS, request=0, op=0, id_key=5, name_key=7)
    expected = [len(orjson.dumps(key)) + (5 if isinstance(key, int) else 7) for key in values]
    assert wire.widths(Keys.of(values)).tolist() == expected


@given(COLUMN)
def test_the_ledger_gives_back_what_it_got(values):
    keys = Keys.of(values)
    assert listed(unpack_keys(pack_ints(keys.codes), pack_dictionary(keys.dictionary))) == values


@given(st.lists(TEXTS, max_size=12), st.integers(0, 3))
def test_bytes_of_texts(texts, start):
    """Also of a part of a column, as Arrow cuts it: at an offset of the same bytes."""
    array = pa.array(texts, pa.string())[start:]
    texts = texts[start:]
    assert escaped(array).to_pylist() == [orjson.dumps(text)[1:-1].decode() for text in texts]
    assert lengths_of(array).tolist() == [len(text.encode()) for text in texts]
    assert joined("<", array, "|", array, ">").to_pylist() == [f"<{text}|{text}>" for text in texts]
    words = hashed(array).tolist()
    assert words == [int(hashed(pa.array([text]))[0]) for text in texts]
    assert len(set(words)) == len(set(texts))


def test_texts_that_differ_in_one_place_have_other_words():
    """At every length around the eight bytes that are taken at a time, and at every place."""
    texts = {"", "\0"}
    for length in range(1, 26):
        plain = "a" * length
        texts |= {plain, plain[:-1] + "\0"} | {plain[:at] + "b" + plain[at + 1 :] for at in range(length)}
    assert len(set(hashed(pa.array(sorted(texts))).tolist())) == len(texts)


@given(st.lists(st.tuples(KEY, KEY), min_size=1, max_size=6, unique=True))
def test_entries_of_any_keys(pairs):
    """What leaves says exactly the pairs, ids as numbers and names as texts."""
    user, group = Keys.of([user for user, _ in pairs]), Keys.of([group for _, group in pairs])
    op = Op(Action.ADD, user.codes, group.codes, np.arange(len(pairs)), Shape.PAIRS)
    body = Scrutinizer("https://example.org", "").encode(Batch(1, 0, (op,), user, group), "t").body
    content = orjson.loads(body.split(b'name="json"\r\n\r\n')[1].split(b"\r\n--")[0])
    said = [
        (e.get("user_id", e.get("user_name")), e.get("usergroup_id", e.get("usergroup_name")))
        for e in content["membership"]["add"]
    ]
    assert said == pairs
    assert [tuple(map(type, pair)) for pair in said] == [tuple(map(type, pair)) for pair in pairs]


def test_an_id_and_a_name_of_the_same_digits_are_two():
    known = Dictionary.of([5, "5"])
    assert known.values(np.array([0, 1])) == [5, "5"]
    assert known.distinct_by(known.looks).tolist()[0] != known.distinct_by(known.looks).tolist()[1]
