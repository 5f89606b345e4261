"""Which users of a window want the same groups, and what it costs to encode that.

An op of a product target means every user × every group, so only users with equal group sets may share one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batcher.core.keys import Keys
from batcher.core.model import Columns
from batcher.core.sorting import run_starts, sorted_order
from batcher.core.text_bytes import mix
from batcher.core.vectors import Ints, Mask
from batcher.core.wire import Wire

_TABLE = 1 << 16
"""Up to this range, values are looked up in a table, however few codes there are."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs sorted by user and group, as positions in tables of the users and the groups that occur.

    `first` is the position of each user's first pair, `size` the number of their pairs; widths are bytes on the wire.
    """

    row: Ints
    user: Ints
    group: Ints
    first: Ints
    size: Ints
    users: Keys
    groups: Keys
    user_width: Ints
    group_width: Ints

    @staticmethod
    def of(columns: Columns, rows: Ints, wire: Wire) -> Pairs:
        """The pairs of these rows of a window."""
        rows = rows[sorted_order(columns.user.codes[rows], columns.group.codes[rows])]
        user = columns.user.codes[rows]
        first = run_starts(user)
        size = np.diff(first, append=len(rows))
        known, group = _dense(columns.group.codes[rows])
        users, groups = Keys(user[first], columns.user.dictionary), Keys(known, columns.group.dictionary)
        return Pairs(
            rows,
            np.repeat(np.arange(len(first)), size),
            group,
            first,
            size,
            users,
            groups,
            wire.widths(users),
            wire.widths(groups),
        )


def _dense(codes: Ints) -> tuple[Ints, Ints]:
    """The distinct values, sorted, and each code's position among them; uses a table where the range is small."""
    low = int(codes.min())
    span = int(codes.max()) - low + 1
    if span > max(_TABLE, len(codes)):
        known, position = np.unique(codes, return_inverse=True)
        return known, position
    occurs = np.zeros(span, bool)
    occurs[codes - low] = True
    known = np.flatnonzero(occurs)
    return known + low, (np.cumsum(occurs) - 1)[codes - low]


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Users with equal group sets.

    `members` lists the users bucket by bucket; the other fields are per bucket: where its members start, how many there
    are, and the bytes of its users and of its groups.
    """

    members: Ints
    start: Ints
    count: Ints
    users_width: Ints
    groups_width: Ints

    @staticmethod
    def of(pairs: Pairs) -> Buckets:
        """The buckets of all users that occur."""
        # A set's hash is the sum of its members' hashes: it proposes the buckets, `_are_uniform` verifies them.
        words = mix(np.arange(1, len(pairs.groups) + 1, dtype=np.uint64))
        hashes = np.add.reduceat(words[pairs.group], pairs.first)
        members = np.argsort(hashes)
        start = run_starts(hashes[members].view(np.int64))
        count = np.diff(start, append=len(members))
        groups_width = np.add.reduceat(pairs.group_width[pairs.group], pairs.first)
        return Buckets(
            members,
            start,
            count,
            np.add.reduceat(pairs.user_width[members], start),
            groups_width[members[start]],
        )

    def choose(self, pairs: Pairs, op: int) -> Mask:
        """Which buckets are sent as products in the cheaper of the two covers; `op` is the cost of an op.

        Users whose sets have the same hash only by chance are sent per group.
        """
        product = op + self.users_width + self.groups_width
        per_group = pairs.size[self.members[self.start]] * self.users_width
        chosen: Mask = product < per_group
        if not chosen.any():
            in_rest = np.ones(len(pairs.groups), bool)
        else:
            by_user = np.empty(len(self.members), bool)
            by_user[self.members] = np.repeat(chosen, self.count)
            in_rest = np.zeros(len(pairs.groups), bool)
            in_rest[pairs.group[~by_user[pairs.user]]] = True
        mixed = product[chosen].sum() + per_group[~chosen].sum() + (op + pairs.group_width[in_rest]).sum()
        chosen = chosen if mixed <= product.sum() else np.ones(len(chosen), bool)
        chosen[chosen] = self._are_uniform(pairs, chosen)
        return chosen

    def _are_uniform(self, pairs: Pairs, chosen: Mask) -> Mask:
        """Whether the members of each of these buckets really want the same groups."""
        if not chosen.any():
            return np.ones(0, bool)
        members, count = self.members[np.repeat(chosen, self.count)], self.count[chosen]
        is_as_before = _equal_sets(pairs, members)
        start = np.cumsum(count) - count
        is_as_before[start] = True
        return np.logical_and.reduceat(is_as_before, start)


def _equal_sets(pairs: Pairs, members: Ints) -> Mask:
    """Whether each of the members wants the same groups as the one before it; meaningless for the first."""
    size = pairs.size[members]
    first = np.cumsum(size) - size
    offset = np.arange(int(size.sum())) - np.repeat(first, size)
    group = pairs.group[np.repeat(pairs.first[members], size) + offset]
    size_before = np.concatenate([size[:1], size[:-1]])
    before = np.arange(len(group)) - np.repeat(size_before, size)
    is_same = np.logical_and.reduceat(group == group[before], first)
    return (size == size_before) & is_same  # type: ignore[no-any-return]  # numpy's operators
