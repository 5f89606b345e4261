"""How a record of an HR export is interpreted: whether it counts, which users and which groups it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase

from batcher.core.errors import ConfigurationError
from batcher.source.cells import compared, day
from batcher.source.mapping import Table
from batcher.source.rules import Invalid, shown

OPS = ("op", "action")
"""Columns that files of changes have and feeds do not."""
DEFAULT_VALIDITY = ("valid_from", "valid_to")
"""Columns that are used if they exist."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A column's value must (`is_wanted`) or must not match a pattern of `*`, `?` and `[…]`."""

    column: str
    pattern: str
    is_wanted: bool

    @staticmethod
    def parse(text: str) -> Condition:
        """`status=active`, `EmpID!=Total*`, `EmpID!=` (not empty).

        Raises:
            ConfigurationError: When it is not of this form.

        """
        column, equals, pattern = text.partition("=")
        is_wanted = not column.endswith("!")
        column = column.removesuffix("!").strip()
        if not equals or not column:
            raise ConfigurationError(f"invalid --where {text!r}; expected COLUMN=PATTERN or COLUMN!=PATTERN")
        return Condition(column, pattern.strip(), is_wanted)

    def holds(self, value: str) -> bool:
        """Whether a value meets the condition, ignoring surrounding blanks."""
        return fnmatchcase(value.strip(), self.pattern) is self.is_wanted


@dataclass(frozen=True, slots=True)
class Validity:
    """The columns with the first and the last day on which a record is valid, and the day in question."""

    starts: str
    ends: str
    as_of: date
    form: str = ""
    """The date format for `strptime`; empty means ISO 8601."""

    def holds(self, starts: str, ends: str) -> bool:
        """Whether the day is within these bounds; an empty bound means no bound.

        Raises:
            Invalid: When a bound is not a date.

        """
        return not (
            (starts and self._day(starts, self.starts) > self.as_of)
            or (ends and self._day(ends, self.ends) < self.as_of)
        )

    def _day(self, cell: str, column: str) -> date:
        text, is_iso = day(cell, column)
        form = "" if is_iso else self.form
        try:
            moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 — days
        except ValueError:
            wanted = self.form or "2026-11-22"
            raise Invalid(f"{column} {shown(text)} is not a date like {wanted} (feed.date_format)") from None
        return moment.date()


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """How records become users and groups, as strings; which of them are ids is decided later, as for any input."""

    where: tuple[Condition, ...] = ()
    validity: Validity | None = None
    separator: str = ""
    """Separates several groups in one field."""
    constants: tuple[str, ...] = ()
    """Groups that every user gets."""
    users: Mapping[str, Sequence[str]] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    is_feed: bool = False
    """Whether records list desired memberships; none of them is a removal."""

    @property
    def reshapes(self) -> bool:
        """Whether users or groups differ from the content of their fields."""
        return bool(self.separator or self.constants) or self.users is not None or self.groups is not None

    def counts(self, value: Callable[[str], str]) -> bool:
        """Whether a record counts; `value` returns its content in a column.

        Raises:
            Invalid: When a validity date cannot be read, or the op of a feed is remove.

        """
        if self.is_feed and any(compared(value(column), column).strip().lower() == "remove" for column in OPS):
            raise Invalid(
                "the op is remove, but a feed lists who is to be a member (for files of changes: batcher apply)"
            )
        if not all(condition.holds(compared(value(condition.column), condition.column)) for condition in self.where):
            return False
        validity = self.validity
        return validity is None or validity.holds(value(validity.starts).strip(), value(validity.ends).strip())

    def user(self, texts: Sequence[str]) -> Sequence[str]:
        """The target's users for the users in a record.

        Raises:
            Invalid: When the mapping does not contain one.

        """
        if self.users is None:
            return texts
        return [user for text in texts for user in (_mapped(self.users, text.strip(), "user") if text else [text])]

    def group(self, texts: Sequence[str]) -> Sequence[str]:
        """The target's groups for the groups in a record, including the constant ones.

        Raises:
            Invalid: When the mapping does not contain one.

        """
        parts = list(texts)
        if self.separator:
            parts = [part for text in texts for piece in text.split(self.separator) if (part := piece.strip())]
        elif self.constants:
            parts = [text for text in texts if text]
        if self.groups is not None:
            parts = [group for part in parts for group in _mapped(self.groups, part.strip(), "group")]
        return [*parts, *self.constants]


PLAIN = Refinement()
"""Every record counts and is used unchanged."""


def _mapped(table: Mapping[str, Sequence[str]], text: str, label: str) -> Sequence[str]:
    found = table.get(text)
    if found is None:
        if isinstance(table, Table):
            table.check_header(text)
        raise Invalid(f"{label} {shown(text)} is not in the mapping file")
    return found
