"""JSON Lines and whole JSON documents: changes, op lines, and the targets' own forms.

A line (or an entry of a document) is `{"op": …, "user": …, "group": …}`, an op `{"op": …, "users": […],
"groups": […]}`, an array of those, or Scrutinizer's `{"membership": {"add": […], "remove": […]}}`, whose adds
count before its removes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from batcher.core.errors import InputError
from batcher.core.keys import Keys
from batcher.core.model import Action, Columns
from batcher.core.wholeness import Content
from batcher.source.csv_records import lines_of
from batcher.source.entries import Entries, Part, parts_of
from batcher.source.formats import Format
from batcher.source.inputs import Input, Reading
from batcher.source.json_text import count_keys, loads
from batcher.source.layout import Field
from batcher.source.lines import Lines, Waits
from batcher.source.names import are_ordinary
from batcher.source.records import CHUNK_ROWS, Rows, unfold
from batcher.source.rules import Form, Invalid, shown
from batcher.source.uniform import read_uniform

_SMALL_OP = 1024
"""Pairs. Larger ops are unfolded into stretches of their own."""


class _JsonParser:
    def __init__(self, source: int, item: Input, how: Reading, memory: tuple[str, str] = ("", "")) -> None:  # noqa: ARG002 — nothing is decided by the first record
        self._entries = Entries(how.fields, how.refinement)
        self._source = source
        self._where = item.name
        self.records = 0
        """So many were read."""

    def begin(self, lines: Lines) -> Iterator[Waits]:  # noqa: ARG002 — there is no header
        """See `Parser`."""
        return iter(())

    def memory(self) -> tuple[str, str]:
        """See `Parser`."""
        return "", ""

    def describe(self, content: Content, lines: Lines) -> None:
        """See `Parser`."""
        content.rows, content.trailer = self.records, lines.trailer_rows


class JsonLinesParser(_JsonParser):
    """See `Parser`: lines, each with a change, an op or a membership object."""

    takes_whole = False

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:  # noqa: ARG002
        """See `Parser`; nothing is ever left over.

        Raises:
            InputError: When the input is one document of several lines.

        """
        if line == 1:
            _refuse_document(block, self._where)
        clean = read_clean(block, line, self._entries, self._source)
        if clean is not None:
            self.records += len(clean)
            return iter((clean,)), len(block)
        self.records += sum(1 for text in lines_of(block) if text.strip())
        return read_carefully(block, line, self._entries, self._source), len(block)


class JsonDocumentParser(_JsonParser):
    """See `Parser`: a whole document."""

    takes_whole = True

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:  # noqa: ARG002
        """See `Parser`."""
        self.records, chunks = read_document(block, self._entries, self._source, self._where)
        return chunks, len(block)


def _claims(block: bytes, suffix: str, *, is_lines: bool) -> bool:
    """Whether an input is JSON: lines where the first is JSON by itself, unless it is all of a `.json` file."""
    first, _, rest = block.strip().partition(b"\n")
    if suffix != ".json" and (suffix or first[:1] not in {b"{", b"["}):
        return False
    return (_is_json(first) and bool(rest or not suffix)) is is_lines


JSON_LINES = Format(
    "jsonl",
    (".jsonl", ".ndjson"),
    lambda block, suffix: suffix in {".jsonl", ".ndjson"} or _claims(block, suffix, is_lines=True),
    JsonLinesParser,
)
JSON = Format("json", (".json",), lambda block, suffix: _claims(block, suffix, is_lines=False), JsonDocumentParser)


def read_document(document: bytes, entries: Entries, source: int, where: str) -> tuple[int, Iterator[Columns]]:
    """How many entries a whole document has, and its columns; `line` is the entry's ordinal.

    Raises:
        InputError: When it is not JSON, or neither an array, an op, a change nor a membership object.

    """
    try:
        content = loads(document)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{where}, line {error.lineno}: not valid JSON: {error.msg}; if it holds one change per line, use .jsonl"
        ) from None
    except Invalid as invalid:
        raise InputError(f"{where}: {invalid}") from None
    if not isinstance(content, list | dict):
        raise InputError(f"{where}: a document must be an array of ops or a membership object")
    parts = list(enumerate(parts_of(content), 1))
    return len(parts), _collect(parts, entries, source, in_document=True)


def read_clean(block: bytes, line: int, entries: Entries, source: int) -> Columns | None:
    """A block of plain changes with the same keys, at once; None if anything in it is out of the ordinary."""
    names = entries.plain_names(_keys_of_first(block))
    if names is None:
        return None
    uniform = read_uniform(block, line, names, source, entries.kind, takes_odd=entries.takes_odd)
    if uniform is not None:
        return uniform
    try:
        return _read_joined(block, line, *names, source, takes_odd=entries.takes_odd)
    except (KeyError, TypeError, OverflowError):
        return None


def _read_joined(
    block: bytes, line: int, op: str, user: Field, group: Field, source: int, *, takes_odd: bool
) -> Columns | None:
    """Parse all lines at once, joined.

    Each line must begin with its only `{` and end with its only `}`; then no value can span lines, and the result has
    exactly one object per line.
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
    if count_keys(block) != count * len(keys):  # a key may occur twice
        return None
    action = np.array([_CODES[record[op]] for record in records], np.int8)
    users, groups = (
        _column([record[field.name] for record in records], field, takes_odd=takes_odd) for field in (user, group)
    )
    if users is None or groups is None:
        return None
    return Columns(action, users, groups, np.arange(line, line + count), np.full(count, source, np.int32))


def _keys_of_first(block: bytes) -> Iterable[str]:
    """The keys of the block's first line; empty if that is not an object."""
    try:
        first = orjson.loads(block.partition(b"\n")[0])
    except orjson.JSONDecodeError:
        return ()
    return first if isinstance(first, dict) else ()


_CODES = {action.label: int(action) for action in Action}


def _column(values: list[Any], field: Field, *, takes_odd: bool) -> Keys | None:
    types = set(map(type, values))
    if types == {int} and field.form in (Form.OPEN, Form.ID):
        return Keys(np.array(values, np.int64))
    if types == {str} and field.form is not Form.ID:
        try:
            array = pa.array(values, pa.string()).dictionary_encode()
        except UnicodeEncodeError:  # a lone surrogate, written as an escape
            return None
        if are_ordinary(array.dictionary, takes_odd=takes_odd):
            return Keys.encoded(array, are_words=field.form is Form.WORD)
    return None


def read_carefully(block: bytes, line: int, entries: Entries, source: int) -> Iterator[Columns]:
    """Line by line, with a reason for each line that is not a valid change."""
    return _collect(_parsed(block, line), entries, source, in_document=False)


def _parsed(block: bytes, line: int) -> Iterator[tuple[int, Part]]:
    for number, text in enumerate(lines_of(block), line):
        if not text.strip():
            continue
        try:
            content = loads(text)
        except orjson.JSONDecodeError as error:
            yield number, Part(Invalid(_why_not_json(text, error)))
        except Invalid as invalid:
            yield number, Part(invalid)
        else:
            for part in parts_of(content):
                yield number, part


def _refuse_document(block: bytes, where: str) -> None:
    """Refuse a document of several lines: lines of it may happen to be entries, and some would be applied."""
    lines = (text for text in lines_of(block) if text.strip())
    first, second = next(lines, b"{}"), next(lines, b"")
    if first.strip()[:1] in {b"{", b"["} and _is_begun(first) and not _is_change(second):
        raise InputError(
            f"{where}: the first line begins a JSON document of several lines; give the file the extension .json"
            " (or use --format json), or put each change on a line of its own"
        )


def _is_change(text: bytes) -> bool:
    """Whether a line is a complete entry, so that the line before it is just a truncated one."""
    return text.lstrip()[:1] == b"{" and text.rstrip()[-1:] == b"}" and _is_json(text)


def _is_begun(text: bytes) -> bool:
    """Whether the only error in a JSON text is that it ends too early."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return error.pos >= len(text.decode("utf-8", "replace").rstrip())
    return False


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _why_not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return f"not UTF-8: {shown(text[:60])}"
    return f"not valid JSON: {error.msg}, column {error.colno}"


def _collect(
    parts: Iterable[tuple[int, Part]], entries: Entries, source: int, *, in_document: bool
) -> Iterator[Columns]:
    rows = Rows(source)
    for line, part in parts:
        try:
            action, users, groups = entries.read(part, in_document=in_document)
        except Invalid as invalid:
            rows.reject(line, str(invalid), entries.users_of(part))
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
