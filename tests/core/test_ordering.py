"""What windows have in common, found by merging."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.ordering import common, distinct, shared

_KEYS = st.lists(st.one_of(st.integers(0, 20), st.sampled_from([2**64 - 1, 2**63])), max_size=30).map(
    lambda values: np.array(values, np.uint64)
)


@given(_KEYS, _KEYS)
def test_merging_finds_what_sets_have_in_common(one, other):
    assert distinct(one).tolist() == sorted(set(one.tolist()))
    both = common(distinct(one), distinct(other))
    assert both.tolist() == sorted(set(one.tolist()) & set(other.tolist()))
    assert shared(one, both).tolist() == [key in set(other.tolist()) for key in one.tolist()]
