"""Rows that are collected one by one, and ops that unfold into many rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from batcher.core.keys import Key, Keys
from batcher.core.model import REJECTED_ROW, Action, Columns, Reject

CHUNK_ROWS = 1 << 17
"""How many rows one op unfolds into at a time."""


class Rows:
    """Collects changes and rejects in input order."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._action: list[int] = []
        self._user: list[Key] = []
        self._group: list[Key] = []
        self._line: list[int] = []
        self._rejects: list[Reject] = []

    def __len__(self) -> int:
        return len(self._action)

    def add(self, line: int, action: Action, user: Key, group: Key) -> None:
        """One change."""
        self._action.append(action)
        self._user.append(user)
        self._group.append(group)
        self._line.append(line)

    def reject(self, line: int, reason: str, users: Sequence[str] = ()) -> None:
        """One line that is not a valid change. Its key columns get filler values, so that ids stay plain numbers."""
        self._rejects.append(Reject(len(self._action), reason, tuple(users)))
        self._action.append(REJECTED_ROW)
        self._user.append(0)
        self._group.append(0)
        self._line.append(line)

    def columns(self) -> Columns:
        """All rows as columns; the collection is empty afterwards."""
        columns = Columns(
            np.array(self._action, np.int8),
            _keys(self._user, self._action),
            _keys(self._group, self._action),
            np.array(self._line, np.int64),
            np.full(len(self._action), self._source, np.int32),
            tuple(self._rejects),
        )
        self.__init__(self._source)  # type: ignore[misc]  # start afresh
        return columns


def _keys(values: list[Key], action: list[int]) -> Keys:
    """A column in which rejected rows hold 0, or the first name if the others are names."""
    filler = next((v for v, a in zip(values, action, strict=True) if a != REJECTED_ROW), 0)
    if isinstance(filler, str):
        values = [filler if a == REJECTED_ROW else v for v, a in zip(values, action, strict=True)]
    return Keys.of(values)


def unfold(line: int, action: Action, users: Sequence[Key], groups: Sequence[Key], source: int) -> Iterator[Columns]:
    """Every user × every group, user by user, never more than about `CHUNK_ROWS` rows at a time."""
    user, group = Keys.of(users), Keys.of(groups)
    wide = min(len(groups), CHUNK_ROWS)
    tall = max(1, CHUNK_ROWS // wide)
    for top in range(0, len(users), tall):
        for left in range(0, len(groups), wide):
            some, others = user.codes[top : top + tall], group.codes[left : left + wide]
            count = len(some) * len(others)
            yield Columns(
                np.full(count, action, np.int8),
                Keys(np.repeat(some, len(others)), user.dictionary),
                Keys(np.tile(others, len(some)), group.dictionary),
                np.full(count, line, np.int64),
                np.full(count, source, np.int32),
            )
