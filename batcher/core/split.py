"""Halving a batch: its ops, then the users of an op, then its groups, down to one pair."""

from __future__ import annotations

import numpy as np

from batcher.core.batch import Op, Shape
from batcher.core.vectors import Mask


def cut(op: Op, users: int) -> tuple[Op, Op]:
    """Cut a product in two: its first `users` users, and the others."""
    rows = users * len(op.groups)
    return (
        Op(op.action, op.users[:users], op.groups, op.rows[:rows], op.shape),
        Op(op.action, op.users[users:], op.groups, op.rows[rows:], op.shape),
    )


def halves(ops: tuple[Op, ...]) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """Two parts that together ask for exactly the same pairs.

    Raises:
        ValueError: For a single pair.

    """
    if len(ops) > 1:
        middle = len(ops) // 2
        return ops[:middle], ops[middle:]
    (op,) = ops
    if len(op) == 1:
        msg = "one pair cannot be halved"
        raise ValueError(msg)
    if op.shape is Shape.PAIRS:
        middle = len(op) // 2
        return (_entries(op, slice(None, middle)),), (_entries(op, slice(middle, None)),)
    if len(op.users) > 1:
        head, tail = cut(op, len(op.users) // 2)
        return (head,), (tail,)
    rows = op.rows.reshape(len(op.users), len(op.groups))
    middle = len(op.groups) // 2
    return (
        (Op(op.action, op.users, op.groups[:middle], rows[:, :middle].ravel(), op.shape),),
        (Op(op.action, op.users, op.groups[middle:], rows[:, middle:].ravel(), op.shape),),
    )


def first_alone(ops: tuple[Op, ...]) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """One change on its own, and the others; together they ask for exactly the same pairs.

    Raises:
        ValueError: For a single pair.

    """
    first, *rest = ops
    if len(first) == 1:
        if not rest:
            msg = "one pair has no others"
            raise ValueError(msg)
        return (first,), tuple(rest)
    if first.shape is Shape.PAIRS:
        return (_entries(first, slice(None, 1)),), (_entries(first, slice(1, None)), *rest)
    if len(first.users) > 1:
        head, tail = cut(first, 1)
        if len(head) == 1:
            return (head,), (tail, *rest)
        first, rest = head, [tail, *rest]
    one, others = (
        Op(first.action, first.users, first.groups[part], first.rows[part], first.shape)
        for part in (slice(None, 1), slice(1, None))
    )
    return (one,), (others, *rest)


def select(ops: tuple[Op, ...], wanted: Mask) -> tuple[Op, ...]:
    """The ops reduced to the rows in `wanted` (aligned with the batch's rows).

    A product of several groups becomes one op per group, since what is left of it may not be a product.
    """
    parts = np.split(wanted, np.cumsum([len(op) for op in ops])[:-1])
    return tuple(kept for op, part in zip(ops, parts, strict=True) if part.any() for kept in _selected(op, part))


def _selected(op: Op, wanted: Mask) -> list[Op]:
    if op.shape is Shape.PAIRS:
        return [_entries(op, wanted)]
    rows, matrix = op.rows.reshape(len(op.users), -1), wanted.reshape(len(op.users), -1)
    columns = [(place, matrix[:, place]) for place in range(len(op.groups)) if matrix[:, place].any()]
    return [
        Op(op.action, op.users[users], op.groups[place : place + 1], rows[users, place], op.shape)
        for place, users in columns
    ]


def _entries(op: Op, index: slice | Mask) -> Op:
    return Op(op.action, op.users[index], op.groups[index], op.rows[index], op.shape)
