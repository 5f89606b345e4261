"""Valid ops, ids and names, defined here for every format.

Ids are integers in canonical form, within 64 bits: `5`, `-3`. Everything that only looks like one (`007`, `+5`, ` 5`,
`1.0`, `1e3`, `0x1F`, `-0`) is refused rather than guessed at: it may be a personnel number whose zeros matter, or the
damage of a spreadsheet. Names are strings exactly as written, including blanks, without invisible characters.
"""

from __future__ import annotations

import re
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.keys import Key, Word
from batcher.core.model import Action

LONGEST_NAME = 1024
"""Characters. Ensures that any single pair is well below the smallest `max_bytes`."""
UNSEEN = (
    "[\x00-\x1f\x7f-\x9f"  # controls
    "\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\U000e0001\U000e0020-\U000e007f"
    "\u2800\u3164\uffa0]"  # letters and symbols that are blank
)
"""A pattern for invisible characters, which no valid name has: controls, formats, blank letters.

Excluded are those that some scripts and emoji need: the joiners U+200C and U+200D, variation selectors, fillers of old
Hangul (Unicode Standard, 23.2 and 23.4). Names that differ only in these look alike.
"""
_UNSEEN = re.compile(UNSEEN)
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_ACTIONS = {action.label: action for action in Action}
_SHOWN = 60


class Form(StrEnum):
    """What kind of values a column holds."""

    OPEN = ""
    """a neutral header: the first value decides"""
    ID = "id"
    NAME = "name"
    WORD = "word"
    """a name that is to be looked up"""


class Invalid(Exception):  # noqa: N818 — not an error of the program: a verdict on a line
    """A line is not a valid change; the message is the reason for rejecting it."""


def shown(value: object) -> str:
    """A value of the input for use in a reason: quoted, escaped and shortened."""
    try:
        text = repr(value)
    except RecursionError:
        return "(nested too deeply to be shown)"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def action_of(value: object) -> Action:
    """`add` or `remove`, in any case.

    Raises:
        Invalid: For anything else.

    """
    action = _ACTIONS.get(value.lower()) if isinstance(value, str) else None
    if action is None:
        if value is None or value == "":
            raise Invalid("op is missing; it must be add or remove")
        raise Invalid(f"op {shown(value)} is neither add nor remove")
    return action


def is_integer(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _INTEGER.fullmatch(text) is not None


def are_any_integers(texts: pa.StringArray) -> bool:
    """Whether any of the texts has the form of an id."""
    return bool(pc.any(pc.match_substring_regex(texts, rf"^(?:{_INTEGER.pattern})$")).as_py())


def id_of(value: int | str, label: str) -> int:
    """An id from a JSON number or a string.

    Raises:
        Invalid: When it is not an integer in canonical form, or exceeds 64 bits.

    """
    if isinstance(value, str) and not is_integer(value):
        if is_integer(value.strip().lstrip("+0") or "x"):
            raise Invalid(f"{label} {shown(value)} is not an integer as written: no blanks, sign or leading zeros")
        raise Invalid(f"{label} {shown(value)} is not an integer; for names use {label}_name")
    number = int(value) if len(str(value)) <= len(str(_LEAST)) else _GREATEST + 1
    if not _LEAST <= number <= _GREATEST:
        raise Invalid(f"{label} {shown(value)} is out of the 64-bit range")
    return number


def name_of(text: str, label: str, *, takes_odd: bool = False) -> str:
    """A name; with `takes_odd` it may contain invisible characters.

    Raises:
        Invalid: When it is longer than `LONGEST_NAME`, or contains an invisible character.

    """
    if len(text) > LONGEST_NAME:
        raise Invalid(f"{label} is longer than {LONGEST_NAME} characters")
    if not takes_odd and not (text.isascii() and text.isprintable()) and (unseen := _UNSEEN.search(text)):
        raise Invalid(f"{label} {shown(text)} holds an invisible or a lost character (U+{ord(unseen[0]):04X})")
    return text


def key_of(text: str, form: Form, label: str, *, decided: bool, takes_odd: bool = False) -> Key:
    """A user or a group from a CSV field; `decided` says that the form was inferred from the column's first value.

    Raises:
        Invalid: When it is empty or not of this form.

    """
    if not text or not (takes_odd or text.strip()):
        raise Invalid(f"{label} is empty")
    if form is Form.ID:
        return id_of(text, label)
    if decided and is_integer(text):
        raise Invalid(
            f"{label} {shown(text)} is an integer in a column of names; name the column {label}_id or {label}_name"
        )
    name = name_of(text, label, takes_odd=takes_odd)
    return Word(name) if form is Form.WORD else name
