"""Helpers that create columns and batches by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batcher.core.batch import Batch, Op, Shape
from batcher.core.keys import Key, Keys
from batcher.core.model import REJECTED_ROW, Action, Columns, Reject

ACTIONS = {"add": Action.ADD, "remove": Action.REMOVE}


def columns_of(changes: Sequence[tuple[str, Key, Key]], source: int = 0) -> Columns:
    """Columns with these changes; `op` may be `reject`."""
    action = [REJECTED_ROW if op == "reject" else int(ACTIONS[op]) for op, _, _ in changes]
    return Columns(
        np.array(action, np.int8),
        Keys.of([user for _, user, _ in changes]),
        Keys.of([group for _, _, group in changes]),
        np.arange(len(changes)) + 2,
        np.full(len(changes), source, np.int32),
        tuple(Reject(i, "bad") for i, a in enumerate(action) if a == REJECTED_ROW),
    )


def pairs_of(ops: Sequence[Op], user: Keys, group: Keys) -> list[tuple[str, Key, Key]]:
    """The changes that ops ask for."""
    return [
        (op.action.label, u, g)
        for op in ops
        for u, g in zip(
            *(keys.values(codes) for keys, codes in zip((user, group), op.pairs(), strict=True)), strict=True
        )
    ]


def batch_of(changes: Sequence[tuple[str, Key, Key]], number: int = 1) -> Batch:
    """A batch for a target that takes pairs, with one op per action."""
    columns = columns_of(changes)
    ops = []
    for action in Action:
        rows = np.flatnonzero(columns.action == action)
        if len(rows):
            ops.append(Op(action, columns.user.codes[rows], columns.group.codes[rows], rows, Shape.PAIRS))
    return Batch(number, 0, tuple(ops), columns.user, columns.group)


def product_of(action: str, users: Sequence[int], groups: Sequence[int], number: int = 1) -> Batch:
    """A batch with one op for users × groups."""
    rows = np.arange(len(users) * len(groups))
    op = Op(ACTIONS[action], np.array(users), np.array(groups), rows, Shape.PRODUCT)
    empty = np.empty(0, np.int64)
    return Batch(number, 0, (op,), Keys(empty), Keys(empty))


def listed(columns: Columns) -> list[tuple]:
    """The rows of columns as tuples; a rejected line is given by its line number and reason."""
    reasons = {r.index: r.reason for r in columns.rejects}
    return [
        (line, reasons[i]) if i in reasons else (line, ("add", "remove")[action], user, group)
        for i, (line, action, user, group) in enumerate(
            zip(
                columns.line.tolist(),
                columns.action.tolist(),
                columns.user.values(columns.user.codes),
                columns.group.values(columns.group.codes),
                strict=True,
            )
        )
    ]
