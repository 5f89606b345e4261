"""Names in columns: whether all of them are ordinary, so that none needs a look of its own."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from batcher.source.cells import DAMAGE
from batcher.source.rules import LONGEST_NAME, UNSEEN


def are_ordinary(names: pa.StringArray, words: Collection[str] = (), *, takes_odd: bool = False) -> bool:
    """Whether each of these is a name as it stands, and none of them one of the `words` (in lower case)."""
    if not len(names):
        return True
    lengths = pc.min_max(pc.utf8_length(names))
    if lengths["min"].as_py() == 0 or lengths["max"].as_py() > LONGEST_NAME:
        return False
    if takes_odd:
        return True
    if pc.any(pc.match_substring_regex(names, f"{UNSEEN}|^(?:{DAMAGE})$")).as_py():
        return False
    if not words:
        return True
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(names))
    return not pc.any(pc.is_in(plain, pa.array(sorted(words), pa.string()))).as_py()
