"""128-bit fingerprints of pairs, by which they can be compared across windows, whose codes differ; and lane words."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa

from batcher.core.keys import Dictionary, Keys
from batcher.core.text_bytes import hashed, mix
from batcher.core.vectors import Hashes, Ints

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))


def fingerprints(user: Keys, group: Keys, *, folds: bool = False) -> Hashes:
    """One row of two 64-bit words per pair. The same id or the same name gives the same words in any window.

    `folds` also gives names that look alike the same words.
    """
    users, groups = (_fingerprints(keys, folds=folds) for keys in (user, group))
    return mix(users * _ODD[1] + mix(groups + np.array(_ODD, np.uint64)))


def ordering_words(user: Keys | None, group: Keys) -> Hashes:
    """One 64-bit word per pair (or per group); the same for look-alikes, which the target may treat as one."""
    words = _lane_words(group)
    if user is not None:
        words = mix(_lane_words(user) * _ODD[1] + mix(words + _ODD[0]))
    return words


def _lane_words(keys: Keys) -> Hashes:
    known = keys.dictionary
    if known is None:
        return _of_ids(keys.codes, 1)[:, 0]
    return known.made(_hashed_looks)[keys.codes]


def _hashed_looks(dictionary: Dictionary) -> Hashes:
    words = hashed(dictionary.looks)
    if dictionary.is_id is not None:
        words[dictionary.is_id] = _of_ids(_ids_of(dictionary), 1)[:, 0]
    return words


def _fingerprints(keys: Keys, *, folds: bool) -> Hashes:
    """Two words per key."""
    known = keys.dictionary
    if known is None:
        return _of_ids(keys.codes, 2)
    used = keys.used()
    table = np.zeros((len(known), 2), np.uint64)
    texts: list[str] = (known.looks if folds else known.texts).take(pa.array(used)).to_pylist()
    words = b"".join([blake2b(text.encode(), digest_size=16).digest() for text in texts])
    table[used] = np.frombuffer(words, np.uint64).reshape(-1, 2)
    if known.is_id is not None:
        table[known.is_id] = _of_ids(_ids_of(known), 2)
    return table[keys.codes]


def _ids_of(dictionary: Dictionary) -> Ints:
    """The ids in it."""
    texts = dictionary.texts.filter(pa.array(dictionary.is_id))
    return texts.cast(pa.int64()).to_numpy()  # type: ignore[no-any-return]  # untyped


def _of_ids(ids: Ints, count: int) -> Hashes:
    return mix(ids.view(np.uint64)[:, None] + np.array(_ODD[:count], np.uint64))
