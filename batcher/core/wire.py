"""How many bytes changes take in a request, computed without encoding them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batcher.core.batch import Shape
from batcher.core.keys import Dictionary, Keys
from batcher.core.text_bytes import escaped, lengths_of
from batcher.core.vectors import Ints

_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Wire:
    """A dialect's cost model. All figures are bytes and upper bounds.

    For a product, an op costs `op`, and each of its keys `id_key` or `name_key` in addition to its JSON text;
    for pairs the same applies per entry.
    """

    shape: Shape
    request: int
    op: int
    id_key: int
    name_key: int
    nests_names: bool = False
    """Whether a name is a JSON string within another one."""

    def widths(self, keys: Keys) -> Ints:
        """The bytes of each row's key, including its overhead."""
        known = keys.dictionary
        if known is None:
            return digits(keys.codes) + self.id_key
        widths = known.made(_nested_widths) if self.nests_names else known.widths
        if known.is_id is None:
            return widths[keys.codes] + self.name_key
        return widths[keys.codes] + np.where(known.is_id[keys.codes], self.id_key, self.name_key)


def _nested_widths(known: Dictionary) -> Ints:
    return lengths_of(escaped(known.escaped)) + 2


def total_digits(ids: Ints) -> int:
    """The sum of `digits`, several times faster if the ids have similar lengths."""
    if not len(ids):
        return 0
    low, high = int(ids.min()), int(ids.max())
    if low < 0:
        return int(digits(ids).sum())
    shortest, longest = len(str(low)), len(str(high))
    return shortest * len(ids) + sum(int((ids >= 10**power).sum()) for power in range(shortest, longest))


def digits(ids: Ints) -> Ints:
    """Characters of each integer in decimal, sign included."""
    # The absolute value of the least 64-bit integer overflows; its width is that of the second least.
    absolute = np.abs(np.maximum(ids, -(2**63) + 1))
    return np.searchsorted(_POWERS, absolute, side="right") + 1 + (ids < 0)
