"""Users and groups that match patterns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import translate

from batcher.core.keys import Dictionary, Key
from batcher.core.text_folding import folded


class Patterns:
    """Matches whole names, or ids as written, against patterns of `*`, `?` and `[…]`, case-sensitively.

    With `folds`, look-alikes of matching names match, too.
    """

    def __init__(self, patterns: Collection[str], *, folds: bool = False) -> None:
        self._folds = folds
        patterns = list(map(folded, patterns)) if folds else patterns
        self._matches = re.compile("|".join(map(translate, patterns))).match if patterns else None

    def __bool__(self) -> bool:
        return self._matches is not None

    def among(self, keys: Iterable[Key]) -> Iterator[Key]:
        """The keys that match."""
        if self._matches is None:
            return
        keys = list(keys)
        names = Dictionary.of(keys).looks.to_pylist() if self._folds and keys else keys
        yield from (key for key, name in zip(keys, names, strict=True) if self._matches(str(name)))
