"""What a cell of a table is: a value, nothing, or something that cannot be read. Decided here for every format.

Empty is what has no character in it. What cannot be read is never empty: a cell with an error, a formula that nobody
has computed, a number that a spreadsheet has rounded. A spreadsheet also knows what a value is, and a day is no name.
Both travel inside the text of the cell, behind a mark which no text of a table may hold.
"""

from __future__ import annotations

import re
from enum import Enum

from batcher.source.rules import Invalid

MARK = "\x1a"
"""The control character SUBSTITUTE: it stands for what could not be represented (ECMA-48 §8.3.148)."""
_ERRORS = (
    r"#[^\sa-z#]* ?[!?]|#(?i:ref!|value!|div/0!|name\?|null!|num!|spill!|calc!)|#\p{L}/\p{L}|#NV|#GETTING_DATA|##+"
    r"|Err:[0-9]{3}|Loading\.\.\."
)
"""What a spreadsheet shows instead of a value: `#N/A`, `#REF!`, `#NAME?` (ECMA-376 part 1, 18.17.2.4), in the languages
of Excel (`#NV`, `#N/D`, `#WERT!`, `#¡VALOR!`), `Err:502` in LibreOffice, `Loading...` in Google Sheets."""
_SHORT = r"[+-]?[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+"
"""How it shows a number that has too many digits for its column."""
DAMAGE = f"{_ERRORS}|{_SHORT}"
"""A pattern of texts that a spreadsheet leaves in files of other kinds where a value was."""
_ERROR, _SHORTENED = re.compile(_ERRORS.replace(r"\p{L}", r"[^\W\d_]")), re.compile(_SHORT)


class Odd(Enum):
    """Why a cell is no plain text; the value is its code behind the mark, and what is said of it."""

    ERROR = ("e", "is the error value {}")
    FORMULA = ("f", "is a formula without a value; open and save the file in a spreadsheet program")
    DIGITS = ("n", "is a number of 16 digits or more, of which a spreadsheet keeps 15; store it as text")
    FRACTION = ("p", "is the number {}; store it as text")
    PADDED = ("z", "is the number {}, shown with zeros before it")
    SHOWN = ("s", "is the number {}, which its format shows as something else; store it as text")
    NO_NUMBER = ("i", "is no number that can be written down")
    DATE = ("d", "is the date {}; store it as text, if that is what is meant")
    TIME = ("t", "is the time {}; store it as text, if that is what is meant")
    DURATION = ("u", "is the duration {}; store it as text, if that is what is meant")
    TRUTH = ("b", "is the truth value {}; store it as text, if that is what is meant")
    MERGED = ("m", "is part of a merged cell, whose value stands in another; unmerge the cells and fill each")
    BREAK = ("l", "holds a line break")
    CONTROL = ("c", "holds a control character (U+001A)")
    UNTOLD = ("w", "is empty or an error, which this kind of spreadsheet does not tell; save it as .xlsx or CSV")

    def __init__(self, code: str, told: str) -> None:
        self.code = code
        self.told = told


MOST_EXACT = 10**15
"""From here on a number has 16 digits (IEEE 754 doubles, of which spreadsheets show 15)."""
_BY_CODE = {odd.code: odd for odd in Odd}


def marked(odd: Odd, value: str = "", detail: str = "") -> str:
    """The text of a cell that is odd; `value` is what it holds, where that can be said, `detail` what to say of it."""
    return f"{value}{MARK}{odd.code}{detail or value}"


def unmarked(text: str, label: str) -> str:
    """A text from where nothing is marked.

    Raises:
        Invalid: When it looks as if something was.

    """
    if MARK in text:
        raise Invalid(f"{label} {Odd.CONTROL.told}")
    return text


def plain(text: str, label: str, *, is_id: bool = False) -> str:
    """What names a user, a group or an op: a plain text, and no trace of a spreadsheet's.

    A number that is shown with zeros before it is a name as it is shown, and an id without them.

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
    """What a condition is asked about: the value, whatever the spreadsheet takes it for.

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
    """A day as it is written, and whether that is how a spreadsheet's dates are (ISO 8601).

    Raises:
        Invalid: When it cannot be read, or is something else in a spreadsheet.

    """
    value, mark, more = text.partition(MARK)
    if not mark:
        return text, False
    if more[:1] != Odd.DATE.code:
        raise Invalid(f"{label} {_told(text)}")
    return value, True


def heading(text: str) -> str:
    """A column's name, of which nothing but the text counts."""
    return text.partition(MARK)[0]


def _told(text: str) -> str:
    _, _, more = text.partition(MARK)
    return _BY_CODE[more[:1]].told.format(more[1:])
