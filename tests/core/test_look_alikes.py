"""Look-alikes in columns, against a plain model of one change after the other."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
from columns import columns_of, listed
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.coalesce import coalesce
from batcher.core.identity import fingerprints, lane_words
from batcher.core.look_alikes import Names, fold, folded, resolved, twins
from batcher.core.model import Keys
from batcher.core.patterns import Patterns

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
    assert (lane_words(first, group) == lane_words(second, group)).all() == alike
    assert (fingerprints(first, group, folds=True) == fingerprints(second, group, folds=True)).all() == alike
    assert (fingerprints(first, group) == fingerprints(second, group)).all() == ((one or "x") == (other or "x"))


def test_patterns_that_fold():
    assert list(Patterns(["Admin*"], folds=True).among(["ADMIN@x", "bob", 7, "a\u0064min"])) == ["ADMIN@x", "admin"]
    assert list(Patterns(["Admin*"]).among(["ADMIN@x"])) == []
