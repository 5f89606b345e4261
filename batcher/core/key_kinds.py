"""Whether a column holds both ids and names: then a user, or a group, that appears as both is not recognised as one."""

from __future__ import annotations

from batcher.core.model import REJECTED_ROW, Columns

_BOTH = 3


class KeyKinds:
    """The forms of keys (as of `Keys.forms`) that users and groups have had so far."""

    def __init__(self) -> None:
        self._forms = {"user": 0, "group": 0}

    def __repr__(self) -> str:
        return f"<KeyKinds {self._forms}>"

    @property
    def mixed(self) -> list[str]:
        """Which of user and group have both forms."""
        return [part for part, forms in self._forms.items() if forms == _BOTH]

    def look_at(self, columns: Columns) -> list[str]:
        """Note the forms of another window; gives which of user and group have both since then."""
        before = self.mixed
        valid = columns.action != REJECTED_ROW
        for part, keys in (("user", columns.user), ("group", columns.group)):
            self._forms[part] |= keys.take(valid).forms
        return [part for part in self.mixed if part not in before]


def mixed(part: str) -> str:
    """What it means that users, or groups, have both forms, for people."""
    return (
        f"the {part} column holds both ids and names; a {part} that appears as both cannot be recognised as one:"
        " --ordered keeps the order of their changes"
    )
