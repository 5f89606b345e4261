"""The central data types: changes as columns, windows, positions. Pure data; what is sent stands in `batch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from batcher.core.keys import Keys
from batcher.core.vectors import Bytes, Ints


class Action(IntEnum):
    """What a change wants; the value is the code in `Columns.action`."""

    ADD = 0
    REMOVE = 1

    @property
    def label(self) -> str:
        """The word for it in inputs and requests."""
        return self.name.lower()


REJECTED_ROW = 2
"""The code in `Columns.action` of a line that is not a valid change."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why the row at `index` is not a valid change; `users` are the users it is about, if they can be read."""

    index: int
    reason: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Users and groups as the input named them, one per row; None where none of a column had to be looked up."""

    user: Keys | None
    group: Keys | None

    def take(self, cut: slice) -> Given:
        """Some of the rows."""
        user, group = (None if keys is None else keys.take(cut) for keys in (self.user, self.group))
        return Given(user, group)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A stretch of input: one row per change or rejected line, in input order."""

    action: Bytes
    user: Keys
    group: Keys
    line: Ints
    source: NDArray[np.int32]
    rejects: tuple[Reject, ...] = ()
    given: Given | None = None
    """What the input had instead of ids that were looked up; None if nothing is ever looked up for this target."""

    def __len__(self) -> int:
        return len(self.action)

    def take(self, start: int, stop: int) -> Columns:
        """Rows `start` to `stop`."""
        cut = slice(start, stop)
        rejects = tuple(replace(r, index=r.index - start) for r in self.rejects if start <= r.index < stop)
        return Columns(
            self.action[cut],
            self.user.take(cut),
            self.group.take(cut),
            self.line[cut],
            self.source[cut],
            rejects,
            None if self.given is None else self.given.take(cut),
        )

    @staticmethod
    def concat(parts: Sequence[Columns]) -> Columns:
        """Several stretches as one."""
        if len(parts) == 1:
            return parts[0]
        rejects: list[Reject] = []
        start = 0
        for part in parts:
            rejects += [replace(r, index=start + r.index) for r in part.rejects]
            start += len(part)
        return Columns(
            np.concatenate([p.action for p in parts]),
            Keys.concat([p.user for p in parts]),
            Keys.concat([p.group for p in parts]),
            np.concatenate([p.line for p in parts]),
            np.concatenate([p.source for p in parts]),
            tuple(rejects),
        )


@dataclass(frozen=True, slots=True)
class Position:
    """How far reading had got after a window, so that it can resume there and the input can be verified.

    `offset` counts decompressed bytes of complete records, `skip` the rows already taken from the record after
    them; `digest` covers the bytes before `offset` of this source; `forms` records what the first value
    decided for columns with a neutral header; `end` says that the source was read to its end.
    """

    source: int = 0
    offset: int = 0
    skip: int = 0
    digest: str = ""
    forms: tuple[str, str] = ("", "")
    end: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The stretch of input that is coalesced and packed together."""

    id: int
    first_row: int
    columns: Columns
    position: Position
    ended: tuple[Position, ...] = ()
    """The end positions of sources that were read to their end within this window."""


class KeyKind(Enum):
    """What a target takes for a user and a group."""

    INTEGER = "integer"
    """ids that are integers, and nothing else"""
    TEXT = "text"
    """strings as written, even if they are all digits"""
    LOOKUP = "lookup"
    """the same; what a column for names holds is looked up"""
    ANY = "any"
    """an integer is an id, a string is a name"""
