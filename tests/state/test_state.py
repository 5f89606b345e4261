"""What is known and what is wished, against sets."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from columns import columns_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.errors import InputError, LedgerHeldError, StateError
from batcher.core.model import Position
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.reader import read
from batcher.state.difference import FeedDifference
from batcher.state.holding import hold
from batcher.state.pairs import adopt, load, said_to_be_in
from batcher.state.scope import Scope
from batcher.state.store import Binding, Known, StateStore, Wish

BINDING = Binding("minapp", "https://one", "")
OUT, IN, UNCERTAIN = Known


@pytest.fixture
def store(tmp_path):
    with StateStore.create(tmp_path / "s", BINDING) as store:
        yield store


def fed(pairs):
    return said_to_be_in([columns_of([("add", *pair) for pair in pairs])] if pairs else [])


def of(store, table):
    return store.connection.execute(f'SELECT "user", "group" FROM {table} ORDER BY ALL').fetchall()  # noqa: S608


PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(
    st.dictionaries(PAIRS, st.tuples(st.sampled_from(Known), st.sampled_from(Wish))),
    st.lists(PAIRS, max_size=12),
    st.sets(st.integers(1, 4)),
    st.sampled_from([(), ("1", "2"), ("[34]",), ("*",)]),
    st.sampled_from([(), ("1",)]),
)
def test_the_difference_is_that_of_sets(tmp_path_factory, state, feed, named, groups, users):
    with StateStore.create(tmp_path_factory.mktemp("s") / "s", BINDING) as store:
        for (user, group), (known, wish) in state.items():
            store.connection.execute("INSERT INTO pair VALUES (?, ?, ?, ?, 0)", (user, group, int(known), int(wish)))
        for group in named:
            store.connection.execute("INSERT INTO named VALUES (?)", (group,))
        load(store, "feed", fed(feed))
        difference = FeedDifference(store, Scope(groups, users))
        known = {pair: known for pair, (known, _) in state.items()}
        wish = {pair: wish for pair, (_, wish) in state.items()}
        spoken_of = named | {group for _, group in feed}
        masters = {
            (): lambda group: group in spoken_of,
            ("1", "2"): lambda group: group in {1, 2},
            ("[34]",): lambda group: group in {3, 4},
            ("*",): lambda _: True,
        }[groups]

        def in_scope(pair):
            return masters(pair[1]) and (not users or pair[0] == 1)

        adds = {pair for pair in feed if known.get(pair) is not IN}
        removals = {p for p in state if p not in feed and known[p] is not OUT and in_scope(p)}
        assert of(store, "adds") == sorted(adds)
        assert of(store, "removals") == sorted(removals)
        figures = difference.figures()
        in_force = {p for p in state if (known[p] is not OUT or wish[p] is Wish.IN) and wish[p] is not Wish.OUT}
        assert figures.pairs == len(set(feed))
        assert figures.last_pairs == 0  # no feed was accepted yet
        assert figures.additions == len({p for p in adds if wish.get(p) is not Wish.IN})
        assert figures.removals == len({p for p in removals if wish[p] is not Wish.OUT})
        assert figures.removals_from == len({p for p in in_force if in_scope(p)})
        assert figures.additions_to == len({p for p in in_force if in_scope(p) or p[1] in spoken_of})
        difference.accept("r", Path("/nowhere"))
        assert difference.figures().last_pairs == len(set(feed))
        rows = store.connection.execute('SELECT "user", "group", known, wish FROM pair').fetchall()
        after = {(u, g): (Known(k), Wish(w)) for u, g, k, w in rows}
        assert len(after) == len(rows)
        assert {p for p, (_, w) in after.items() if w is Wish.IN} == set(feed)
        assert removals <= {p for p, (_, w) in after.items() if w is Wish.OUT}
        assert all(after[p][0] is k for p, k in known.items())
        assert {g for _, g in feed} | named == {g for (g,) in store.connection.execute("FROM named").fetchall()}
        assert set(of(store, "doubt")) == {p for p in adds | removals if known.get(p) is UNCERTAIN}


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(st.sets(st.tuples(NAMES, NAMES), min_size=1, max_size=8))
def test_names_go_through_the_state_and_the_files_of_changes_as_they_are(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("s")
    with StateStore.create(folder / "s", BINDING) as store:
        load(store, "feed", fed(sorted(pairs)))
        FeedDifference(store, Scope()).write(folder / "adds.csv", folder / "removals.csv")
    how = Reading(Fields.of({}, takes_odd=True), delimiter=",")
    found = set()
    for columns, _ in read(0, Input("a", folder / "adds.csv", "csv"), how, Position()):
        assert not columns.rejects
        users, groups = columns.user.values(columns.user.codes), columns.group.values(columns.group.codes)
        found |= set(zip(users, groups, strict=True))
    assert found == pairs


def test_forms_are_kept_apart(store):
    load(store, "feed", fed([("eve", "staff")]))
    adopt(store, "feed")
    with pytest.raises(
        InputError,
        match="identifies users by id and groups by name, but what it is compared with identifies users by name",
    ):
        load(store, "feed", fed([(5, "staff")]))
    with pytest.raises(InputError, match="users are given both as ids and as names"):
        load(store, "feed", said_to_be_in([columns_of([("add", "a", "b")]), columns_of([("add", 1, "b")])]))
    with pytest.raises(InputError, match="holds both"):
        load(store, "feed", said_to_be_in([columns_of([("add", "a", "b"), ("add", 1, "b")])]))


def test_a_state_belongs_to_its_target(store):
    store.close()
    with StateStore.open(store.path, BINDING) as again:
        assert not again.fingerprint()
        again.touched()
        first = again.fingerprint()
        again.touched()
        assert first
        assert again.fingerprint() not in {"", first}
    with pytest.raises(StateError, match="is the state of minapp at https://one, not of minapp at https://two"):
        StateStore.open(store.path, Binding("minapp", "https://two", ""))
    with pytest.raises(StateError, match="environment E"):
        StateStore.open(store.path, Binding("minapp", "https://one", "E"))


def test_what_is_no_state(tmp_path):
    with pytest.raises(StateError, match="--bootstrap --current SNAPSHOT"):
        StateStore.open(tmp_path / "none")
    (tmp_path / "text").write_text("user,group\n", encoding="utf-8")
    with pytest.raises(StateError, match="text is not a state"):
        StateStore.open(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(StateError, match="empty is not a state"):
        StateStore.open(tmp_path / "empty")
    assert not (tmp_path / "empty").stat().st_size
    (tmp_path / "broken").write_bytes(b"12345678DUCK and no more")
    with pytest.raises(StateError, match="cannot be opened"):
        StateStore.open(tmp_path / "broken")
    duckdb.connect(str(tmp_path / "other")).close()
    with pytest.raises(StateError, match="is not a state"):
        StateStore.open(tmp_path / "other")
    with pytest.raises(StateError, match="already exists"):
        StateStore.create(tmp_path / "text", BINDING)


def test_one_run_at_a_time(tmp_path):
    held = hold(tmp_path / "s")
    with pytest.raises(LedgerHeldError):
        hold(tmp_path / "s")
    os.close(held)
    os.close(hold(tmp_path / "s"))


def test_a_state_of_another_version_is_left_alone(store):
    store.set_fact("format", "99")
    store.close()
    with pytest.raises(StateError, match="format 99"):
        StateStore.open(store.path)
