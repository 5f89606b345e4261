"""Machine-written JSON Lines, in which all lines differ only in three values. Such a block is read without parsing.

The text around the values of the first line must be the same on every line. It contains all quotation marks of a line,
since a value that contains one is written with a backslash, and blocks with a backslash are declined. So if every line
has as many quotation marks as the first, their places show where each piece of that text is, and the values are what is
between the pieces.
"""

from __future__ import annotations

import re
from itertools import accumulate

import numpy as np
import orjson
import pyarrow as pa

from batcher.core.model import Columns, KeyKind
from batcher.core.text_bytes import bytes_of
from batcher.core.vectors import Ints, Mask
from batcher.source.clean_columns import clean_columns, plain_length
from batcher.source.layout import Column, Field, Layout
from batcher.source.rules import Form

_MEMBER = re.compile(rb'("[^"\\]*")\s*:\s*(?:"([^"\\]*)"|(-?\d+)(?=\s*[,}]))')
_QUOTE, _NEWLINE = ord('"'), ord("\n")
_FIRST_CONTROL = 32
"""Bytes below this one are control characters."""
_WORD = 8


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
    for field in (user, group):
        if field.form is Form.WORD and forms[field.name] is Form.NAME:
            forms[field.name] = Form.WORD
    if forms[op] is Form.ID or any(field.form not in (Form.OPEN, forms[field.name]) for field in (user, group)):
        return None
    texts = _values(block, _pieces(first, members))
    if texts is None:
        return None
    arrays = [_typed(texts[keys.index(key)], forms[key]) for key in (op, user.name, group.name)]
    if any(array is None for array in arrays):
        return None
    columns = [Column(field.name, ((keys.index(field.name), forms[field.name]),)) for field in (user, group)]
    layout = Layout(len(keys), keys.index(op), columns[0], columns[1], kind, takes_odd=takes_odd)
    if kind is KeyKind.INTEGER and Form.NAME in (forms[user.name], forms[group.name]):
        return None
    return clean_columns(arrays[0], arrays[1], arrays[2], layout, line, source)


def _pieces(first: bytes, members: list[re.Match[bytes]]) -> list[bytes]:
    """The text before, between and after the values, including quotation marks."""
    spans = [member.span(2 if member[3] is None else 3) for member in members]
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(first)]
    return [first[start:end] for start, end in zip(starts, ends, strict=True)]


def _values(block: bytes, pieces: list[bytes]) -> list[pa.StringArray] | None:
    """The text between the pieces of each line; None unless each line has each of them, in order."""
    if not block.endswith(b"\n"):
        block += b"\n"
    content = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(content == _NEWLINE)
    count, quotes = len(newlines), np.flatnonzero(content == _QUOTE)
    each = [piece.count(b'"') for piece in pieces]
    if len(quotes) != count * sum(each) or np.count_nonzero(content < _FIRST_CONTROL) != count:
        return None
    places = quotes.reshape(count, -1)
    # Each piece but the first and the last begins where its first quotation mark says; those two are at the ends.
    starts = np.empty((count, len(pieces)), np.int64)
    starts[0, 0], starts[1:, 0], starts[:, -1] = 0, newlines[:-1] + 1, newlines - len(pieces[-1])
    for place, before in enumerate(accumulate(each[:-2]), 1):
        starts[:, place] = places[:, before] - pieces[place].index(b'"')
    ends = starts + [len(piece) for piece in pieces]
    if (starts[:, 1:] < ends[:, :-1]).any() or (starts[0] < 0).any():
        return None
    if not all((_at(content, starts[:, place], piece)).all() for place, piece in enumerate(pieces)):
        return None
    bounds = np.append(np.stack([starts, ends], axis=2).ravel(), len(content)).astype(np.int32)
    whole = pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(block))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8
        return None
    step = 2 * len(pieces)
    return [whole.take(pa.array(np.arange(2 * place + 1, len(whole), step))) for place in range(len(pieces) - 1)]


def _at(content: np.ndarray[tuple[int], np.dtype[np.uint8]], starts: Ints, piece: bytes) -> Mask:
    """Whether the bytes from each start on are the piece."""
    equal = np.ones(len(starts), bool)
    done = 0
    while len(piece) - done >= _WORD:
        words = np.ndarray(max(0, len(content) - _WORD + 1), np.uint64, content, strides=(1,))
        equal &= words[starts + done] == np.frombuffer(piece, np.uint64, 1, done)
        done += _WORD
    for place in range(done, len(piece)):
        equal &= content[starts + place] == piece[place]
    return equal


def _typed(texts: pa.StringArray, form: Form) -> pa.Array | None:
    """Names with their dictionary, or integers that are written plainly."""
    if form is not Form.ID:
        return texts.dictionary_encode()
    try:
        integers = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    is_plain = plain_length(integers) == plain_length(texts) and not _may_be_hexadecimal(texts)
    return integers if is_plain else None


def _may_be_hexadecimal(texts: pa.StringArray) -> bool:
    return b"x" in (content := bytes_of(texts)) or b"X" in content
