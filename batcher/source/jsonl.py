"""JSON Lines and whole JSON documents: changes, op lines, and the targets' own forms.

A line (or an entry of a document) is `{"op": …, "user": …, "group": …}`, an op `{"op": …, "users": […],
"groups": […]}`, an array of those, or Scrutinizer's `{"membership": {"add": […], "remove": […]}}`, whose adds
count before its removes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from batcher.core.errors import InputError
from batcher.core.model import Action, Columns, Key, Keys
from batcher.source.csv_records import lines_of
from batcher.source.layout import Field, Fields
from batcher.source.records import CHUNK_ROWS, Rows, unfold
from batcher.source.refine import PLAIN, Refinement
from batcher.source.rules import LONGEST_NAME, Form, Invalid, action_of, id_of, is_integer, name_of, shown
from batcher.source.uniform import read_uniform

_SMALL_OP = 1024
"""Pairs. Larger ops unfold into stretches of their own."""


class JsonParser:
    """Turns blocks of whole lines into columns."""

    def __init__(self, entries: Entries, source: int) -> None:
        self._entries = entries
        self._source = source

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:  # noqa: ARG002
        """The columns of a block whose first line has this number; nothing is ever left over."""
        clean = read_clean(block, line, self._entries, self._source)
        if clean is not None:
            return iter((clean,)), len(block)
        return read_carefully(block, line, self._entries, self._source), len(block)


def read_document(document: bytes, entries: Entries, source: int, where: str) -> Iterator[Columns]:
    """The columns of a whole document; `line` is the entry's ordinal.

    Raises:
        InputError: When it is no JSON, or neither an array, an op, a change nor a membership object.

    """
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{where}, line {error.lineno}: not valid JSON: {error.msg}; one change per line goes into a .jsonl file"
        ) from None
    if not isinstance(content, list | dict):
        raise InputError(f"{where}: a document must be an array of ops or a membership object")
    yield from _collect(
        ((ordinal, entry) for ordinal, entry in enumerate(parts_of(content), 1)),
        entries,
        source,
        in_document=True,
    )


def read_clean(block: bytes, line: int, entries: Entries, source: int) -> Columns | None:
    """A block of nothing but plain changes of one form, at once; None when anything in it is out of the ordinary."""
    names = entries.plain_names(_keys_of_first(block))
    if names is None:
        return None
    uniform = read_uniform(block, line, *names, source, ids_only=entries.ids_only)
    if uniform is not None:
        return uniform
    try:
        return _read_joined(block, line, *names, source)
    except (KeyError, TypeError, OverflowError):
        return None


def _read_joined(block: bytes, line: int, op: str, user: Field, group: Field, source: int) -> Columns | None:
    """By one parse of all lines joined.

    Each line must begin with the block's only `{` of that line and end with its only `}`; then no value can span
    lines, and the parse gives exactly one object per line.
    """
    if not block.endswith(b"\n"):
        block += b"\n"
    count = block.count(b"\n")
    if not count == block.count(b"{") == block.count(b"\n{") + block.startswith(b"{"):
        return None
    if not count == block.count(b"}") == block.count(b"}\n"):
        return None
    try:
        records: list[dict[str, Any]] = orjson.loads(b"[" + block[:-1].replace(b"\n", b",") + b"]")
    except orjson.JSONDecodeError:
        return None
    keys = records[0].keys()
    if len(records) != count or any(record.keys() != keys for record in records):
        return None
    action = np.array([_CODES[record[op]] for record in records], np.int8)
    users, groups = (_column([record[field.name] for record in records], field) for field in (user, group))
    if users is None or groups is None:
        return None
    return Columns(action, users, groups, np.arange(line, line + count), np.full(count, source, np.int32))


def _keys_of_first(block: bytes) -> Iterable[str]:
    """The keys of the block's first line; none when that is no object."""
    try:
        first = orjson.loads(block.partition(b"\n")[0])
    except orjson.JSONDecodeError:
        return ()
    return first if isinstance(first, dict) else ()


_CODES = {action.label: int(action) for action in Action}


def _column(values: list[Any], field: Field) -> Keys | None:
    types = set(map(type, values))
    if types == {int} and field.form is not Form.NAME:
        return Keys(np.array(values, np.int64))
    if types == {str} and field.form is not Form.ID:
        try:
            array = pa.array(values, pa.string()).dictionary_encode()
        except UnicodeEncodeError:  # a lone surrogate, written as an escape
            return None
        entries = array.dictionary.to_pylist()
        if all(entry and len(entry) <= LONGEST_NAME for entry in entries):
            return Keys(array.indices.to_numpy().astype(np.int64), tuple(entries))
    return None


def read_carefully(block: bytes, line: int, entries: Entries, source: int) -> Iterator[Columns]:
    """Line by line, with a reason for each that is no change."""
    return _collect(_parsed(block, line), entries, source, in_document=False)


def _parsed(block: bytes, line: int) -> Iterator[tuple[int, Part]]:
    for number, text in enumerate(lines_of(block), line):
        if not text.strip():
            continue
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            yield number, Part(Invalid(_why_not_json(text, error)))
        else:
            for part in parts_of(content):
                yield number, part


def _why_not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return f"not UTF-8: {shown(text[:60])}"
    return f"not valid JSON: {error.msg}, column {error.colno}"


@dataclass(frozen=True, slots=True)
class Part:
    """An entry, and the action of the membership list that it stands in, if it stands in one."""

    entry: object
    listed: Action | None = None


def parts_of(content: object) -> Iterable[Part]:
    """The entries of a line or a document."""
    if isinstance(content, list):
        return [Part(entry) for entry in content]
    if isinstance(content, dict) and "membership" in content:
        if len(content) > 1:
            return [Part(Invalid("beside membership nothing else may stand"))]
        return _membership(content["membership"])
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


def _collect(
    parts: Iterable[tuple[int, Part]], entries: Entries, source: int, *, in_document: bool
) -> Iterator[Columns]:
    rows = Rows(source)
    for line, part in parts:
        try:
            action, users, groups = entries.read(part, in_document=in_document)
        except Invalid as invalid:
            rows.reject(line, str(invalid))
        else:
            if len(users) * len(groups) <= _SMALL_OP:
                for user in users:
                    for group in groups:
                        rows.add(line, action, user, group)
            else:
                if len(rows):
                    yield rows.columns()
                yield from unfold(line, action, users, groups, source)
        if len(rows) >= CHUNK_ROWS:
            yield rows.columns()
    if len(rows):
        yield rows.columns()


def _plain(value: object) -> str:
    """What a condition is asked about."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


class Entries:
    """How to read one JSON entry."""

    def __init__(self, fields: Fields, *, ids_only: bool, refinement: Refinement = PLAIN) -> None:
        self.ids_only = ids_only
        self._fields = fields
        self._refinement = refinement

    def plain_names(self, keys: Iterable[str]) -> tuple[str, Field, Field] | None:
        """The keys of op, user and group, when each is there under exactly one name."""
        if self._refinement is not PLAIN:
            return None
        present = set(keys)
        ops = [name for name in self._fields.op if name in present]
        users = [field for field in self._fields.user if field.name in present]
        groups = [field for field in self._fields.group if field.name in present]
        if not len(ops) == len(users) == len(groups) == 1 or present & {"users", "groups", "membership"}:
            return None
        if self.ids_only and Form.NAME in {users[0].form, groups[0].form}:
            return None
        return ops[0], users[0], groups[0]

    def read(self, part: Part, *, in_document: bool) -> tuple[Action, Sequence[Key], Sequence[Key]]:
        """An entry as an action, users and groups; none of these when it does not count.

        Raises:
            Invalid: When it is no change.

        """
        entry = part.entry
        if isinstance(entry, Invalid):
            raise entry
        if not isinstance(entry, dict):
            raise Invalid(f"not an object: {shown(entry)}")
        if not self._refinement.counts(lambda column: _plain(entry.get(column))):
            return Action.ADD, [], []
        action = part.listed if part.listed is not None else self._action(entry)
        if entry.get("path", "/membership") != "/membership":
            raise Invalid(f"path {shown(entry['path'])} is not /membership")
        in_document = in_document or part.listed is not None  # a membership object is a document also on a line
        users = self._side(entry, self._fields.user, "user", in_document=in_document)
        groups = self._side(entry, self._fields.group, "group", in_document=in_document)
        return action, users, groups

    def _action(self, entry: dict[str, object]) -> Action:
        if not self._fields.op:
            return Action.ADD
        present = [name for name in self._fields.op if entry.get(name) is not None]
        if len(present) > 1:
            raise Invalid(f"more than one op: {' and '.join(present)}; give one of them")
        return action_of(entry[present[0]] if present else None)

    def _side(
        self, entry: dict[str, object], fields: Sequence[Field], label: str, *, in_document: bool
    ) -> Sequence[Key]:
        """The users or the groups of an entry."""
        plural = f"{label}s"
        beside = [field.name for field in fields if entry.get(field.name) is not None]
        if plural in entry:
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
        return [id_of(text, label) if self.ids_only or is_integer(text) else name_of(text, label) for text in texts]

    def _list(self, values: object, label: str) -> Sequence[Key]:
        if not isinstance(values, list) or not values:
            raise Invalid(f"{label}s must be a list that is not empty")
        return [self._key(value, Form.OPEN, label) for value in values]

    def _one(self, entry: dict[str, object], fields: Sequence[Field], label: str, *, in_document: bool) -> Key:
        present = [field for field in fields if entry.get(field.name) is not None]
        if not present:
            raise Invalid(f"{label} is missing")
        if len(present) > 1:
            raise Invalid(f"more than one {label}: {' and '.join(field.name for field in present)}; give one of them")
        (field,) = present
        form = Form.OPEN if in_document and field.form is Form.ID else field.form
        return self._key(entry[field.name], form, label)

    def _key(self, value: object, form: Form, label: str) -> Key:
        if isinstance(value, str):
            if not value:
                raise Invalid(f"{label} is empty")
            if self.ids_only:
                raise Invalid(f"{label} {shown(value)} is a text; this target takes integer ids only")
            if form is Form.ID:
                raise Invalid(f"{label} {shown(value)} is a text under the name of an id; for names use {label}_name")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Invalid(f"{label} is not UTF-8: {shown(value)}") from None
            return name_of(value, label)
        if type(value) is not int:
            raise Invalid(f"{label} {shown(value)} is neither an integer (within 64 bits) nor a text")
        if form is Form.NAME:
            raise Invalid(f"{label} {value} is a number under the name of a name; for ids use {label}_id")
        return id_of(value, label)
