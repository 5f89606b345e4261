"""From the pairs of a window to the ops of its requests: exact covers within the limits, with few bytes.

A target of lists takes pairs in the order of the input. A target that changes one group per request gets, of each group
and action, as many users at once as it takes, and so never more requests than they need.

An op of a product target means every user × every group, so users may share an op only when they want the
same set of groups there. The smaller of two covers, in bytes, is chosen:

- users with equal group sets as one product where that is cheaper than listing them per group, the rest per group;
- every set of users with equal group sets as a product.

The first is never larger than packing per group, the second never larger than packing per user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TypeAlias

import numpy as np

from batcher.core.batch import Limits, Op, Shape
from batcher.core.cover import Buckets, Pairs
from batcher.core.keys import Keys
from batcher.core.model import Action, Columns
from batcher.core.sorting import run_starts
from batcher.core.split import cut
from batcher.core.vectors import Ints, Mask
from batcher.core.wire import Wire

_Sized: TypeAlias = tuple[Op, int]
"""An op and its bytes."""
_WORTH_A_CUT = 10
"""An op is cut in two if otherwise at least a tenth of a request would stay empty."""


def pack(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """The ops of each request that together ask for exactly these rows of the window, each pair once.

    Args:
        columns: The window.
        rows: The rows that decide; no two of the same pair.
        limits: No request exceeds them; `max_bytes` must leave room for one pair.
        wire: The target's cost model.

    """
    most = limits.max_changes if limits.max_removals is None else min(limits.max_removals, limits.max_changes)
    is_apart = wire.shape in (Shape.GROUP, Shape.GROUPS) or most < limits.max_changes
    packer = _PACKERS[wire.shape]
    if not is_apart:
        return packer(columns, rows, limits, wire) if len(rows) else iter(())
    adds, removals = (rows[columns.action[rows] == action] for action in Action)
    few = {"max_users": min(most, limits.max_users)} if wire.shape is Shape.GROUPS else {"max_changes": most}
    parts = ((adds, limits), (removals, replace(limits, **few)))
    return chain.from_iterable(packer(columns, part, bounds, wire) for part, bounds in parts if len(part))


def _by_group(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """One group per request, all of one action; of each group as few requests as its users need."""
    pairs = Pairs.of(columns, rows, wire)
    action = Action(int(columns.action[rows[0]]))
    bounds = replace(limits, max_users=limits.max_changes)
    for op, _ in _Packer(pairs, action, bounds, wire).by_group(np.arange(len(rows))):
        yield (op,)


def _by_groups(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Groups, all of one action, as many to a request as its bounds allow."""
    pairs = Pairs.of(columns, rows, wire)
    action = Action(int(columns.action[rows[0]]))
    ops = _Packer(pairs, action, limits, wire).by_group(np.arange(len(rows)))
    yield from _requests(ops, columns, limits, wire)


def _by_op(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Products, as many to a request as its bounds allow."""
    parts = ((action, rows[columns.action[rows] == action]) for action in Action)
    ops = (op for action, part in parts if len(part) for op in _products(columns, part, action, limits, wire))
    yield from _requests(ops, columns, limits, wire)


def pack_in_order(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """As `pack`, but in the order of the input, and cut wherever the action changes."""
    starts = run_starts(columns.action[rows].astype(np.int64))
    for run in np.split(rows, starts[1:]):
        yield from pack(columns, run, limits, wire)


def _lists(columns: Columns, rows: Ints, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Entries in input order, cut where a limit is reached."""
    action, user, group = columns.action[rows], columns.user.take(rows), columns.group.take(rows)
    size = wire.widths(user) + wire.widths(group) + wire.op
    total = np.cumsum(size)
    room = limits.max_bytes - wire.request
    start = 0
    while start < len(rows):
        fits = int(np.searchsorted(total, total[start] - size[start] + room, side="right"))
        stop = min(max(fits, start + 1), start + limits.max_changes)
        cut = slice(start, stop)
        wanted = ((wish, np.flatnonzero(action[cut] == wish) + start) for wish in Action)
        yield tuple(
            Op(wish, user.codes[index], group.codes[index], rows[index], Shape.PAIRS)
            for wish, index in wanted
            if len(index)
        )
        start = stop


def _products(columns: Columns, rows: Ints, action: Action, limits: Limits, wire: Wire) -> Iterator[_Sized]:
    pairs = Pairs.of(columns, rows, wire)
    packer = _Packer(pairs, action, limits, wire)
    if len(pairs.groups) == 1:
        yield from packer.by_group(np.arange(len(rows)))
        return
    buckets = Buckets.of(pairs)
    chosen = buckets.choose(pairs, wire.op)
    yield from packer.products(buckets, chosen)
    is_packed = np.empty(len(pairs.users), bool)
    is_packed[buckets.members] = np.repeat(chosen, buckets.count)
    yield from packer.by_group(np.flatnonzero(~is_packed[pairs.user]))


class _Packer:
    """Turns positions of pairs into ops within the limits."""

    def __init__(self, pairs: Pairs, action: Action, limits: Limits, wire: Wire) -> None:
        self._pairs = pairs
        self._action = action
        self._limits = limits
        self._op = wire.op
        self._room = limits.max_bytes - wire.request - wire.op

    def products(self, buckets: Buckets, chosen: Mask) -> Iterator[_Sized]:
        """These buckets, each as one op where it fits."""
        pairs, limits = self._pairs, self._limits
        first = pairs.first[buckets.members]
        size = pairs.size[buckets.members[buckets.start]]
        width = buckets.users_width + buckets.groups_width
        fits = (buckets.count <= limits.max_users) & (size <= limits.max_groups)
        fits &= (buckets.count * size <= limits.max_changes) & (width <= self._room)
        columns = (column[chosen].tolist() for column in (buckets.start, buckets.count, size, width, fits))
        for start, count, groups, bytes_, is_whole in zip(*columns, strict=True):
            index = first[start : start + count, None] + np.arange(groups)
            if is_whole:
                users = pairs.users.codes[buckets.members[start : start + count]]
                codes = pairs.groups.codes[pairs.group[index[0]]]
                yield Op(self._action, users, codes, pairs.row[index.ravel()], Shape.PRODUCT), self._op + bytes_
            else:
                yield from self._blocks(index)

    def _blocks(self, index: Ints) -> Iterator[_Sized]:
        """A matrix of pair positions, users × groups."""
        pairs, limits = self._pairs, self._limits
        user, group = pairs.user[index[:, 0]], pairs.group[index[0]]
        user_width, group_width = pairs.user_width[user], pairs.group_width[group]
        widest_user, widest_group = int(user_width.max()), int(group_width.max())
        most = max(1, (self._room - widest_user) // widest_group)
        groups = min(len(group), limits.max_groups, limits.max_changes, most)
        most = max(1, (self._room - groups * widest_group) // widest_user)
        users = min(limits.max_users, limits.max_changes // groups, most)
        for top in range(0, len(user), users):
            for left in range(0, len(group), groups):
                down, across = slice(top, top + users), slice(left, left + groups)
                size = self._op + int(user_width[down].sum()) + int(group_width[across].sum())
                rows = pairs.row[index[down, across].ravel()]
                codes = pairs.users.codes[user[down]], pairs.groups.codes[group[across]]
                yield Op(self._action, *codes, rows, Shape.PRODUCT), size

    def by_group(self, index: Ints) -> Iterator[_Sized]:
        """Pairs at these positions, each group with the users that want it."""
        if not len(index):
            return
        pairs, limits = self._pairs, self._limits
        group = pairs.group[index]
        # Few groups fit 16 bits, for which numpy's stable sort counts instead of comparing.
        narrow = group.astype(np.uint16) if len(pairs.groups) <= 1 << 16 else group
        order = np.argsort(narrow, kind="stable")
        index, group = index[order], group[order]
        user = pairs.user[index]
        users, rows, width = pairs.users.codes[user], pairs.row[index], pairs.user_width[user]
        total = np.cumsum(width)
        most = min(limits.max_users, limits.max_changes)
        is_roomy = most * int(width.max()) + int(pairs.group_width.max()) <= self._room
        starts = run_starts(group)
        for start, stop, place in zip(
            starts.tolist(), [*starts[1:].tolist(), len(group)], group[starts].tolist(), strict=True
        ):
            code = pairs.groups.codes[place : place + 1]
            overhead = self._op + int(pairs.group_width[place])
            left = start
            while left < stop:
                before = int(total[left] - width[left])
                end = min(left + most, stop)
                if not is_roomy:
                    fits = int(np.searchsorted(total, before + self._room + self._op - overhead, side="right"))
                    end = min(max(fits, left + 1), end)
                cut = slice(left, end)
                yield (
                    Op(self._action, users[cut], code, rows[cut], Shape.PRODUCT),
                    overhead + int(total[cut.stop - 1]) - before,
                )
                left = cut.stop


def _requests(ops: Iterable[_Sized], columns: Columns, limits: Limits, wire: Wire) -> Iterator[tuple[Op, ...]]:
    """Ops in order, as many per request as the limits allow; an op is cut where much room would stay empty."""
    held: list[Op] = []
    changes, size = 0, wire.request
    worthwhile = max(1, limits.max_changes // _WORTH_A_CUT)
    for op, op_size in ops:
        left, left_size = op, op_size
        too_many = len(held) == limits.max_ops
        if held and (too_many or changes + len(op) > limits.max_changes or size + op_size > limits.max_bytes):
            room = 0 if too_many else limits.max_changes - changes
            if room >= worthwhile:
                count, head_size = _head(op, op_size, room, limits.max_bytes - size, columns.user, wire)
                if count * len(op.groups) >= worthwhile:
                    head, left = cut(op, count)
                    left_size -= head_size
                    held.append(head)
            yield tuple(held)
            held, changes, size = [], 0, wire.request
        held.append(left)
        changes += len(left)
        size += left_size
    if held:
        yield tuple(held)


def _head(op: Op, op_size: int, changes: int, space: int, users: Keys, wire: Wire) -> tuple[int, int]:
    """How many of the op's users fit into what is left of a request, and at least how many bytes they take."""
    if op_size <= space // 2:  # bytes are no matter: they need not be looked at one by one
        return changes // len(op.groups), 0
    widths = wire.widths(Keys(op.users, users.dictionary))
    rest = op_size - int(widths.sum())
    fit = int(np.searchsorted(np.cumsum(widths), space - rest, side="right"))
    count = min(fit, changes // len(op.groups))
    return count, int(widths[:count].sum())


_PACKERS = {Shape.PRODUCT: _by_op, Shape.PAIRS: _lists, Shape.GROUP: _by_group, Shape.GROUPS: _by_groups}
