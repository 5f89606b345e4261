"""From the values of a clean block, as Arrow columns, to `Columns`. None of these says why it declines a block."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batcher.core.keys import Keys
from batcher.core.model import Action, Columns
from batcher.core.text_bytes import lengths_of
from batcher.core.vectors import Bytes, Ints
from batcher.core.wire import total_digits
from batcher.source.layout import Layout
from batcher.source.names import are_ordinary
from batcher.source.rules import Form, Invalid, action_of, are_any_integers


def clean_columns(
    op: pa.DictionaryArray | None, user: pa.Array, group: pa.Array, layout: Layout, line: int, source: int
) -> Columns | None:
    """The columns, if every value is one that can be used as it is written.

    Args:
        op: The ops; None if the layout has none.
        user: The users: integers, or names with a dictionary.
        group: The groups, likewise.
        layout: What the columns mean.
        line: The number of the first line; each row is a line.
        source: The number of the input.

    """
    action = np.full(len(user), Action.ADD, np.int8) if op is None else _actions(op)
    users, groups = (
        _keys(array, layout, column.places[0][1]) for array, column in ((user, layout.user), (group, layout.group))
    )
    if action is None or users is None or groups is None:
        return None
    lines = np.arange(line, line + len(user))
    return Columns(action, users, groups, lines, np.full(len(user), source, np.int32))


def plain_length(array: pa.Array) -> int:
    """The bytes of all values, written plainly."""
    if pa.types.is_int64(array.type):
        return total_digits(array.to_numpy())
    if pa.types.is_dictionary(array.type):
        return int(lengths_of(array.dictionary)[array.indices.to_numpy()].sum())
    return int(lengths_of(array).sum())


def _actions(array: pa.DictionaryArray) -> Bytes | None:
    try:
        codes = np.array([action_of(text) for text in array.dictionary.to_pylist()], np.int8)
    except Invalid:
        return None
    indices: Ints = array.indices.to_numpy()
    return codes[indices]


def _keys(array: pa.Array, layout: Layout, form: Form) -> Keys | None:
    if pa.types.is_int64(array.type):
        return Keys(array.to_numpy())
    if not are_ordinary(array.dictionary, layout.words, takes_odd=layout.takes_odd):
        return None
    if form is Form.OPEN and are_any_integers(array.dictionary):
        return None
    return Keys.encoded(array, are_words=form is Form.WORD)
