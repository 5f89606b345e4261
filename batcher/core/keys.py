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
from batcher.core.vectors import Bytes, Ints, Mask

T = TypeVar("T")
NAME, ID, WORD = range(3)
"""The kinds of keys in a dictionary."""
_KINDS = 3
Key: TypeAlias = int | str
"""A user or a group as the input names it: an integer is an id, a string is a name."""


class Word(str):
    """A name whose id is to be looked up before anything else; never equal to the same text as an id."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((Word, str(self)))


class Dictionary:
    """The distinct keys of a column, by their codes. An id among names is kept as its decimal digits."""

    def __init__(self, texts: pa.StringArray, is_id: Mask | None = None, is_word: Mask | None = None) -> None:
        """`is_id` tells which of the texts are ids, `is_word` which of them are words; None: none of them."""
        self.texts = texts
        self.is_id = is_id
        self.is_word = is_word
        self._made: dict[Callable[[Dictionary], Any], Any] = {}

    def __repr__(self) -> str:
        return f"<Dictionary of {len(self)}>"

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, code: int) -> Key:
        return self.values(np.array([code]))[0]

    def values(self, codes: Ints) -> list[Key]:
        """What these codes stand for, in their order."""
        texts: list[Key] = self.texts.take(pa.array(codes)).to_pylist()
        if self.is_word is not None:
            texts = [
                Word(text) if is_word else text
                for text, is_word in zip(texts, self.is_word[codes].tolist(), strict=True)
            ]
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
        return codes if self.is_id is None and self.is_word is None else _KINDS * codes + self.kinds

    @property
    def kinds(self) -> Bytes:
        """`NAME`, `ID` or `WORD` for each key."""
        kinds = np.zeros(len(self), np.int8)
        for kind, mask in ((ID, self.is_id), (WORD, self.is_word)):
            if mask is not None:
                kinds[mask] = kind
        return kinds

    @staticmethod
    def of(entries: Sequence[Key]) -> Dictionary:
        """A dictionary of these distinct keys."""
        is_id = np.array([not isinstance(entry, str) for entry in entries], bool)
        is_word = np.array([isinstance(entry, Word) for entry in entries], bool)
        texts = pa.array(map(str, entries) if is_id.any() else entries, pa.string())
        return Dictionary(texts, is_id if is_id.any() else None, is_word if is_word.any() else None)

    @staticmethod
    def of_ids(ids: Ints) -> Dictionary:
        """A dictionary of these distinct ids."""
        return Dictionary(pc.cast(pa.array(ids), pa.string()), np.ones(len(ids), bool))

    @staticmethod
    def merged(parts: Sequence[Dictionary]) -> tuple[Dictionary, list[Ints]]:
        """One dictionary of all keys, and for each part the new codes of its keys."""
        texts = pa.concat_arrays([part.texts for part in parts])
        kinds = np.concatenate([part.kinds for part in parts])
        if len(kinds) and (kinds != kinds[0]).any():
            numbers = _KINDS * _numbers(texts.dictionary_encode().indices) + kinds
            _, first, codes = np.unique(numbers, return_index=True, return_inverse=True)
            texts, kinds = texts.take(pa.array(first)), kinds[first]
        else:
            encoded = texts.dictionary_encode()
            codes, texts = _numbers(encoded.indices), encoded.dictionary
            kinds = np.repeat(kinds[:1], len(texts))
        masks = (kinds == kind if (kinds == kind).any() else None for kind in (ID, WORD))
        merged = Dictionary(texts, *masks)
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
    def encoded(array: pa.DictionaryArray, *, are_words: bool = False) -> Keys:
        """A column of names, or of words, that Arrow has dictionary-encoded."""
        is_word = np.ones(len(array.dictionary), bool) if are_words else None
        return Keys(_numbers(array.indices), Dictionary(array.dictionary, is_word=is_word))

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


def words_of(keys: Keys) -> list[str] | None:
    """The words in a column, each once; None if it has none."""
    known = keys.dictionary
    if known is None or known.is_word is None:
        return None
    return known.texts.filter(pa.array(known.is_word)).to_pylist()  # type: ignore[no-any-return]  # untyped
