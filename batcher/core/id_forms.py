"""How ids are written: a target that lists members in another way than the ids that are sent shows nothing of these."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

UUID = "[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
DIGITS = "[0-9]+"
"""Regular expressions in the syntax that Python, Arrow and DuckDB have in common."""
STRANGE = "it lists its members by something else than the ids that are sent"
"""Why nothing is concluded for a group."""
_ID = re.compile(f"{UUID}|{DIGITS}")


def looks_like_id(text: str) -> bool:
    """Whether a text is written as ids usually are: a UUID, or digits."""
    return _ID.fullmatch(text) is not None


def forms_of(users: pa.Array) -> int:
    """How these ids are written, as bits: 1 UUIDs, 2 digits, 4 others. Integers are digits."""
    if not len(users):
        return 0
    if not pa.types.is_string(users.type):
        return 2
    is_uuid, is_digits = (pc.match_substring_regex(users, f"^{form}$") for form in (UUID, DIGITS))
    others = pc.invert(pc.or_(is_uuid, is_digits))
    return sum(1 << bit for bit, mask in enumerate((is_uuid, is_digits, others)) if pc.any(mask).as_py())
