"""Pairs as 128-bit fingerprints, so that they can be compared across windows, whose codes differ."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from batcher.core.model import Hashes, Key, Keys

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))


def fingerprints(user: Keys, group: Keys) -> Hashes:
    """One row of two 64-bit words per pair. The same id or the same name gives the same words in any window."""
    users, groups = _words(user), _words(group)
    return mix(users * _ODD[1] + mix(groups + np.array(_ODD, np.uint64)))


def mix(words: Hashes) -> Hashes:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that spreads every bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _words(keys: Keys) -> Hashes:
    if keys.entries is None:
        return _of_ids(keys.codes)
    if not keys.entries:
        return np.empty((0, 2), np.uint64)
    used = np.unique(keys.codes)
    table = np.zeros((len(keys.entries), 2), np.uint64)
    for code in used.tolist():
        table[code] = _of_key(keys.entries[code])
    return table[keys.codes]


def _of_ids(ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Hashes:
    return mix(ids.view(np.uint64)[:, None] + np.array(_ODD, np.uint64))


def _of_key(key: Key) -> Hashes:
    if isinstance(key, int):
        return _of_ids(np.array([key], np.int64))[0]  # type: ignore[no-any-return]  # one row
    return np.frombuffer(blake2b(key.encode(), digest_size=16).digest(), np.uint64)
