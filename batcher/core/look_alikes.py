"""Look-alikes: names that differ only in case, Unicode form, blanks, or invisible characters.

People, and many targets, treat such names as the same. Whether a target does is a fact about the target. If that is not
known, nothing is done that would do harm in either case: of two changes of look-alike pairs that contradict each other,
neither is sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.coalesce import coalesce
from batcher.core.model import REJECTED_ROW, Columns, Ints, Key, Keys, Mask, Reject
from batcher.core.sorting import run_starts, sorted_order
from batcher.core.text_bytes import bytes_of, has_controls, may_be_unseen

_BLANKS = r"[\s\p{Z}]+"
_UNSEEN = (
    r"[\p{Cc}\p{Cf}\x{034f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2060}-\x{206f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}"
    r"\x{1d173}-\x{1d17a}\x{e0000}-\x{e0fff}]"
)
"""Control and format characters, and others that are not displayed (Unicode 15, Default_Ignorable_Code_Point; and the
blank Braille pattern)."""
_SEPARATOR = "\0"


class Names(Enum):
    """How a target treats names that look alike."""

    UNSURE = "unsure"
    """not known"""
    FOLDED = "folded"
    """as the same name"""
    EXACT = "exact"
    """as different names"""


def fold(names: pa.StringArray) -> pa.StringArray:
    """The form that look-alikes share: NFC, folded case, single blanks, none at the ends, nothing invisible.

    Case is folded as in Unicode's full folding (Unicode Standard, 5.18): `ß` is `ss`, `ς` is `σ`.
    """
    return pa.array(fold_all(names), pa.string())


def fold_all(names: pa.StringArray) -> list[str]:
    """The same as `fold`, as a list."""
    if not len(names):
        return []
    content = bytes_of(names)
    is_tidy = not (has_controls(content) or may_be_unseen(content))
    has_blanks = b" " in content or not is_tidy
    if content.isascii() and not has_blanks:
        return pc.ascii_lower(names).to_pylist()  # type: ignore[no-any-return]  # untyped
    if not is_tidy:
        names = pc.replace_substring_regex(pc.replace_substring_regex(names, _BLANKS, " "), _UNSEEN, "")
    # All names joined into one text (none contains the separator any more) are folded at the speed of C.
    text = unicodedata.normalize("NFC", _SEPARATOR.join(names.to_pylist())).casefold()
    found = unicodedata.normalize("NFC", text).split(_SEPARATOR)
    return [" ".join(name.split()) for name in found] if has_blanks else found


def folded(name: str) -> str:
    """The same for one name."""
    return fold_all(pa.array([name], pa.string()))[0]


def folded_entries(entries: Sequence[Key]) -> Sequence[Key]:
    """The names of a column's entries, folded; ids as they are."""
    if set(map(type, entries)) <= {str}:
        return fold_all(pa.array(entries, pa.string()))
    texts = [entry for entry in entries if isinstance(entry, str)]
    names = iter(fold_all(pa.array(texts, pa.string())))
    return [next(names) if isinstance(entry, str) else entry for entry in entries]


def looked_at(keys: Keys) -> Keys:
    """The same column with the folded forms of its entries (`looks`), which are needed again later."""
    return keys if keys.entries is None else Keys(keys.codes, keys.entries, folded_entries(keys.entries))


def twins(keys: Keys) -> Ints | None:
    """For each entry the code of the first one that looks like it; None when no two entries do."""
    if keys.entries is None or len(keys.entries) < 2:  # noqa: PLR2004 — there is no other entry
        return None
    looks = folded_entries(keys.entries) if keys.looks is None else keys.looks
    if len(set(looks)) == len(looks):
        return None
    table: dict[Key, int] = {}
    return np.array([table.setdefault(look, code) for code, look in enumerate(looks)], np.int64)


def resolved(columns: Columns, names: Names) -> Columns:
    """A window's rows with look-alikes resolved.

    If the target treats look-alikes as one name, all rows of the window get the spelling of the last one. If that is
    not known, changes of look-alike pairs whose last changes contradict each other are rejected.
    """
    if names is Names.EXACT:
        return columns
    columns = replace(columns, user=looked_at(columns.user), group=looked_at(columns.group))
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
    spelling[classes[keys.codes[rows]]] = keys.codes[rows]  # of several assignments to one place the last one wins
    return Keys(spelling[classes[keys.codes]], keys.entries, keys.looks)


def _without_contradictions(columns: Columns, user: Ints | None, group: Ints | None) -> Columns:
    of_user = columns.user.codes if user is None else user[columns.user.codes]
    of_group = columns.group.codes if group is None else group[columns.group.codes]
    winner = coalesce(columns)
    last = np.flatnonzero(winner == np.arange(len(columns)))
    order = last[sorted_order(of_user[last], of_group[last])]
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
        f"it contradicts line {columns.line[other]}, which names {user!r} and {group!r}: it is not known whether the"
        " target treats them as the same; set target.names (folded or exact)"
    )
