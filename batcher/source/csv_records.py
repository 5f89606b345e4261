"""CSV record by record, with a reason for each record that is not a valid change."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import NamedTuple

from batcher.core.keys import Key
from batcher.core.model import Action, Columns, KeyKind
from batcher.source import cells
from batcher.source.layout import Column, Layout
from batcher.source.records import Rows
from batcher.source.rules import Form, Invalid, action_of, is_integer, key_of, shown

LONGEST_RECORD = 4 << 20
"""Bytes. A quote that is not closed within this length counts as never closed, wherever blocks are cut."""

_TOO_LONG = "the record is larger than 4 MiB"
_NEVER_CLOSED = "a quote is opened and never closed (within 4 MiB)"
_NOT_CLOSED = re.compile("unexpected end of data|larger than field limit")

csv.field_size_limit(LONGEST_RECORD)  # the module's own default is 128 KiB


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of the user and group columns, as far as they are decided."""

    user: Form = Form.OPEN
    group: Form = Form.OPEN


class Parsed(NamedTuple):
    """The result of a block: its rows, the forms of columns, the bytes of complete records, and their number."""

    columns: Columns
    forms: Forms
    used: int
    records: int


def read_carefully(
    block: bytes,
    line: int,
    layout: Layout,
    forms: Forms,
    delimiter: str,
    source: int,
    *,
    is_last: bool,
) -> Parsed:
    """Parse record by record, with a reason for each record that is not a valid change."""
    lines = lines_of(block)
    texts = [part.decode("utf-8", "surrogateescape") for part in lines]
    ends = [0, *accumulate(map(len, lines))]
    rows = Rows(source)
    start = count = 0
    while start < len(texts):
        reader = csv.reader(islice(texts, start, None), delimiter=delimiter, strict=True)
        first = start
        try:
            for record in reader:
                end = first + reader.line_num
                if ends[end] - ends[start] > LONGEST_RECORD:
                    raise csv.Error(_TOO_LONG)  # noqa: TRY301 — treated like errors of the reader itself
                if any(map(str.strip, record)):  # else only delimiters, as spreadsheets leave them at the end
                    forms = _row(rows, record, line + start, layout, forms)
                    count += 1
                start = end
        except csv.Error as error:
            never_closed = _NOT_CLOSED.search(str(error)) is not None
            if never_closed and not is_last and ends[-1] - ends[start] <= LONGEST_RECORD:
                break
            rows.reject(line + start, _NEVER_CLOSED if never_closed else str(error))
            start += 1
            count += 1
    return Parsed(rows.columns(), forms, ends[start], count)


def lines_of(block: bytes) -> list[bytes]:
    """Physical lines, including their line breaks; only LF ends a line."""
    lines = [part + b"\n" for part in block.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _row(rows: Rows, record: Sequence[str], line: int, layout: Layout, forms: Forms) -> Forms:
    """Add one record's changes or reject; returns the forms, which the record may have decided."""
    refinement = layout.refinement
    try:
        _check_width(record, layout.width)
        if layout.is_header_again(record):
            layout.check_order(record, line)
            raise Invalid("the header is repeated: a second export within the file?")  # noqa: TRY301 — like any other reason
        if layout.others and not refinement.counts(lambda column: _other(layout, record, column)):
            return forms
        user, user_form = _filled(layout, layout.user, record)
        group, group_form = _filled(layout, layout.group, record)
        users = refinement.user([user])
        groups = refinement.group([group])
        forms = Forms(_decide(forms.user, user_form, users), _decide(forms.group, group_form, groups))
        action = Action.ADD if layout.op is None else action_of(_plain(layout, record[layout.op], "op"))
        user_keys = _keys(layout, layout.user, users, user_form, forms.user)
        group_keys = _keys(layout, layout.group, groups, group_form, forms.group)
    except Invalid as invalid:
        rows.reject(line, str(invalid), _whose(layout, record, forms))
        return forms
    for one in user_keys:
        for other in group_keys:
            rows.add(line, action, one, other)
    return forms


def _whose(layout: Layout, record: Sequence[str], forms: Forms) -> Sequence[str]:
    """The users of an invalid record; empty if they cannot be read, or are not valid names or ids."""
    if not layout.refinement.is_feed or len(record) != layout.width:
        return ()
    try:
        user, given = _filled(layout, layout.user, record)
        return [str(key) for key in _keys(layout, layout.user, layout.refinement.user([user]), given, forms.user)]
    except Invalid:
        return ()


def _check_width(record: Sequence[str], width: int) -> None:
    if len(record) != width:
        how = "few" if len(record) < width else "many"
        raise Invalid(f"too {how} fields: {len(record)}, the header has {width}")


def _other(layout: Layout, record: Sequence[str], column: str) -> str:
    """The cell that the refinement asks for, including its mark if cells have marks."""
    place = layout.others.get(column)
    if place is None:
        return ""
    text = _text(record[place], column)
    return text if layout.has_marks else cells.unmarked(text, column)


def _plain(layout: Layout, text: str, label: str, form: Form = Form.OPEN) -> str:
    if layout.takes_odd and not layout.has_marks:
        return text
    text = text if layout.has_marks else cells.unmarked(text, label)
    return cells.plain(text, label, is_id=layout.kind is KeyKind.INTEGER or form is Form.ID)


def _filled(layout: Layout, column: Column, record: Sequence[str]) -> tuple[str, Form]:
    """The value of a record for a user or a group, and the form that the header specifies."""
    filled = [
        (_plain(layout, record[place], column.label, given), given) for place, given in column.places if record[place]
    ]
    if len(filled) > 1:
        raise Invalid(f"both an id and a name for the {column.label}; fill only one of them")
    if filled:
        return filled[0]
    return "", column.places[0][1] if column.places else Form.OPEN


_OF_KIND = {KeyKind.INTEGER: Form.ID, KeyKind.TEXT: Form.NAME, KeyKind.LOOKUP: Form.NAME}


def _decide(form: Form, given: Form, texts: Sequence[str]) -> Form:
    if form or given or not texts or not texts[0] or (not texts[0].isascii() and _is_broken(texts[0])):
        return form
    return Form.ID if is_integer(texts[0]) else Form.NAME


def _keys(layout: Layout, column: Column, texts: Sequence[str], given: Form, decided: Form) -> list[Key]:
    if layout.kind is KeyKind.INTEGER and given is Form.NAME and texts and texts[0]:
        raise Invalid(f"{column.label} {shown(texts[0])} is a name; this target takes integer ids only")
    form = given or _OF_KIND.get(layout.kind, decided)
    is_decided, odd = given is Form.OPEN, layout.takes_odd
    return [
        key_of(
            _text(_plain(layout, text, column.label), column.label),
            form,
            column.label,
            decided=is_decided,
            takes_odd=odd,
        )
        for text in texts
    ]


def _text(text: str, label: str) -> str:
    if _is_broken(text):
        raise Invalid(f"{label} is not UTF-8: {shown(text)} (another encoding? --encoding windows-1252)")
    return text


def _is_broken(text: str) -> bool:
    """Whether the bytes were not UTF-8; such bytes decode to lone surrogates."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)
