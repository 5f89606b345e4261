"""Whether all names of a column are ordinary, so that none has to be checked individually."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.text_bytes import bytes_of, has_controls, may_be_unseen
from batcher.source.cells import DAMAGE
from batcher.source.rules import LONGEST_NAME, UNSEEN

_SIGNS_OF_DAMAGE = {b"#": (b"#",), b"+": (b"e+", b"E+"), b":": (b"Err:",), b"L": (b"Loading...",)}
"""By a character of each, which is found faster."""


def are_ordinary(names: pa.StringArray, words: Collection[str] = (), *, takes_odd: bool = False) -> bool:
    """Whether each of these is a valid name as written, and none is one of the `words` (in lower case).

    What the bytes of the whole column rule out is not searched for in each name.
    """
    if not len(names):
        return True
    lengths = pc.utf8_length(names)
    if pc.min(lengths).as_py() == 0 or pc.max(lengths).as_py() > LONGEST_NAME:
        return False
    if takes_odd:
        return True
    content = bytes_of(names)
    if has_controls(content) or (may_be_unseen(content) and _any(names, UNSEEN)):
        return False
    if _may_be_damaged(content) and _any(names, f"^(?:{DAMAGE})$"):
        return False
    if (b" " in content or may_be_unseen(content)) and pc.any(pc.equal(pc.utf8_trim_whitespace(names), "")).as_py():
        return False
    short = names.filter(pc.less_equal(lengths, max(map(len, words), default=0)))
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(short))
    return not pc.any(pc.is_in(plain, pa.array(sorted(words), pa.string()))).as_py()


def _may_be_damaged(content: bytes) -> bool:
    return any(mark in content and any(sign in content for sign in signs) for mark, signs in _SIGNS_OF_DAMAGE.items())


def _any(names: pa.StringArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(names, pattern)).as_py())
