"""Columns of users or groups: plain ids, or codes of a dictionary of texts, which stays in Arrow from file to wire.

A Python string per name would cost more than all decisions about it. So texts are hashed, folded, measured, escaped and
encoded as whole columns of bytes, each distinct one once; Python sees the few that a person reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.text_bytes import escaped, lengths_of
from batcher.core.text_folding import fold
from batcher.core.vectors import Ints, Mask

T = TypeVar("T")
Key: TypeAlias = int | str
"""A user or a group as the input names it: an integer is an id, a string is a name."""


class Dictionary:
    """The distinct keys of a column, by their codes. An id among names is kept as its decimal digits."""

    def __init__(self, texts: pa.StringArray, is_id: Mask | None = None) -> None:
        """`is_id` tells which of the texts are ids; None: none of them."""
        self.texts = texts
        self.is_id = is_id
        self._made: dict[Callable[[Dictionary], Any], Any] = {}

    def __repr__(self) -> str:
        return f"<Dictionary of {len(self)}>"

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, code: int) -> Key:
        text: str = self.texts[code].as_py()
        return int(text) if self.is_id is not None and self.is_id[code] else text

    def values(self, codes: Ints) -> list[Key]:
        """What these codes stand for, in their order."""
        texts: list[Key] = self.texts.take(pa.array(codes)).to_pylist()
        if self.is_id is None:
            return texts
        return [int(text) if is_id else text for text, is_id in zip(texts, self.is_id[codes].tolist(), strict=True)]

    @cached_property
    def looks(self) -> pa.StringArray:
        """The folded form of each name (`text_folding`); ids as they are."""
        return self.texts if self.is_id is not None and self.is_id.all() else fold(self.texts)

    @cached_property
    def escaped(self) -> pa.StringArray:
        """The content of each key's JSON string; of an id, its digits."""
        return escaped(self.texts)

    @cached_property
    def widths(self) -> Ints:
        """The bytes of each key's JSON text."""
        widths = lengths_of(self.escaped) + 2
        return widths if self.is_id is None else widths - 2 * self.is_id

    def made(self, make: Callable[[Dictionary], T]) -> T:
        """What the function makes of all keys, made only once."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]  # type: ignore[no-any-return]  # of this type

    def where_id(self, ids: pa.Array, names: pa.Array) -> pa.Array:
        """Per key, from the first argument if it is an id, else from the second."""
        return names if self.is_id is None else pc.if_else(pa.array(self.is_id), ids, names)

    def distinct_by(self, texts: pa.StringArray) -> Ints:
        """For each key, a number that it shares with the keys of its kind that have the same one of these texts."""
        is_own = texts is self.texts or texts.equals(self.texts)
        codes = np.arange(len(self)) if is_own else _numbers(texts.dictionary_encode().indices)
        return codes if self.is_id is None else 2 * codes + self.is_id

    @staticmethod
    def of(entries: Sequence[Key]) -> Dictionary:
        """A dictionary of these distinct keys."""
        is_id = np.array([not isinstance(entry, str) for entry in entries], bool)
        texts = pa.array(map(str, entries) if is_id.any() else entries, pa.string())
        return Dictionary(texts, is_id if is_id.any() else None)

    @staticmethod
    def of_ids(ids: Ints) -> Dictionary:
        """A dictionary of these distinct ids."""
        return Dictionary(pc.cast(pa.array(ids), pa.string()), np.ones(len(ids), bool))

    @staticmethod
    def merged(parts: Sequence[Dictionary]) -> tuple[Dictionary, list[Ints]]:
        """One dictionary of all keys, and for each part the new codes of its keys."""
        texts = pa.concat_arrays([part.texts for part in parts])
        masks = [np.zeros(len(part), bool) if part.is_id is None else part.is_id for part in parts]
        is_id = np.concatenate(masks)
        if is_id.any() and not is_id.all():
            numbers = 2 * _numbers(texts.dictionary_encode().indices) + is_id
            _, first, codes = np.unique(numbers, return_index=True, return_inverse=True)
            merged = Dictionary(texts.take(pa.array(first)), is_id[first])
        else:
            encoded = texts.dictionary_encode()
            codes = _numbers(encoded.indices)
            merged = Dictionary(encoded.dictionary, np.ones(len(encoded.dictionary), bool) if is_id.any() else None)
        return merged, np.split(codes, np.cumsum([len(part) for part in parts])[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """One column of users or groups.

    `codes` are the ids themselves when `dictionary` is None, else positions in it.
    """

    codes: Ints
    dictionary: Dictionary | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.codes)

    def value(self, code: int) -> Key:
        """What one code stands for."""
        return int(code) if self.dictionary is None else self.dictionary[code]

    def values(self, codes: Ints) -> list[Key]:
        """What these codes stand for, in their order."""
        if self.dictionary is None:
            return codes.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any
        return self.dictionary.values(codes)

    def take(self, index: slice | Ints | Mask) -> Keys:
        """Some rows of the same column."""
        return Keys(self.codes[index], self.dictionary)

    @property
    def forms(self) -> int:
        """Bits: 1 when the column holds ids, 2 when it holds names."""
        if not len(self):
            return 0
        if self.dictionary is None:
            return 1
        if self.dictionary.is_id is None:
            return 2
        is_id = self.dictionary.is_id[self.codes]
        return int(is_id.any()) + 2 * int(not is_id.all())

    def used(self) -> Ints:
        """The codes that occur, sorted; only for a column with a dictionary."""
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
        return Keys(np.array(codes, np.int64), Dictionary.of(list(table)))

    @staticmethod
    def encoded(array: pa.DictionaryArray) -> Keys:
        """A column of names that Arrow has dictionary-encoded."""
        return Keys(_numbers(array.indices), Dictionary(array.dictionary))

    @staticmethod
    def concat(parts: Sequence[Keys]) -> Keys:
        """Several columns as one; their dictionaries are merged."""
        if all(part.dictionary is None for part in parts):
            return Keys(np.concatenate([part.codes for part in parts]))
        coded = [part if part.dictionary is not None else _coded(part) for part in parts]
        dictionary, tables = Dictionary.merged([part.dictionary for part in coded if part.dictionary is not None])
        return Keys(np.concatenate([table[part.codes] for table, part in zip(tables, coded, strict=True)]), dictionary)


def _coded(ids: Keys) -> Keys:
    """The same column of ids, with a dictionary."""
    known, codes = np.unique(ids.codes, return_inverse=True)
    return Keys(codes, Dictionary.of_ids(known))


def _numbers(indices: pa.Array) -> Ints:
    """Arrow's indices as codes."""
    return indices.to_numpy().astype(np.int64)  # type: ignore[no-any-return]  # untyped
