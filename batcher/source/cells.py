"""Cells of tables: a value, empty, or unreadable. This is decided here for every format.

A cell is empty if it has no characters. An unreadable cell never counts as empty: one with an error, with a formula
that was never computed, or with a number that a spreadsheet rounded. A spreadsheet also knows the types of its values,
and a date is not a name. Such facts are passed on inside the text of the cell, after a mark that no text may contain.
"""

from __future__ import annotations

import re
from enum import Enum

from batcher.source.rules import Invalid

MARK = "\x1a"
"""The control character SUBSTITUTE, which stands for what could not be represented (ECMA-48 §8.3.148)."""
_ERRORS = (
    r"#[^\sa-z#]* ?[!?]|#(?i:ref!|value!|div/0!|name\?|null!|num!|spill!|calc!)|#\p{L}/\p{L}|#NV|#GETTING_DATA|##+"
    r"|Err:[0-9]{3}|Loading\.\.\."
)
"""What a spreadsheet shows instead of a value: `#N/A`, `#REF!`, `#NAME?` (ECMA-376 part 1, 18.17.2.4), in the languages
of Excel (`#NV`, `#N/D`, `#WERT!`, `#¡VALOR!`), `Err:502` in LibreOffice, `Loading...` in Google Sheets."""
_SHORT = r"[+-]?[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+"
"""How a spreadsheet shows a number that has too many digits for its column."""
DAMAGE = f"{_ERRORS}|{_SHORT}"
"""A pattern for texts that a spreadsheet leaves in exported files in place of values."""
_ERROR, _SHORTENED = re.compile(_ERRORS.replace(r"\p{L}", r"[^\W\d_]")), re.compile(_SHORT)


class Odd(Enum):
    """Why a cell is not plain text: the code after the mark, and the text for the reason."""

    ERROR = ("e", "is the error value {}")
    FORMULA = ("f", "is a formula without a computed value; open and save the file in a spreadsheet program")
    DIGITS = ("n", "is a number of 16 digits or more, of which a spreadsheet keeps 15; store it as text")
    FRACTION = ("p", "is the number {}; store it as text")
    PADDED = ("z", "is the number {}, shown with leading zeros")
    SHOWN = ("s", "is the number {}, which its cell format shows as something else; store it as text")
    NO_NUMBER = ("i", "is not a finite number")
    DATE = ("d", "is the date {}; if it is meant as text, store it as text")
    TIME = ("t", "is the time {}; if it is meant as text, store it as text")
    DURATION = ("u", "is the duration {}; if it is meant as text, store it as text")
    TRUTH = ("b", "is the boolean {}; if it is meant as text, store it as text")
    MERGED = ("m", "is part of a merged cell whose value is in another; unmerge the cells and fill each")
    BREAK = ("l", "holds a line break")
    CONTROL = ("c", "holds a control character (U+001A)")
    UNTOLD = ("w", "is empty or an error (this kind of spreadsheet does not show which); save it as .xlsx or CSV")

    def __init__(self, code: str, told: str) -> None:
        self.code = code
        self.told = told


MOST_EXACT = 10**15
"""From here on a number has 16 digits (spreadsheets show only 15 digits of an IEEE 754 double)."""
_BY_CODE = {odd.code: odd for odd in Odd}


def marked(odd: Odd, value: str = "", detail: str = "") -> str:
    """The text for an odd cell; `value` is its content, if known, `detail` the text to show in the reason."""
    return f"{value}{MARK}{odd.code}{detail or value}"


def unmarked(text: str, label: str) -> str:
    """A text from a source without marks.

    Raises:
        Invalid: When it contains the mark.

    """
    if MARK in text:
        raise Invalid(f"{label} {Odd.CONTROL.told}")
    return text


def plain(text: str, label: str, *, is_id: bool = False) -> str:
    """The text that names a user, a group or an op: plain text, not damaged by a spreadsheet.

    A number that is shown with leading zeros is a name with them, and an id without them.

    Raises:
        Invalid: When it is anything else.

    """
    if MARK in text:
        seen, _, more = text.partition(MARK)
        if more[:1] == Odd.PADDED.code:
            return more[1:] if is_id else seen
        raise Invalid(f"{label} {_told(text)}")
    if text[:1] in "#EL" and _ERROR.fullmatch(text):
        raise Invalid(f"{label} {Odd.ERROR.told.format(text)}")
    if text[-1:].isdigit() and "+" in text and _SHORTENED.fullmatch(text):
        raise Invalid(f"{label} {text} is a number that a spreadsheet has shortened; store it as text")
    return text


def compared(text: str, label: str) -> str:
    """The value that a condition is applied to, whatever its type in the spreadsheet.

    Raises:
        Invalid: When it cannot be read.

    """
    if MARK in text:
        value = text.partition(MARK)[0]
        if not value:
            raise Invalid(f"{label} {_told(text)}")
        return value
    if _ERROR.fullmatch(text):
        raise Invalid(f"{label} {Odd.ERROR.told.format(text)}")
    return text


def day(text: str, label: str) -> tuple[str, bool]:
    """A date as written, and whether it is a spreadsheet's date (in ISO 8601).

    Raises:
        Invalid: When it cannot be read, or is not a date in a spreadsheet.

    """
    value, mark, more = text.partition(MARK)
    if not mark:
        return text, False
    if more[:1] != Odd.DATE.code:
        raise Invalid(f"{label} {_told(text)}")
    return value, True


def heading(text: str) -> str:
    """A column's name, without marks."""
    return text.partition(MARK)[0]


def _told(text: str) -> str:
    _, _, more = text.partition(MARK)
    return _BY_CODE[more[:1]].told.format(more[1:])
