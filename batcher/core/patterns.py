"""Users and groups that are meant by patterns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import translate

from batcher.core.model import Key


class Patterns:
    """Matches whole names, or ids as written, against patterns of `*`, `?` and `[…]`; upper and lower case differ."""

    def __init__(self, patterns: Collection[str]) -> None:
        self._matches = re.compile("|".join(map(translate, patterns))).match if patterns else None

    def __bool__(self) -> bool:
        return self._matches is not None

    def among(self, keys: Iterable[Key]) -> Iterator[Key]:
        """Those that are meant."""
        if self._matches is not None:
            yield from (key for key in keys if self._matches(str(key)))
