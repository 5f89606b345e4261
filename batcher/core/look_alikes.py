"""Names that people, and many targets, take for one: unlike in case, in form, in blanks, or in what nobody sees.

Whether a target tells them apart is a fact about the target. Where it is not known, nothing is done that would hurt if
it does not: of two changes of look-alike pairs that contradict each other, neither is sent.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.coalesce import coalesce
from batcher.core.model import REJECTED_ROW, Columns, Ints, Key, Keys, Mask, Reject
from batcher.core.order import order_of, run_starts

_BLANKS = r"[\s\p{Z}]+"
_UNSEEN = r"[\p{Cc}\p{Cf}]"
_SEPARATOR = "\0"
_UNUSUAL_ASCII = r"[\x00-\x20\x7f]"


class Names(Enum):
    """What a target makes of names that look alike."""

    UNSURE = "unsure"
    """nobody has said"""
    FOLDED = "folded"
    """they are one name"""
    EXACT = "exact"
    """they are several"""


def fold(names: pa.StringArray) -> pa.StringArray:
    """What look-alikes have in common: NFC, folded case, single blanks, none of them at the ends, nothing invisible.

    Case is folded as in Unicode's full folding (Unicode Standard, 5.18): `ß` is `ss`, `ς` is `σ`.
    """
    if not len(names):
        return names
    if pc.all(pc.string_is_ascii(names)).as_py() is not False:
        names = pc.ascii_lower(names)
        if not pc.any(pc.match_substring_regex(names, _UNUSUAL_ASCII)).as_py():
            return names
    names = pc.replace_substring_regex(pc.replace_substring_regex(names, _BLANKS, " "), _UNSEEN, "")
    # One text of all names, of which none has the separator any more: Python folds it at the speed of C.
    text = unicodedata.normalize("NFC", _SEPARATOR.join(names.to_pylist())).casefold()
    return pc.utf8_trim_whitespace(pa.array(unicodedata.normalize("NFC", text).split(_SEPARATOR), pa.string()))


def folded(name: str) -> str:
    """The same of one name."""
    return str(fold(pa.array([name], pa.string()))[0].as_py())


def folded_entries(entries: tuple[Key, ...]) -> list[Key]:
    """The names of a column's entries, folded; ids as they are."""
    if all(isinstance(entry, str) for entry in entries):
        return fold(pa.array(entries, pa.string())).to_pylist()  # type: ignore[no-any-return]  # untyped
    texts = [entry for entry in entries if isinstance(entry, str)]
    names = iter(fold(pa.array(texts, pa.string())).to_pylist())
    return [next(names) if isinstance(entry, str) else entry for entry in entries]


def twins(keys: Keys) -> Ints | None:
    """For each entry the code of the first one that looks like it; None when no two entries do."""
    if keys.entries is None or len(keys.entries) < 2:  # noqa: PLR2004 — there is nobody else
        return None
    if isinstance(keys.entries[0], str) and all(isinstance(entry, str) for entry in keys.entries):
        encoded = fold(pa.array(keys.entries, pa.string())).dictionary_encode()
        if len(encoded.dictionary) == len(keys.entries):
            return None
        classes = encoded.indices.to_numpy().astype(np.int64)
        found: Ints = np.unique(classes, return_index=True)[1][classes]
        return found
    table: dict[Key, int] = {}
    firsts = [table.setdefault(key, code) for code, key in enumerate(folded_entries(keys.entries))]
    return None if len(table) == len(keys.entries) else np.array(firsts, np.int64)


def resolved(columns: Columns, names: Names) -> Columns:
    """A window's rows as they are to be understood.

    Where look-alikes are one name, all of a window's rows name it as the last of them does. Where nobody knows, the
    changes of look-alike pairs whose last wishes contradict each other are rejected.
    """
    if names is Names.EXACT:
        return columns
    user, group = twins(columns.user), twins(columns.group)
    if user is None and group is None:
        return columns
    rows = np.flatnonzero(columns.action != REJECTED_ROW)
    if not len(rows):
        return columns
    if names is Names.FOLDED:
        return replace(columns, user=_as_last(columns.user, user, rows), group=_as_last(columns.group, group, rows))
    return _without_contradictions(columns, user, group)


def _as_last(keys: Keys, classes: Ints | None, rows: Ints) -> Keys:
    if classes is None:
        return keys
    spelling = classes.copy()
    spelling[classes[keys.codes[rows]]] = keys.codes[rows]  # of several assignments to one place the last one holds
    return Keys(spelling[classes[keys.codes]], keys.entries)


def _without_contradictions(columns: Columns, user: Ints | None, group: Ints | None) -> Columns:
    of_user = columns.user.codes if user is None else user[columns.user.codes]
    of_group = columns.group.codes if group is None else group[columns.group.codes]
    winner = coalesce(columns)
    last = np.flatnonzero(winner == np.arange(len(columns)))
    order = last[order_of(of_user[last], of_group[last])]
    starts = run_starts(of_user[order], of_group[order])
    wishes = columns.action[order]
    contradict = np.maximum.reduceat(wishes, starts) != np.minimum.reduceat(wishes, starts)
    if not contradict.any():
        return columns
    refused: Mask = np.zeros(len(columns), bool)
    partner = np.full(len(columns), -1, np.int64)
    for start, stop in zip(starts[contradict], np.append(starts[1:], len(order))[contradict], strict=True):
        members = order[start:stop]
        refused[members] = True
        partner[members] = np.roll(members, 1)
    refused = refused[winner] & (winner >= 0)
    rejects = [
        Reject(row, _told(columns, int(partner[winner[row]])), (str(columns.user.value(columns.user.codes[row])),))
        for row in np.flatnonzero(refused).tolist()
    ]
    action = columns.action.copy()
    action[refused] = REJECTED_ROW
    return replace(
        columns, action=action, rejects=tuple(sorted([*columns.rejects, *rejects], key=lambda reject: reject.index))
    )


def _told(columns: Columns, other: int) -> str:
    user, group = columns.user.value(columns.user.codes[other]), columns.group.value(columns.group.codes[other])
    return (
        f"it contradicts line {columns.line[other]}, which names {user!r} and {group!r}: whether the target takes them"
        " for the same is not known; target.names says it (folded or exact)"
    )
