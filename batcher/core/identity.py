"""128-bit fingerprints of pairs, by which they can be compared across windows, whose codes differ."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from batcher.core.look_alikes import folded_entries
from batcher.core.model import Hashes, Ints, Key, Keys

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))


def fingerprints(user: Keys, group: Keys, *, folds: bool = False) -> Hashes:
    """One row of two 64-bit words per pair. The same id or the same name gives the same words in any window.

    `folds` also gives names that look alike the same words.
    """
    users, groups = _words(user, 2, folds=folds), _words(group, 2, folds=folds)
    return mix(users * _ODD[1] + mix(groups + np.array(_ODD, np.uint64)))


def ordering_words(user: Keys | None, group: Keys) -> Hashes:
    """One 64-bit word per pair (or per group); the same for look-alikes, which the target may treat as one."""
    words = _words(group, 1, folds=True)
    if user is not None:
        words = mix(_words(user, 1, folds=True) * _ODD[1] + mix(words + _ODD[0]))
    return words[:, 0]


def mix(words: Hashes) -> Hashes:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that spreads every bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _words(keys: Keys, count: int, *, folds: bool) -> Hashes:
    """The first one or both of each key's two words."""
    if keys.entries is None:
        return _of_ids(keys.codes, count)
    if not keys.entries:
        return np.empty((0, count), np.uint64)
    used = keys.used()
    table = np.zeros((len(keys.entries), count), np.uint64)
    if not folds:
        entries: Sequence[Key] = keys.values(used)
    elif keys.looks is None:
        entries = folded_entries(keys.values(used))
    else:
        entries = [keys.looks[code] for code in used.tolist()]
    words = b"".join(_of_names(entries) if set(map(type, entries)) == {str} else map(_of_key, entries))
    table[used] = np.frombuffer(words, np.uint64).reshape(-1, 2)[:, :count]
    return table[keys.codes]


def _of_ids(ids: Ints, count: int) -> Hashes:
    return mix(ids.view(np.uint64)[:, None] + np.array(_ODD[:count], np.uint64))


def _of_names(names: Sequence[Key]) -> list[bytes]:
    return [blake2b(name.encode(), digest_size=16).digest() for name in names]  # type: ignore[union-attr]  # all texts


def _of_key(key: Key) -> bytes:
    if isinstance(key, int):
        return _of_ids(np.array([key], np.int64), 2).tobytes()
    return blake2b(key.encode(), digest_size=16).digest()
