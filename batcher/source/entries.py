"""Reading one JSON entry: a change, an op, or a part of a target's own document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batcher.core.keys import Key, Word
from batcher.core.model import Action, KeyKind
from batcher.source.cells import plain, unmarked
from batcher.source.layout import Field, Fields, as_key, meant
from batcher.source.refine import PLAIN, Refinement
from batcher.source.rules import Form, Invalid, action_of, id_of, is_integer, name_of, shown

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Part:
    """An entry, and the action of the membership list that it is in, if any."""

    entry: object
    listed: Action | None = None


def parts_of(content: object) -> Iterable[Part]:
    """The entries of a line or a document."""
    if isinstance(content, list):
        return [Part(entry) for entry in content]
    if isinstance(content, dict) and "membership" in map(as_key, content):
        if len(content) > 1:
            return [Part(Invalid("membership must be the only key of its object"))]
        return _membership(next(iter(content.values())))
    return [Part(content)]


def _membership(content: object) -> Iterable[Part]:
    if not isinstance(content, dict) or not content.keys() <= {action.label for action in Action}:
        return [Part(Invalid("membership must be an object with the lists add and remove"))]
    parts: list[Part] = []
    for action in Action:
        listed = content.get(action.label, [])
        if not isinstance(listed, list):
            return [Part(Invalid(f"membership: {action.label} must be a list"))]
        parts += [Part(entry, action) for entry in listed]
    return parts


def _plain(value: object, label: str) -> str:
    """The text that a condition is applied to."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else unmarked(str(value), label)


def _by_key(entry: Mapping[str, object]) -> Mapping[str, object]:
    """An entry with normalised keys.

    Raises:
        Invalid: When two keys become the same.

    """
    found = {as_key(name): value for name, value in entry.items()}
    if len(found) < len(entry):
        keys = list(map(as_key, entry))
        same = [name for name in entry if keys.count(as_key(name)) > 1]
        raise Invalid(f"the keys {' and '.join(map(shown, same))} are the same; give one of them")
    return found


def _asked(entry: Mapping[str, object], column: str) -> str:
    names = list(entry)
    found = meant(column, names)
    if len(found) > 1:
        raise Invalid(f"more than one key for {column}: {', '.join(names[place] for place in found)}; give only one")
    return _plain(entry[names[found[0]]], column) if found else ""


def _as_keys(fields: Sequence[Field]) -> tuple[Field, ...]:
    return tuple(Field(as_key(field.name), field.form) for field in fields)


class Entries:
    """How to read one JSON entry."""

    def __init__(self, fields: Fields, refinement: Refinement = PLAIN) -> None:
        self.kind = fields.kind
        self._fields = Fields(
            tuple(map(as_key, fields.op)),
            _as_keys(fields.user),
            _as_keys(fields.group),
            fields.kind,
            fields.takes_odd,
        )
        self.takes_odd = fields.takes_odd
        self._refinement = refinement

    def plain_names(self, keys: Iterable[str]) -> tuple[str, Field, Field] | None:
        """The keys of op, user and group, if each occurs under exactly one name."""
        if self._refinement is not PLAIN:
            return None
        keys = list(keys)
        present = {as_key(key): key for key in keys}
        if len(present) < len(keys):
            return None
        ops = [present[name] for name in self._fields.op if name in present]
        users = [Field(present[field.name], field.form) for field in self._fields.user if field.name in present]
        groups = [Field(present[field.name], field.form) for field in self._fields.group if field.name in present]
        if not len(ops) == len(users) == len(groups) == 1 or present.keys() & {"users", "groups", "membership"}:
            return None
        if self.kind is KeyKind.INTEGER and Form.NAME in {users[0].form, groups[0].form}:
            return None
        return ops[0], users[0], groups[0]

    def read(self, part: Part, *, in_document: bool) -> tuple[Action, Sequence[Key], Sequence[Key]]:
        """An entry as an action, users and groups; no users and groups if it is filtered out.

        Raises:
            Invalid: When it is not a valid change.

        """
        entry = part.entry
        if isinstance(entry, Invalid):
            raise entry
        if not isinstance(entry, dict):
            raise Invalid(f"not an object: {shown(entry)}")
        entry = _by_key(entry)
        if not self._refinement.counts(lambda column: _asked(entry, column)):
            return Action.ADD, [], []
        action = part.listed if part.listed is not None else self._action(entry)
        if entry.get("path", "/membership") != "/membership":
            raise Invalid(f"path {shown(entry['path'])} is not /membership")
        in_document = in_document or part.listed is not None  # a membership object counts as a document even on a line
        users = self._side(entry, self._fields.user, "user", in_document=in_document)
        groups = self._side(entry, self._fields.group, "group", in_document=in_document)
        return action, users, groups

    def users_of(self, part: Part) -> Sequence[str]:
        """The users of an invalid entry, if they can be read."""
        if not self._refinement.is_feed or not isinstance(part.entry, dict):
            return ()
        try:
            return [str(key) for key in self._side(_by_key(part.entry), self._fields.user, "user", in_document=False)]
        except Invalid:
            return ()

    def _action(self, entry: Mapping[str, object]) -> Action:
        if not self._fields.op:
            return Action.ADD
        present = [name for name in self._fields.op if entry.get(name) is not None]
        if len(present) > 1:
            raise Invalid(f"more than one op: {' and '.join(present)}; give one of them")
        return action_of(entry[present[0]] if present else None)

    def _side(
        self, entry: Mapping[str, object], fields: Sequence[Field], label: str, *, in_document: bool
    ) -> Sequence[Key]:
        """The users or the groups of an entry."""
        plural = f"{label}s"
        beside = [field.name for field in fields if entry.get(field.name) is not None]
        if not self._fields.op and len(beside) == 1 and isinstance(entry[beside[0]], list):
            keys = self._list(entry[beside[0]], label)
        elif plural in entry:
            if beside:
                raise Invalid(f"both {beside[0]} and the list {plural}; give one of them")
            keys = self._list(entry[plural], label)
        elif beside or label == "user" or not self._refinement.constants:
            keys = [self._one(entry, fields, label, in_document=in_document)]
        else:
            keys = []
        return self._refined(keys, label) if self._refinement.reshapes else keys

    def _refined(self, keys: Sequence[Key], label: str) -> Sequence[Key]:
        refine = self._refinement.user if label == "user" else self._refinement.group
        texts = list(refine([str(key) for key in keys]))
        if texts == [str(key) for key in keys]:
            return keys
        if any(isinstance(key, Word) for key in keys):
            return [Word(self._name(text, label)) for text in texts]
        return [id_of(text, label) if self._is_id(text) else self._name(text, label) for text in texts]

    def _is_id(self, text: str) -> bool:
        return self.kind is KeyKind.INTEGER or (self.kind is KeyKind.ANY and is_integer(text))

    def _list(self, values: object, label: str) -> Sequence[Key]:
        if not isinstance(values, list) or not values:
            raise Invalid(f"{label}s must be a non-empty list")
        return [self._key(value, Form.OPEN, label) for value in values]

    def _one(self, entry: Mapping[str, object], fields: Sequence[Field], label: str, *, in_document: bool) -> Key:
        present = [field for field in fields if entry.get(field.name) is not None]
        if not present:
            keys = ", ".join(shown(name) for name in list(entry)[:_SHOWN])
            raise Invalid(f"{label} is missing; the keys are {keys or 'none'}")
        if len(present) > 1:
            raise Invalid(f"more than one {label}: {' and '.join(field.name for field in present)}; give one of them")
        (field,) = present
        form = Form.OPEN if in_document and field.form is Form.ID else field.form
        return self._key(entry[field.name], form, label)

    def _name(self, text: str, label: str) -> str:
        return name_of(text if self.takes_odd else plain(text, label), label, takes_odd=self.takes_odd)

    def _key(self, value: object, form: Form, label: str) -> Key:
        if isinstance(value, str):
            if not value or not (self.takes_odd or value.strip()):
                raise Invalid(f"{label} is empty")
            if self.kind is KeyKind.INTEGER:
                raise Invalid(f"{label} {shown(value)} is a string; this target takes integer ids only")
            if form is Form.ID:
                raise Invalid(f"{label} {shown(value)} is a string under a key for ids; for names use {label}_name")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Invalid(f"{label} is not UTF-8: {shown(value)}") from None
            name = self._name(value, label)
            return Word(name) if form is Form.WORD else name
        if type(value) is not int:
            raise Invalid(f"{label} {shown(value)} is neither an integer (within 64 bits) nor a string")
        if self.kind in (KeyKind.TEXT, KeyKind.LOOKUP):
            raise Invalid(f'{label} {value} is a number, but ids of this target are strings; quote it: "{value}"')
        if form is Form.NAME:
            raise Invalid(f"{label} {value} is a number under a key for names; for ids use {label}_id")
        return id_of(value, label)
