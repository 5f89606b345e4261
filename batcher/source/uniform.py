"""Machine-written JSON Lines, in which all lines differ only in three values. Such a block is read like CSV.

The text around the values of the first line is searched for in all lines: each piece is replaced by a control
character, which JSON never contains unescaped. If the control characters are then in the same order on every line, with
nothing before the first and after the last one, every line is the first line with other values.
"""

from __future__ import annotations

import re

import numpy as np
import orjson

from batcher.core.model import Columns, KeyKind
from batcher.source.csv import read_clean
from batcher.source.csv_records import Forms
from batcher.source.layout import Column, Field, Layout
from batcher.source.rules import Form

_MEMBER = re.compile(rb'("[^"\\]*")\s*:\s*(?:"([^"\\]*)"|(-?\d+)(?=\s*[,}]))')
_MARKS = b"\x01\x02\x03\x04"
_ORDER = np.frombuffer(_MARKS + b"\n", np.uint8)
_DELIMITER = "\x1f"
_TO_DELIMITERS = bytes.maketrans(_MARKS[1:3], 2 * _DELIMITER.encode())
_FIRST_CONTROL = 32
"""Bytes below this one are control characters."""


def read_uniform(
    block: bytes, line: int, names: tuple[str, Field, Field], source: int, kind: KeyKind, *, takes_odd: bool
) -> Columns | None:
    """A block of whole lines of such a form, at once; None when it is anything else.

    Args:
        block: The lines.
        line: The number of the first.
        names: The keys of op, user and group.
        source: The number of the input.
        kind: What the target takes.
        takes_odd: Whether names may hold anything.

    """
    op, user, group = names
    first = block.partition(b"\n")[0]
    members = list(_MEMBER.finditer(first))
    keys = [orjson.loads(member[1]) for member in members]
    if b"\\" in block or sorted(keys) != sorted((op, user.name, group.name)):
        return None
    values = [(member[2] or member[3] or b"").decode("utf-8", "replace") for member in members]
    record = orjson.loads(first)
    if values != [str(record[key]) for key in keys]:
        return None  # a match was inside a nested value
    forms = {key: Form.ID if member[2] is None else Form.NAME for key, member in zip(keys, members, strict=True)}
    if forms[op] is Form.ID or any(field.form not in (Form.OPEN, forms[field.name]) for field in (user, group)):
        return None
    text = _marked(block, _pieces(first, members))
    if text is None or b'"' in text:
        return None
    columns = [Column(field.name, ((keys.index(field.name), forms[field.name]),)) for field in (user, group)]
    layout = Layout(len(keys), keys.index(op), columns[0], columns[1], kind, takes_odd=takes_odd)
    rows = text.translate(_TO_DELIMITERS, delete=_MARKS[:1] + _MARKS[-1:])
    return read_clean(rows, line, layout, Forms(), _DELIMITER, source)


def _pieces(first: bytes, members: list[re.Match[bytes]]) -> list[bytes]:
    """The text before, between and after the values, including quotation marks."""
    spans = [member.span(2 if member[3] is None else 3) for member in members]
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(first)]
    return [first[start:end] for start, end in zip(starts, ends, strict=True)]


def _marked(block: bytes, pieces: list[bytes]) -> bytes | None:
    """The block with marks instead of the pieces; None unless each line has each of them, in order."""
    if not block.endswith(b"\n"):
        block += b"\n"
    count = block.count(b"\n")
    if len(_controls(block)) != count:
        return None
    for number, piece in enumerate([*pieces[:-1], pieces[-1] + b"\n"]):
        mark = _MARKS[number : number + 1]
        block = block.replace(piece, mark + b"\n" if number == len(_MARKS) - 1 else mark)
    controls = _controls(block)
    if len(controls) != count * len(_ORDER) or (controls.reshape(count, -1) != _ORDER).any():
        return None
    ends = _MARKS[-1:] + b"\n" + _MARKS[:1]
    is_tight = block.count(ends) == count - 1 and block.startswith(ends[-1:]) and block.endswith(ends[:-1])
    return block if is_tight else None


def _controls(block: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    content = np.frombuffer(block, np.uint8)
    return content[content < _FIRST_CONTROL]
