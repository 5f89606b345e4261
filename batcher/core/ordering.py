"""Lanes: what must keep its order. Lane keys, and whether two pieces of work share a lane."""

from __future__ import annotations

from enum import Enum

import numpy as np

from batcher.core.identity import ordering_words
from batcher.core.keys import Keys
from batcher.core.vectors import Hashes, Mask


class OrderBy(Enum):
    """The ordering domain. Two changes in the same lane are never in flight together out of order."""

    PAIR = "pair"
    GROUP = "group"
    INPUT = "input"
    """Everything is one lane: `--ordered`."""


def ordering_keys(user: Keys, group: Keys, order_by: OrderBy) -> Hashes:
    """A 64-bit key per row. Different lanes share a key only by chance; that costs a wait, never the order."""
    if order_by is OrderBy.INPUT:
        return np.zeros(len(group), np.uint64)
    if order_by is OrderBy.GROUP:
        return ordering_words(None, group)
    return ordering_words(user, group)


def shared(keys: Hashes, others: Hashes) -> Mask:
    """Which of `keys` are among `others` (sorted)."""
    if not len(others) or not len(keys):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(others, keys), len(others) - 1)
    return others[at] == keys  # type: ignore[no-any-return]  # numpy's operators


def distinct(keys: Hashes) -> Hashes:
    """Each key once, sorted; many times faster than `np.unique`, which builds a hash table."""
    ordered = np.sort(keys)
    is_new = np.ones(len(keys), bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


def common(one: Hashes, other: Hashes) -> Hashes:
    """The keys in both; each argument is sorted and holds each key once.

    Merging two sorted runs, which is what numpy's stable sort does with them, is ten times faster than looking up one
    in the other, which accesses memory at random.
    """
    both = np.concatenate([one, other])
    both.sort(kind="stable")
    return both[1:][both[1:] == both[:-1]]  # type: ignore[no-any-return]  # numpy's operators
