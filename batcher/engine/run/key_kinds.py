"""Detects columns that hold both ids and names: a user who appears as both cannot be recognised as one."""

from __future__ import annotations

import logging

from batcher.core.model import REJECTED_ROW, Columns

_log = logging.getLogger(__name__)
_BOTH = 3


class KeyKindWatch:
    """Warns once per column, unless the order of the input is kept anyway."""

    def __init__(self, *, is_ordered: bool) -> None:
        self._is_ordered = is_ordered
        self._forms = {"user": 0, "group": 0}

    def __repr__(self) -> str:
        return f"<KeyKindWatch {self._forms}>"

    def look_at(self, columns: Columns) -> None:
        """Check another window."""
        valid = columns.action != REJECTED_ROW
        for part, keys in (("user", columns.user), ("group", columns.group)):
            before = self._forms[part]
            self._forms[part] |= keys.take(valid).forms
            if self._forms[part] == _BOTH != before and not self._is_ordered:
                _log.warning(
                    "the %s column holds both ids and names; a %s that appears as both cannot be recognised as one:"
                    " --ordered keeps the order of their changes",
                    part,
                    part,
                )
