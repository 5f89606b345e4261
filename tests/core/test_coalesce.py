"""Last word wins, and a rejected line supersedes nothing."""

from __future__ import annotations

from columns import columns_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.coalesce import coalesce

_IDS = st.one_of(st.integers(0, 3), st.sampled_from([-(2**63), 2**63 - 1, -1]))
_CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove", "reject"]), _IDS, _IDS), max_size=40)


@given(_CHANGES)
def test_agrees_with_a_dictionary_of_last_words(changes):
    """Every valid row points at its pair's last valid row; rejected rows at none."""
    last = {(user, group): row for row, (op, user, group) in enumerate(changes) if op != "reject"}
    expected = [-1 if op == "reject" else last[user, group] for op, user, group in changes]
    assert coalesce(columns_of(changes)).tolist() == expected


def test_an_empty_window_has_no_winners():
    """No rows, no words."""
    assert coalesce(columns_of([])).tolist() == []
