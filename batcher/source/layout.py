"""Which column or key holds what: accepted names, `--map`, and ids beside names."""

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
"""Reading costs memory for each, also for those that are ignored."""

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
    """One place where a value may stand: the header or key as written, and what the values are."""

    name: str
    form: Form


@dataclass(frozen=True, slots=True)
class Fields:
    """The names under which a record's parts are looked for; a feed, which says what is to be, has no `op`."""

    op: tuple[str, ...]
    user: tuple[Field, ...]
    group: tuple[Field, ...]
    kind: KeyKind
    takes_odd: bool = False
    """Whether names may hold anything, and look like what a spreadsheet leaves."""

    @staticmethod
    def of(
        mapping: Mapping[str, str], kind: KeyKind = KeyKind.ANY, *, is_feed: bool = False, takes_odd: bool = False
    ) -> Fields:
        """The accepted names; what `mapping` names replaces them (`{"user": "EmpID"}`).

        Raises:
            ConfigurationError: When the mapping's left side is no column of ours.

        """
        for key in mapping:
            if key not in _ALIASES:
                raise ConfigurationError(f"--map: {key!r} is none of {', '.join(_ALIASES)}; write user=EmpID")
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
    if kind is KeyKind.TEXT:
        return Form.NAME
    return Form.ID if kind is KeyKind.INTEGER and form is Form.OPEN else form


@dataclass(frozen=True, slots=True)
class Column:
    """Where a CSV record holds a user or a group: one index, or an id's and a name's; none for constant groups."""

    label: str
    places: tuple[tuple[int, Form], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A CSV header, understood."""

    width: int
    op: int | None
    """None where every record means the same: be a member."""
    user: Column
    group: Column
    kind: KeyKind
    refinement: Refinement = PLAIN
    others: Mapping[str, int] = field(default_factory=dict)
    """Where the columns stand that the refinement asks for."""
    words: frozenset[str] = frozenset()
    """What stands in a header, and in a record of names only when the header comes again."""
    has_marks: bool = False
    """Whether cells tell what they are, as those of spreadsheets do."""
    dates: tuple[str, ...] = ()
    """Columns of dates of validity, as the header names them."""
    takes_odd: bool = False
    where: str = ""
    names: tuple[str, ...] = ()
    """The header's, as they are compared."""

    def check_order(self, header: Sequence[str], line: int) -> None:
        """See that a header that comes again has its columns where the first one has them.

        Raises:
            InputError: When it has not: then nobody knows what the lines after it say.

        """
        places = [place for column in (self.user, self.group) for place, _ in column.places]
        if any(as_key(header[place]) != self.names[place] for place in places):
            raise InputError(
                f"{self.where}, line {line}: another header, with other columns; give each export by itself"
            )

    @property
    def is_plain(self) -> bool:
        """Whether records are what their fields say, each a change."""
        return not self.others and not self.refinement.reshapes

    def is_header_again(self, record: Sequence[str]) -> bool:
        """Whether a record of the file's width names columns where it should hold values."""
        places = [place for column in (self.user, self.group) for place, _ in column.places]
        places += [] if self.op is None else [self.op]
        filled = [as_key(record[place]) for place in places if record[place]]
        return bool(filled) and not self.takes_odd and self.words.issuperset(filled)

    @staticmethod
    def of(
        header: Sequence[str], fields: Fields, where: str, refinement: Refinement = PLAIN, *, has_marks: bool = False
    ) -> Layout:
        """Find the parts in a header; case, blanks around names, and characters that nobody sees do not matter.

        Raises:
            InputError: When a part is missing, or stands there more than once, or there are too many columns.

        """
        if len(header) > MOST_COLUMNS:
            raise InputError(
                f"{where}: the header has {len(header)} columns, at most {MOST_COLUMNS} can be read; leave out what is"
                " not needed"
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
            pair = len(found) == 2 and sorted(forms) == [Form.ID, Form.NAME]  # noqa: PLR2004 — an id and a name
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
    """A column's name, or a key's, as it is compared."""
    return _UNSEEN.sub("", unicodedata.normalize("NFC", name)).strip().lower()


def meant(column: str, names: Sequence[str]) -> list[int]:
    """Where a column of dates stands; those that are looked for by themselves also as `Valid From` or `validFrom`."""
    exact = [place for place, name in enumerate(names) if name == as_key(column)]
    if column not in DEFAULT_VALIDITY:
        return exact
    return [place for place, name in enumerate(names) if _squeezed(name) == _squeezed(column)]


def _squeezed(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _others(names: Sequence[str], refinement: Refinement, where: str) -> dict[str, int]:
    """Where the columns stand of which a record's worth depends; those of validity may be missing, unless named."""
    places: dict[str, int] = {}
    validity = refinement.validity
    for column in [condition.column for condition in refinement.where]:
        if as_key(column) not in names:
            raise InputError(f"{where}: there is no column {column!r} for --where; the header has {_shown(names)}")
        if names.count(as_key(column)) > 1:
            raise InputError(f"{where}: which column {column!r} is meant by --where? The header has it twice")
        places[column] = names.index(as_key(column))
    for column in (validity.starts, validity.ends) if validity else ():
        found = meant(column, names)
        if len(found) > 1:
            several = ", ".join(repr(names[place]) for place in found)
            raise InputError(f"{where}: which column has the dates of {column}: {several}? feed.{column} names it")
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
