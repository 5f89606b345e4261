"""What a spreadsheet shows of a whole number: its format may pad it with zeros, or show something else.

Format codes are those of ECMA-376, part 1, §18.8.30 and §18.8.31.
"""

from __future__ import annotations

import re

BUILT_IN = {9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 48: "##0.0E+0"}
"""The codes without a definition in the file that show something else than the digits of a number."""
_NO_PART = re.compile(r"\[[^\]]*\]|_.|\*.")
"""Colours, conditions and locales; a blank of some width; a filling."""
_LITERAL = re.compile(r'"([^"]*)"|\\(.)')
_DATE = re.compile("[ymdhs]", re.IGNORECASE)
_GENERAL = re.compile(r"(General|@)?", re.IGNORECASE)


def is_telling(code: str) -> bool:
    """Whether a format may show something else than the digits of a number."""
    return shown(code, 1) != "1"


def shown(code: str, number: int) -> str | None:
    """The digits that are shown of a number; None when that is something else.

    `00000` shows 17 as 00017, and people take that for the name.
    """
    part = _NO_PART.sub("", _first_part(code))
    literals = "".join(first or second for first, second in _LITERAL.findall(part))
    pattern = _LITERAL.sub("", part).strip()
    if _GENERAL.fullmatch(pattern) or _DATE.search(pattern):  # dates are told as such
        return str(number) if not _says_something(literals) else None
    whole = re.split(r"[.]", pattern)[0]
    if _says_something(literals) or "%" in pattern or "E" in pattern.upper() or whole.endswith(",") or "/" in pattern:
        return None
    if not set(whole) <= set("0#?,- ()+$€£¥"):
        return None
    digits = str(abs(number)).zfill(whole.count("0"))
    return f"-{digits}" if number < 0 else digits


def _first_part(code: str) -> str:
    """Of several, that of positive numbers; a semicolon may also be quoted."""
    return re.match(r'(?:"[^"]*"|\\.|[^;])*', code)[0]  # type: ignore[index]  # also matches nothing


def _says_something(literals: str) -> bool:
    return any(char.isalnum() for char in literals)
