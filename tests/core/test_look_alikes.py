"""Look-alikes in columns, against a plain model of one change after the other."""

from __future__ import annotations

import sys
import unicodedata

import pyarrow as pa
import pytest
from columns import columns_of, listed
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.coalesce import coalesce
from batcher.core.identity import fingerprints, ordering_words
from batcher.core.keys import Keys
from batcher.core.look_alikes import Names, resolved, twins
from batcher.core.patterns import Patterns
from batcher.core.text_bytes import may_be_unseen
from batcher.core.text_folding import fold, folded
from batcher.source.rules import Invalid, name_of

ALPHABET = "aAbBßſsSÄäÄéÉéİıσςΣ \u00a0\u200b\u200d\u00adЖж张ﬁ\t"
NAMES = st.text(ALPHABET, max_size=5)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "reject"]),
        st.sampled_from(["bob", "Bob", "BOB ", "amy", "é", "é", 7]),
        st.sampled_from(["staff", "Staff", "it"]),
    ),
    max_size=20,
)


def plain(name):
    seen = "".join(
        " " if c.isspace() else c for c in name if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf"}
    )
    text = " ".join(unicodedata.normalize("NFC", seen).casefold().split(" "))
    return " ".join(unicodedata.normalize("NFC", text).split())


@given(st.lists(NAMES, max_size=8))
def test_folding_a_column_is_folding_each(names):
    found = fold(pa.array(names, pa.string())).to_pylist()
    assert found == [folded(name) for name in names]
    assert found == [plain(name) for name in names]
    assert fold(pa.array(found, pa.string())).to_pylist() == found


@given(st.lists(st.one_of(NAMES, st.integers(0, 3)), max_size=8, unique=True))
def test_twins_are_who_look_alike(names):
    keys = Keys.of(names)
    found = twins(keys)
    looks = [plain(name) if isinstance(name, str) else name for name in names]
    if found is None:
        assert len(set(looks)) == len(names)
    else:
        assert found.tolist() == [looks.index(look) for look in looks]


def look(key):
    return plain(key) if isinstance(key, str) else key


def wishes_of(columns, by=lambda key: key):
    """The last wish per pair."""
    return {(by(user), by(group)): op for _, op, *pair in listed(columns) if pair for user, group in [pair]}


@given(CHANGES)
def test_where_they_are_one_the_last_word_wins(changes):
    columns = resolved(columns_of(changes), Names.FOLDED)
    valid = [(op, user, group) for op, user, group in changes if op != "reject"]
    expected = {(look(user), look(group)): op for op, user, group in valid}
    assert wishes_of(columns, look) == expected
    winner = coalesce(columns)
    assert len({int(row) for row in winner if row >= 0}) == len(expected)  # one of each is sent


@given(CHANGES)
def test_where_nobody_knows_what_contradicts_itself_is_not_sent(changes):
    before, after = columns_of(changes), resolved(columns_of(changes), Names.UNSURE)
    wishes = wishes_of(before)
    said = {}
    for (user, group), op in wishes.items():
        said.setdefault((look(user), look(group)), set()).add(op)
    clear = {pair: op for pair, op in wishes.items() if len(said[look(pair[0]), look(pair[1])]) == 1}
    assert wishes_of(after) == clear
    for row, (old, new) in enumerate(zip(listed(before), listed(after), strict=True)):
        if old != new:
            assert "target.names" in new[1]
            assert changes[row][0] != "reject"
    assert [reject.index for reject in after.rejects] == sorted(reject.index for reject in after.rejects)
    assert resolved(before, Names.EXACT) is before


@given(NAMES, NAMES)
def test_look_alikes_are_one_lane(one, other):
    """So that two changes of them are never in flight together; only who compares exactly tells them apart."""
    first, second = Keys.of([one or "x"]), Keys.of([other or "x"])
    group = Keys.of([1])
    alike = look(one or "x") == look(other or "x")
    assert (ordering_words(first, group) == ordering_words(second, group)).all() == alike
    assert (fingerprints(first, group, folds=True) == fingerprints(second, group, folds=True)).all() == alike
    assert (fingerprints(first, group) == fingerprints(second, group)).all() == ((one or "x") == (other or "x"))


def test_patterns_that_fold():
    assert list(Patterns(["Admin*"], folds=True).among(["ADMIN@x", "bob", 7, "a\u0064min"])) == ["ADMIN@x", "admin"]
    assert list(Patterns(["Admin*"]).among(["ADMIN@x"])) == []


IGNORABLE = (
    "ad 34f 61c 115f-1160 17b4-17b5 180b-180f 200b-200f 202a-202e 2060-206f 3164 fe00-fe0f feff ffa0 fff0-fff8"
    " 1bca0-1bca3 1d173-1d17a e0000-e0fff"
)
"""Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties.txt)."""


def test_what_nobody_sees_makes_no_name_another_one():
    """Every character of Unicode that is ignored where it is shown; Python's tables are asked for the formats."""
    ranges = [[int(end, 16) for end in part.split("-")] for part in IGNORABLE.split()]
    ignored = {chr(code) for ends in ranges for code in range(ends[0], ends[-1] + 1)} - set(
        map(chr, range(0xFFF0, 0xFFF9))
    )
    unseen = {c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in ("Cc", "Cf")}
    for char in ignored | unseen | {"\u2800"}:
        assert char.isascii() or may_be_unseen(f"x{char}y".encode())
        assert folded(f"x{char}y") in (["xy", "x y"] if char.isspace() else ["xy"]), hex(ord(char))


@pytest.mark.parametrize("char", ["\u061c", "\u200b", "\u2800", "\u3164", "\uffa0", "\ufeff"])
def test_blank_letters_are_in_no_name(char):
    with pytest.raises(Invalid, match=f"U\\+{ord(char):04X}"):
        name_of(f"a{char}", "user")


@pytest.mark.parametrize("name", ["\u26bd\ufe0f Sport", "\u845b\U000e0100\u57ce", "\u0645\u06cc\u200c\u062e"])
def test_emoji_and_scripts_keep_what_they_need(name):
    assert name_of(name, "user") == name
