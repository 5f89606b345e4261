"""Changes that are in effect already are not sent: their groups are read first.

That is so with `--skip-unchanged`, and for what a retry finds unknown: reading is safer than sending again, and takes
no more requests. A group is read once, before anything of it is sent: in the first window that names it. Its
members are kept for later windows, in which only pairs count that were not sent meanwhile. Where these are too many to
be kept, the later changes of a group are sent as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.id_forms import forms_of
from batcher.core.keys import Key, Keys
from batcher.core.model import REJECTED_ROW, Action, Columns
from batcher.core.reading import Members, Unread
from batcher.core.vectors import Ints, Mask
from batcher.engine.run.group_reader import GroupReader

_MOST_KEPT = 2_000_000
"""Users whose memberships are kept, of all groups together."""


class Skipper:
    """Finds what need not be sent."""

    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader
        self._kept: dict[Key, pa.Array | None] = {}
        """The members of groups as they were read; None for a group of which that is not known any more."""
        self._sent: dict[Key, list[pa.Array]] = {}
        """Whose memberships are sent in each group, and so are not known any more."""
        self._size = 0

    def __repr__(self) -> str:
        return f"<Skipper {len(self._kept)} groups, {self._size} users>"

    async def unchanged(self, columns: Columns, among: Mask | None = None) -> Mask:
        """Which rows (`among` these) ask for what is so already.

        Raises:
            ReadingFailed: When nothing can be read.
            Abandoned: When the run ends first.

        """
        is_so = np.zeros(len(columns), bool)
        rows_of = _by_group(columns, among)

        async def take(one: Members | Unread) -> None:
            self._kept[one.group] = one.users if isinstance(one, Members) else None
            self._size += len(one.users) if isinstance(one, Members) else 0

        await self._reader.read([group for group in rows_of if group not in self._kept], take)
        for group, rows in rows_of.items():
            is_so[rows] = self._judged(group, columns, rows)
        return is_so

    def _judged(self, group: Key, columns: Columns, rows: Ints) -> Mask:
        """Which of these rows of a group ask for what is so; the others are going to be sent."""
        members = self._kept.get(group)
        is_so: Mask = np.zeros(len(rows), bool)
        if members is None:
            return is_so
        users, place = _users(columns.user, rows)
        if len(members) and not forms_of(users) & forms_of(members):
            return is_so  # it lists its members by something else than these ids
        is_there = _among(users, [members])[place]
        is_known = ~_among(users, self._sent.get(group, []))[place]
        is_so = is_known & ((columns.action[rows] == Action.ADD) == is_there)
        sent = users.take(pa.array(np.unique(place[~is_so])))
        self._size += len(sent)
        if self._size > _MOST_KEPT:
            self._size -= len(members) + sum(map(len, self._sent.pop(group, []))) + len(sent)
            self._kept[group] = None
        elif len(sent):
            self._sent.setdefault(group, []).append(sent)
        return is_so


def _by_group(columns: Columns, among: Mask | None) -> Mapping[Key, Ints]:
    """The valid rows of each group."""
    is_valid = columns.action != REJECTED_ROW
    valid = np.flatnonzero(is_valid if among is None else is_valid & among)
    order = valid[np.argsort(columns.group.codes[valid], kind="stable")]
    if not len(order):
        return {}
    codes, starts = np.unique(columns.group.codes[order], return_index=True)
    return dict(zip(columns.group.values(codes), np.split(order, starts[1:]), strict=True))


def _users(keys: Keys, rows: Ints) -> tuple[pa.Array, Ints]:
    """The different users of these rows, and which of them each row has."""
    distinct, place = np.unique(keys.codes[rows], return_inverse=True)
    known = keys.dictionary
    return pa.array(distinct) if known is None else known.texts.take(pa.array(distinct)), place


def _among(users: pa.Array, others: Sequence[pa.Array]) -> Mask:
    """Which of these users are among others."""
    if not others:
        return np.zeros(len(users), bool)
    known = pa.chunked_array([each.cast(users.type) for each in others])
    found: Mask = pc.is_in(users, value_set=known.combine_chunks()).to_numpy(zero_copy_only=False)
    return found
