"""Changes that are in effect already are not sent: their groups are read first.

That is so with `--skip-unchanged`, and for what a retry finds unknown: reading is safer than sending again, and takes
no more requests. A group is read once, in the first window that names it: nothing of it was sent by this run then, so
that what is read is what the changes find. In later windows its changes are sent as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.keys import Key, Keys
from batcher.core.model import REJECTED_ROW, Action, Columns
from batcher.core.reading import Members, Unread
from batcher.core.vectors import Ints, Mask
from batcher.engine.run.group_reader import GroupReader


class Skipper:
    """Finds what need not be sent."""

    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader
        self._known: set[Key] = set()
        """The groups that earlier windows have named."""

    def __repr__(self) -> str:
        return f"<Skipper {len(self._known)} groups>"

    async def unchanged(self, columns: Columns, among: Mask | None = None) -> Mask:
        """Which rows (`among` these) ask for what is so already.

        Raises:
            ReadingFailed: When nothing can be read.
            Abandoned: When the run ends first.

        """
        is_so = np.zeros(len(columns), bool)
        rows_of = {group: rows for group, rows in _by_group(columns, among).items() if group not in self._known}
        self._known |= rows_of.keys()

        async def take(one: Members | Unread) -> None:
            if isinstance(one, Members):
                rows = rows_of[one.group]
                is_there = _are_among(columns.user, rows, one.users)
                is_so[rows] = (columns.action[rows] == Action.ADD) == is_there

        await self._reader.read(rows_of, take)
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


def _are_among(keys: Keys, rows: Ints, users: pa.Array) -> Mask:
    """Which of these rows' users are among some."""
    distinct, place = np.unique(keys.codes[rows], return_inverse=True)
    known = keys.dictionary
    mine = pa.array(distinct) if known is None else known.texts.take(pa.array(distinct))
    found: Mask = pc.is_in(mine, value_set=users.cast(mine.type)).to_numpy(zero_copy_only=False)
    return found[place]
