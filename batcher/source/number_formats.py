"""How a spreadsheet shows a whole number: its format may pad it with zeros, or show something else.

Format codes are those of ECMA-376, part 1, §18.8.30 and §18.8.31.
"""

from __future__ import annotations

import re

BUILT_IN = {9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 48: "##0.0E+0"}
"""Built-in codes (not defined in the file) that show something other than the digits of a number."""
_CONDITION = re.compile(r"\[[<>=][^\]]*\]")
_NO_PART = re.compile(r"\[[^\]]*\]|_.|\*.")
"""Colours, conditions and locales; blanks of a given width; fill characters."""
_SECTION = re.compile(r'((?:"[^"]*"|\\.|[^;])*)(;|$)')
"""A section and its terminator; a semicolon may also be quoted."""
_LITERAL = re.compile(r'"([^"]*)"|\\(.)')
_DATE = re.compile("[ymdhs]", re.IGNORECASE)
_GENERAL = re.compile("General|@", re.IGNORECASE)
_PLACES = frozenset("0#?,- ()+$€£¥")


def is_telling(code: str) -> bool:
    """Whether a format may show something other than the digits of a number."""
    return any(shown(code, number) != str(number) for number in (1, 0, -1))


def shown(code: str, number: int) -> str | None:
    """The digits shown for a number, with its sign; None if something else or nothing is shown.

    `00000` shows 17 as 00017, which people take for the name.
    """
    if not code:
        return str(number)
    sections = _sections(code)
    if any(map(_CONDITION.search, sections)):  # conditions are not evaluated
        told = {_by_section(section, number, has_sign=False) for section in sections}
        return told.pop() if len(told) == 1 else None
    if number < 0 and len(sections) > 1:
        return _by_section(sections[1], number, has_sign=True)
    if number == 0 and len(sections) > 2:  # noqa: PLR2004 — positive, negative, zero
        return _by_section(sections[2], number, has_sign=False)
    return _by_section(sections[0], number, has_sign=False)


def _sections(code: str) -> list[str]:
    """The sections for positive numbers, negative numbers, zero, and texts, as far as present."""
    found = []
    for section, end in _SECTION.findall(code):
        found.append(section)
        if not end:
            break
    return found


def _by_section(section: str, number: int, *, has_sign: bool) -> str | None:
    """What one section shows; with `has_sign` it is for negative numbers, and must show their sign itself."""
    part = _NO_PART.sub("", section)
    literals = "".join(first or second for first, second in _LITERAL.findall(part))
    pattern = _LITERAL.sub("", part).strip()
    if any(map(str.isalnum, literals)) or not pattern:
        return None
    if _GENERAL.fullmatch(pattern) or _DATE.search(pattern):  # dates are recognised as such elsewhere
        return str(number)
    whole = pattern.partition(".")[0]
    if not set(whole) <= _PLACES or whole.endswith(",") or set("%E/") & set(pattern.upper()):
        return None
    digits = str(abs(number)).zfill(whole.count("0")) if number or "0" in whole else ""
    if not digits or (has_sign and not set("-(") & set(literals + whole)):
        return None
    return f"-{digits}" if number < 0 else digits
