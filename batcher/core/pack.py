"""From the pairs of a window to the ops of its requests: exact covers, bounded and cheap on the wire.

An op of a product target means every user × every group, so users may share an op only when they want the
same set of groups there. Two covers are weighed against each other in bytes:

- users with equal group sets as one product where that is cheaper than naming them per group, the rest per group;
- every set of users with equal group sets as a product.

The first is never dearer than packing per group, the second never dearer than packing per user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from batcher.core.identity import mix
from batcher.core.model import Action, Bytes, Columns, Ints, Limits, Mask, Op, Shape
from batcher.core.order import order_of, run_starts
from batcher.core.wire import Wire

_Sized: TypeAlias = tuple[Op, int]
"""An op and its bytes."""


def pack(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """The ops of each request that together ask for exactly these rows of the window, each pair once.

    Args:
        columns: The window.
        rows: The rows that decide; no two of the same pair.
        limits: No request exceeds them; `max_bytes` must leave room for one pair.
        wire: The target's cost model.

    """
    if not len(rows):
        return
    pairs = _Pairs.of(columns, rows, wire)
    if wire.shape is Shape.PAIRS:
        yield from _lists(pairs, limits, wire)
    else:
        by_action = ((action, pairs.take(pairs.action == action)) for action in Action)
        ops = (op for action, part in by_action if len(part) for op in _products(part, action, limits, wire))
        yield from _requests(ops, limits, wire)


def pack_in_order(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """As `pack`, but cut wherever the action changes, and in the order of the input."""
    starts = run_starts(columns.action[rows].astype(np.int64))
    for run in np.split(rows, starts[1:]):
        yield from pack(columns, run, limits, wire)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Aligned columns of the wanted pairs, with the widths of their keys in bytes."""

    action: Bytes
    user: Ints
    group: Ints
    row: Ints
    user_width: Ints
    group_width: Ints

    @staticmethod
    def of(columns: Columns, rows: Ints, wire: Wire) -> _Pairs:
        user, group = columns.user.take(rows), columns.group.take(rows)
        return _Pairs(columns.action[rows], user.codes, group.codes, rows, wire.widths(user), wire.widths(group))

    def take(self, index: Ints | Mask | slice) -> _Pairs:
        return _Pairs(
            self.action[index],
            self.user[index],
            self.group[index],
            self.row[index],
            self.user_width[index],
            self.group_width[index],
        )

    def __len__(self) -> int:
        return len(self.row)


def _lists(pairs: _Pairs, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Entries in input order, cut where a bound is reached."""
    size = pairs.user_width + pairs.group_width + wire.op
    total = np.cumsum(size)
    room = limits.max_bytes - wire.request
    start = 0
    while start < len(pairs):
        fits = int(np.searchsorted(total, total[start] - size[start] + room, side="right"))
        stop = min(max(fits, start + 1), start + limits.max_changes)
        cut = pairs.take(slice(start, stop))
        by_action = ((action, cut.take(cut.action == action)) for action in Action)
        yield tuple(Op(a, p.user, p.group, p.row, Shape.PAIRS) for a, p in by_action if len(p))
        start = stop


def _products(pairs: _Pairs, action: Action, limits: Limits, wire: Wire) -> Iterator[_Sized]:
    pairs = pairs.take(order_of(pairs.user, pairs.group))
    buckets = _Buckets.of(pairs)
    covered = np.zeros(len(pairs), bool)
    for bucket in np.flatnonzero(buckets.choose(pairs, wire.op)).tolist():
        index = buckets.matrix(pairs, bucket)
        covered[index.ravel()] = True
        yield from _chunks(pairs, index, action, limits, wire)
    rest = pairs.take(~covered)
    rest = rest.take(order_of(rest.group, rest.user))
    starts = run_starts(rest.group)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rest)], strict=False):
        yield from _chunks(rest, np.arange(start, stop)[:, None], action, limits, wire)


@dataclass(frozen=True, slots=True, eq=False)
class _Buckets:
    """Users with equal group sets.

    Per user, in the order of the pairs: `first` pair and `size` of the set. `members` lists the users bucket by
    bucket; the rest is per bucket: its first member, how many, and the bytes of its users and of its groups.
    """

    first: Ints
    size: Ints
    members: Ints
    start: Ints
    count: Ints
    users_width: Ints
    groups_width: Ints

    @staticmethod
    def of(pairs: _Pairs) -> _Buckets:
        first = run_starts(pairs.user)
        size = np.diff(first, append=len(pairs))
        # A set's hash is the sum of its members' hashes: it chooses the bucket, `matrix` checks for equality.
        hashes = np.add.reduceat(mix(pairs.group.view(np.uint64)), first).view(np.int64)
        members = np.lexsort((hashes, size))
        start = run_starts(size[members], hashes[members])
        return _Buckets(
            first,
            size,
            members,
            start,
            np.diff(start, append=len(members)),
            np.add.reduceat(pairs.user_width[first][members], start),
            np.add.reduceat(pairs.group_width, first)[members[start]],
        )

    def choose(self, pairs: _Pairs, op: int) -> Mask:
        """Which buckets travel as products in the cheaper of the two covers; `op` is the cost of an op."""
        product = op + self.users_width + self.groups_width
        per_group = self.size[self.members[self.start]] * self.users_width
        chosen = product < per_group
        by_user = np.empty(len(self.members), bool)
        by_user[self.members] = np.repeat(chosen, self.count)
        rest = pairs.take(~np.repeat(by_user, self.size))
        _, seen = np.unique(rest.group, return_index=True)
        mixed = product[chosen].sum() + per_group[~chosen].sum() + (op + rest.group_width[seen]).sum()
        return chosen if mixed <= product.sum() else np.ones(len(chosen), bool)

    def matrix(self, pairs: _Pairs, bucket: int) -> Ints:
        """Positions of the bucket's pairs, a line per user, without users whose set only has the same hash."""
        users = self.members[self.start[bucket] : self.start[bucket] + self.count[bucket]]
        index: Ints = self.first[users][:, None] + np.arange(self.size[users[0]])
        groups = pairs.group[index]
        same: Mask = (groups == groups[0]).all(axis=1)
        return index[same]


def _chunks(pairs: _Pairs, index: Ints, action: Action, limits: Limits, wire: Wire) -> Iterator[_Sized]:
    """A matrix of pair positions, users × groups, as ops within the bounds."""
    user_width = int(pairs.user_width[index[:, 0]].max())
    group_width = int(pairs.group_width[index[0]].max())
    room = limits.max_bytes - wire.request - wire.op
    groups = min(index.shape[1], limits.max_groups, limits.max_changes, max(1, (room - user_width) // group_width))
    users = min(limits.max_users, limits.max_changes // groups, max(1, (room - groups * group_width) // user_width))
    for top in range(0, index.shape[0], users):
        for left in range(0, index.shape[1], groups):
            part = index[top : top + users, left : left + groups]
            size = wire.op + pairs.user_width[part[:, 0]].sum() + pairs.group_width[part[0]].sum()
            op = Op(action, pairs.user[part[:, 0]], pairs.group[part[0]], pairs.row[part.ravel()], Shape.PRODUCT)
            yield op, int(size)


def _requests(ops: Iterable[_Sized], limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Ops in their order, as many to a request as its bounds allow."""
    held: list[Op] = []
    changes, size = 0, wire.request
    for op, op_size in ops:
        too_many = len(held) == limits.max_ops or changes + len(op) > limits.max_changes
        if held and (too_many or size + op_size > limits.max_bytes):
            yield tuple(held)
            held, changes, size = [], 0, wire.request
        held.append(op)
        changes += len(op)
        size += op_size
    if held:
        yield tuple(held)
