"""Which column or key holds what: accepted names, `--map`, and ids next to names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from batcher.core.errors import ConfigurationError, InputError
from batcher.core.model import KeyKind
from batcher.source.cells import heading
from batcher.source.refine import DEFAULT_VALIDITY, OPS, PLAIN, Refinement
from batcher.source.rules import UNSEEN, Form

MOST_COLUMNS = 10_000
"""Every column costs memory while reading, even ignored ones."""

_SHOWN = 20
_UNSEEN = re.compile(UNSEEN)


_ALIASES: dict[str, tuple[str, Form]] = {
    "op": ("op", Form.OPEN),
    "action": ("op", Form.OPEN),
    "user": ("user", Form.OPEN),
    "user_id": ("user", Form.ID),
    "user_name": ("user", Form.NAME),
    "group": ("group", Form.OPEN),
    "group_id": ("group", Form.ID),
    "usergroup_id": ("group", Form.ID),
    "group_name": ("group", Form.NAME),
    "usergroup_name": ("group", Form.NAME),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One place where a value may be: the header or key as written, and the form of its values."""

    name: str
    form: Form


@dataclass(frozen=True, slots=True)
class Fields:
    """The accepted names of a record's parts; a feed, which lists the desired memberships, has no `op`."""

    op: tuple[str, ...]
    user: tuple[Field, ...]
    group: tuple[Field, ...]
    kind: KeyKind
    takes_odd: bool = False
    """Whether names may contain any characters, and look like damage by a spreadsheet."""

    @staticmethod
    def of(
        mapping: Mapping[str, str], kind: KeyKind = KeyKind.ANY, *, is_feed: bool = False, takes_odd: bool = False
    ) -> Fields:
        """The accepted names; what `mapping` names replaces them (`{"user": "EmpID"}`).

        Raises:
            ConfigurationError: When a key of the mapping is not one of our columns.

        """
        for key in mapping:
            if key not in _ALIASES:
                raise ConfigurationError(
                    f"--map: {key!r} is not one of {', '.join(_ALIASES)}; expected e.g. user=EmpID"
                )
        mapped = {_ALIASES[key][0] for key in mapping}
        names = {alias: alias for alias, (part, _) in _ALIASES.items() if part not in mapped} | dict(mapping)

        def fields(part: str) -> tuple[Field, ...]:
            return tuple(
                Field(names[alias], _form_of(form, kind))
                for alias, (owner, form) in _ALIASES.items()
                if owner == part and alias in names
            )

        ops = () if is_feed else tuple(field.name for field in fields("op"))
        return Fields(ops, fields("user"), fields("group"), kind, takes_odd)


def _form_of(form: Form, kind: KeyKind) -> Form:
    """What a name's own form means for a target of this kind: where ids are texts, everything is one."""
    if kind is KeyKind.LOOKUP:
        return Form.WORD if form is Form.NAME else Form.NAME
    if kind is KeyKind.TEXT:
        return Form.NAME
    return Form.ID if kind is KeyKind.INTEGER and form is Form.OPEN else form


@dataclass(frozen=True, slots=True)
class Column:
    """Where a CSV record holds a user or a group: one index, or two for id and name; none for constant groups."""

    label: str
    places: tuple[tuple[int, Form], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A parsed CSV header."""

    width: int
    op: int | None
    """None if every record means the same: to be a member."""
    user: Column
    group: Column
    kind: KeyKind
    refinement: Refinement = PLAIN
    others: Mapping[str, int] = field(default_factory=dict)
    """The positions of the columns that the refinement needs."""
    words: frozenset[str] = frozenset()
    """Words of the header; a record that has only such words in its columns is a repeated header."""
    has_marks: bool = False
    """Whether cells are marked with their types, as those of spreadsheets are."""
    dates: tuple[str, ...] = ()
    """The columns with validity dates, as the header names them."""
    takes_odd: bool = False
    where: str = ""
    names: tuple[str, ...] = ()
    """The normalised names in the header."""

    def check_order(self, header: Sequence[str], line: int) -> None:
        """Check that a repeated header has its columns in the same places as the first one.

        Raises:
            InputError: When it has not: then the meaning of the lines after it is not known.

        """
        places = [place for column in (self.user, self.group) for place, _ in column.places]
        if any(as_key(header[place]) != self.names[place] for place in places):
            raise InputError(
                f"{self.where}, line {line}: another header, with different columns; pass each export as its own file"
            )

    @property
    def is_plain(self) -> bool:
        """Whether every record is a change and its fields are used unchanged."""
        return not self.others and not self.refinement.reshapes

    def is_header_again(self, record: Sequence[str]) -> bool:
        """Whether a record (of the header's width) has column names where it should have values."""
        places = [place for column in (self.user, self.group) for place, _ in column.places]
        places += [] if self.op is None else [self.op]
        filled = [as_key(record[place]) for place in places if record[place]]
        return bool(filled) and not self.takes_odd and self.words.issuperset(filled)

    @staticmethod
    def of(
        header: Sequence[str], fields: Fields, where: str, refinement: Refinement = PLAIN, *, has_marks: bool = False
    ) -> Layout:
        """Find the parts in a header; case, surrounding blanks and invisible characters do not matter.

        Raises:
            InputError: When a part is missing or occurs more than once, or there are too many columns.

        """
        if len(header) > MOST_COLUMNS:
            raise InputError(
                f"{where}: the header has {len(header)} columns, at most {MOST_COLUMNS} can be read; remove those"
                " that are not needed"
            )
        names = [as_key(heading(name) if has_marks else name) for name in header]

        def places(part: str, wanted: Sequence[Field]) -> tuple[tuple[int, Form], ...]:
            found = [(i, f.form) for f in wanted for i, name in enumerate(names) if name == as_key(f.name)]
            if not found:
                accepted = ", ".join(field.name for field in wanted)
                raise InputError(
                    f"{where}: no column for the {part}; the header has {_shown(header)}, one of"
                    f" {accepted} is needed (or name yours: --map {part}=YOURS; another delimiter: --delimiter)"
                )
            forms = [form for _, form in found]
            pair = sorted(forms) in ([Form.ID, Form.NAME], [Form.NAME, Form.WORD])  # an id and a name
            if len(found) > 1 and not pair:
                raise InputError(f"{where}: {len(found)} columns for the {part}; name one with --map {part}=YOURS")
            return tuple(found)

        op = places("op", [Field(name, Form.OPEN) for name in fields.op])[0][0] if fields.op else None
        group: tuple[tuple[int, Form], ...] = ()
        if not refinement.constants or any(name == as_key(f.name) for f in fields.group for name in names):
            group = places("group", fields.group)
        others = _others(names, refinement, where)
        validity = refinement.validity
        bounds = (validity.starts, validity.ends) if validity else ()
        return Layout(
            len(header),
            op,
            Column("user", places("user", fields.user)),
            Column("group", group),
            fields.kind,
            refinement,
            others,
            frozenset(names) | frozenset(_ALIASES),
            has_marks,
            tuple(f"{column}: {header[others[column]]!r}" for column in bounds if column in others),
            fields.takes_odd,
            where,
            tuple(names),
        )


@lru_cache(4096)
def as_key(name: str) -> str:
    """The normalised name of a column or a key."""
    return _UNSEEN.sub("", unicodedata.normalize("NFC", name)).strip().lower()


def meant(column: str, names: Sequence[str]) -> list[int]:
    """The positions of a date column; the default columns are also found as `Valid From` or `validFrom`."""
    exact = [place for place, name in enumerate(names) if name == as_key(column)]
    if column not in DEFAULT_VALIDITY:
        return exact
    return [place for place, name in enumerate(names) if _squeezed(name) == _squeezed(column)]


def _squeezed(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _others(names: Sequence[str], refinement: Refinement, where: str) -> dict[str, int]:
    """The positions of columns for conditions and validity; the latter may be missing unless they were configured."""
    places: dict[str, int] = {}
    validity = refinement.validity
    for column in [condition.column for condition in refinement.where]:
        if as_key(column) not in names:
            raise InputError(f"{where}: there is no column {column!r} for --where; the header has {_shown(names)}")
        if names.count(as_key(column)) > 1:
            raise InputError(f"{where}: column {column!r} of --where is ambiguous: the header has it twice")
        places[column] = names.index(as_key(column))
    for column in (validity.starts, validity.ends) if validity else ():
        found = meant(column, names)
        if len(found) > 1:
            several = ", ".join(repr(names[place]) for place in found)
            raise InputError(
                f"{where}: more than one column for {column}: {several}; name the right one with feed.{column}"
            )
        if found:
            places[column] = found[0]
        elif column not in DEFAULT_VALIDITY:
            raise InputError(f"{where}: there is no column {column!r} for dates; the header has {_shown(names)}")
    for column in OPS if refinement.is_feed else ():
        if column in names:
            places[column] = names.index(column)
    return places


def _shown(header: Sequence[str]) -> str:
    more = f" and {len(header) - _SHOWN} more" if len(header) > _SHOWN else ""
    return ", ".join(map(repr, header[:_SHOWN])) + more
