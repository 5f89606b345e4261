"""The central data types: changes as columns, windows, positions. Pure data; what is sent stands in `batch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Bytes: TypeAlias = NDArray[np.int8]
Hashes: TypeAlias = NDArray[np.uint64]
Mask: TypeAlias = NDArray[np.bool_]
Key: TypeAlias = int | str
"""A user or a group as the input names it: an integer is an id, a string is a name."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """One column of users or groups.

    `codes` are the ids themselves when `entries` is None, else positions in `entries`.
    """

    codes: Ints
    entries: tuple[Key, ...] | None = None
    looks: Sequence[Key] | None = field(default=None, repr=False)
    """The folded form of each entry (`look_alikes`), if it was computed already."""

    def __len__(self) -> int:
        return len(self.codes)

    def value(self, code: int) -> Key:
        """What one code stands for."""
        return int(code) if self.entries is None else self.entries[code]

    def values(self, codes: Ints) -> list[Key]:
        """What these codes stand for, in their order."""
        if self.entries is None:
            return codes.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any
        return [self.entries[code] for code in codes.tolist()]

    def take(self, index: slice | Ints | Mask) -> Keys:
        """Some rows of the same column."""
        return Keys(self.codes[index], self.entries, self.looks)

    @property
    def forms(self) -> int:
        """Bits: 1 when the column holds ids, 2 when it holds names."""
        if not len(self):
            return 0
        if self.entries is None:
            return 1
        kinds = {type(self.entries[code]) for code in self.used().tolist()}
        return sum(2 if kind is str else 1 for kind in kinds)

    def used(self) -> Ints:
        """The codes that occur, sorted; only for a column with entries."""
        return np.flatnonzero(np.bincount(self.codes, minlength=1))

    def counted(self) -> Iterator[tuple[Key, int]]:
        """Each value that occurs, and how often."""
        codes, counts = np.unique(self.codes, return_counts=True)
        return zip(self.values(codes), counts.tolist(), strict=True)

    @staticmethod
    def of(values: Sequence[Key]) -> Keys:
        """A column of these values; if all are ids, they stay plain numbers."""
        if all(type(value) is int for value in values):
            return Keys(np.array(values, np.int64))
        table: dict[Key, int] = {}
        codes = [table.setdefault(value, len(table)) for value in values]
        return Keys(np.array(codes, np.int64), tuple(table))

    @staticmethod
    def concat(parts: Sequence[Keys]) -> Keys:
        """Several columns as one; their dictionaries are merged."""
        if all(part.entries is None for part in parts):
            return Keys(np.concatenate([part.codes for part in parts]))
        table: dict[Key, int] = {}
        codes: list[Ints] = []
        for part in parts:
            if part.entries is None:
                ids, inverse = np.unique(part.codes, return_inverse=True)
                entries: Sequence[Key] = ids.tolist()
            else:
                entries, inverse = part.entries, part.codes
            merged = np.array([table.setdefault(entry, len(table)) for entry in entries], np.int64)
            codes.append(merged[inverse] if len(merged) else part.codes)
        return Keys(np.concatenate(codes), tuple(table))


@dataclass(frozen=True, slots=True)
class Reject:
    """Why the row at `index` is not a valid change; `users` are the users it is about, if they can be read."""

    index: int
    reason: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A stretch of input: one row per change or rejected line, in input order."""

    action: Bytes
    user: Keys
    group: Keys
    line: Ints
    source: NDArray[np.int32]
    rejects: tuple[Reject, ...] = ()

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
    ANY = "any"
    """an integer is an id, a string is a name"""
