"""The form that look-alikes share: names that differ only in case, Unicode form, blanks, or invisible characters."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.text_bytes import bytes_of, has_controls, may_be_unseen

_BLANKS = r"[\s\p{Z}]+"
_UNSEEN = (
    r"[\p{Cc}\p{Cf}\x{034f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2060}-\x{206f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}"
    r"\x{1d173}-\x{1d17a}\x{e0000}-\x{e0fff}]"
)
"""Control and format characters, and others that are not displayed (Unicode 15, Default_Ignorable_Code_Point; and the
blank Braille pattern)."""
_SEPARATOR = "\0"


def fold(names: pa.StringArray) -> pa.StringArray:
    """Each name in NFC, with folded case, single blanks, none at the ends, and nothing invisible.

    Case is folded as in Unicode's full folding (Unicode Standard, 5.18): `ß` is `ss`, `ς` is `σ`.
    """
    if not len(names):
        return names
    content = bytes_of(names)
    is_tidy = not (has_controls(content) or may_be_unseen(content))
    has_blanks = b" " in content or not is_tidy
    if content.isascii() and is_tidy:
        return _with_single_blanks(pc.ascii_lower(names)) if has_blanks else pc.ascii_lower(names)
    if not is_tidy:
        names = pc.replace_substring_regex(pc.replace_substring_regex(names, _BLANKS, " "), _UNSEEN, "")
    # All names joined into one text (none contains the separator any more) are folded at the speed of C.
    text = unicodedata.normalize("NFC", _SEPARATOR.join(names.to_pylist())).casefold()
    found = pa.array(unicodedata.normalize("NFC", text).split(_SEPARATOR), pa.string())
    return _with_single_blanks(found) if has_blanks else found


def folded(name: str) -> str:
    """The same for one name."""
    return fold(pa.array([name], pa.string()))[0].as_py()  # type: ignore[no-any-return]  # untyped


def _with_single_blanks(names: pa.StringArray) -> pa.StringArray:
    names = pc.utf8_trim_whitespace(names)
    if pc.any(pc.match_substring_regex(names, r"[\s\p{Z}]{2}")).as_py():
        return pc.replace_substring_regex(names, _BLANKS, " ")
    return names
