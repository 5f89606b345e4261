"""The nouns of sending: ops, batches, what bounds them, and the final word on their changes. Pure data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from batcher.core.keys import Keys
from batcher.core.model import Action
from batcher.core.vectors import Bytes, Ints


class Shape(Enum):
    """What one request may hold."""

    PRODUCT = "product"
    """ops of every user × every group"""
    PAIRS = "pairs"
    """lists of pairs"""
    GROUP = "group"
    """one op of users to one group"""
    GROUPS = "groups"
    """ops of users to one group each, all of one action; `Limits.max_users` bounds each op"""


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One wire operation over codes of its window.

    `rows` are the window's rows that it represents, one per pair: user by user for a product. An op on one group is a
    product as well.
    """

    action: Action
    users: Ints
    groups: Ints
    rows: Ints
    shape: Shape

    def __len__(self) -> int:
        return len(self.rows)

    def pairs(self) -> tuple[Ints, Ints]:
        """User and group of each row, aligned with `rows`."""
        if self.shape is Shape.PAIRS:
            return self.users, self.groups
        return np.repeat(self.users, len(self.groups)), np.tile(self.groups, len(self.users))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that carried a change: when (UTC seconds), in which batch, its size, and what came back."""

    at: float
    batch: int
    changes: int
    http_status: int | None
    said: str
    lost: bool = False
    """The request may have taken effect although no clear answer came."""
    times: int = 1
    """How often this happened in a row; `at` is then the last time."""
    boot: float = 0.0
    """When, in seconds of the clock that all processes of the machine share (`Clock.shared`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The ops of one request. `user` and `group` give the meaning of their codes."""

    id: int
    window: int
    ops: tuple[Op, ...]
    user: Keys = field(repr=False)
    group: Keys = field(repr=False)
    history: tuple[Attempt, ...] = ()
    """The attempts that carried these changes so far, also inside larger batches."""

    _size: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_size", sum(map(len, self.ops)))  # asked for several times per request

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Ints:
        """The window's rows in wire order."""
        return np.concatenate([op.rows for op in self.ops])

    def pairs(self) -> tuple[Bytes, Ints, Ints]:
        """Action, user code and group code of each row, aligned with `rows`."""
        parts = [op.pairs() for op in self.ops]
        action = np.repeat(np.array([op.action for op in self.ops], np.int8), [len(op) for op in self.ops])
        return action, np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request; `max_users` and `max_groups` are per op and apply to products only."""

    max_users: int
    max_groups: int
    max_ops: int
    max_changes: int
    max_bytes: int
    max_removals: int | None = None
    """Of the changes (of an op, for `Shape.GROUPS`), where fewer of them may be removals; None: as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Receipts:
    """Batches that were each accepted as a whole, by the only request that carried them. One entry per batch."""

    batch: tuple[int, ...]
    changes: tuple[int, ...]
    """How many of the settlement's rows each of them has."""
    at: tuple[float, ...]
    """When the reply came (UTC seconds)."""
    http_status: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Settlement:
    """The outcome of some rows of one window, as recorded in the ledger.

    It is about one batch, or about all batches of its `receipts`, whose rows follow each other.
    """

    window: int
    batch: int
    rows: Ints
    status: Bytes
    details: dict[int, str]
    """Position in `rows` → reason, for rows that have one."""
    at: float
    history: tuple[Attempt, ...]
    receipts: Receipts | None = None

    def each(self) -> Iterator[Settlement]:
        """The same, batch by batch."""
        if self.receipts is None:
            yield self
            return
        start = 0
        columns = (self.receipts.batch, self.receipts.changes, self.receipts.at, self.receipts.http_status)
        for batch, changes, at, http_status in zip(*columns, strict=True):
            cut = slice(start, start + changes)
            history = (Attempt(at, batch, changes, http_status, ""),)
            yield Settlement(self.window, batch, self.rows[cut], self.status[cut], {}, at, history)
            start += changes
