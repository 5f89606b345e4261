"""Columns as small blobs: the narrowest integers that can hold them, compressed where that pays off."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from batcher.core.keys import WORD, Dictionary, Keys
from batcher.core.model import Given
from batcher.core.text_bytes import bytes_of, joined
from batcher.core.vectors import Ints

_CODEC = pa.Codec("zstd", compression_level=1)
_WORTHWHILE = 512
"""Bytes. Setting up a compressor costs as much as compressing a few kilobytes."""
_TYPES = ("<i1", "<i2", "<i4", "<i8")
_HEAD = struct.Struct("<BI")
_SIZE = struct.Struct("<I")


def pack_ints(values: NDArray[np.signedinteger]) -> bytes:
    """A blob of a column of integers; a constant column, as most status columns are, is stored as one value."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    width = (max(high, -low - 1).bit_length() // 8).bit_length()
    kept = values[:1] if low == high else values
    return _HEAD.pack(width, len(values)) + _seal(kept.astype(_TYPES[width]).tobytes())


def unpack_ints(blob: bytes) -> Ints:
    """The inverse of `pack_ints`."""
    width, count = _HEAD.unpack_from(blob)
    kept = np.frombuffer(_unseal(blob[_HEAD.size :]), np.dtype(_TYPES[width])).astype(np.int64)
    return kept if len(kept) == count else np.repeat(kept, count)


def pack_steps(values: Ints) -> bytes:
    """A blob of a column that mostly grows by one, such as line numbers."""
    steps = np.diff(values, prepend=0) - 1
    return pack_ints(steps)


def unpack_steps(blob: bytes) -> Ints:
    """The inverse of `pack_steps`."""
    return np.cumsum(unpack_ints(blob) + 1)


def pack_json(value: object) -> bytes:
    """A blob of any value that JSON can represent."""
    return _seal(orjson.dumps(value))


def unpack_json(blob: bytes) -> object:
    """The inverse of `pack_json`."""
    return orjson.loads(_unseal(blob))


def pack_dictionary(dictionary: Dictionary | None) -> bytes | None:
    """A blob of a dictionary, a JSON array of its keys; None stands for ids that are their own codes."""
    if dictionary is None:
        return None
    quoted = joined('"', dictionary.escaped, '"')
    keys = dictionary.where_id(dictionary.texts, quoted)
    return _seal(b"[%b]" % bytes_of(joined(keys, ","))[:-1])


def unpack_keys(codes: bytes, dictionary: bytes | None) -> Keys:
    """A column of users or groups from its blobs."""
    known: Any = None if dictionary is None else unpack_json(dictionary)
    return Keys(unpack_ints(codes), None if known is None else Dictionary.of(known))


def pack_given(given: Given | None) -> bytes | None:
    """A blob of the names that were looked up; None if nothing ever is."""
    if given is None:
        return None
    parts: list[bytes] = []
    for keys in (given.user, given.group):
        known = None if keys is None else keys.dictionary
        if keys is None or known is None:
            parts += [b"", b"", b""]
        else:
            texts = pack_dictionary(Dictionary(known.texts)) or b""
            parts += [pack_ints(keys.codes), texts, pack_ints(known.kinds)]
    return b"".join(_SIZE.pack(len(part)) + part for part in parts)


def unpack_given(blob: bytes | None) -> Given | None:
    """The inverse of `pack_given`."""
    if blob is None:
        return None
    parts, start = [], 0
    while start < len(blob):
        (size,) = _SIZE.unpack_from(blob, start)
        start += _SIZE.size + size
        parts.append(blob[start - size : start])
    user, group = (_given_keys(*parts[place : place + 3]) for place in (0, 3))
    return Given(user, group)


def _given_keys(codes: bytes, texts: bytes, kinds: bytes) -> Keys | None:
    if not codes:
        return None
    known: Any = unpack_json(texts)
    return Keys(unpack_ints(codes), Dictionary(pa.array(known, pa.string()), is_word=unpack_ints(kinds) == WORD))


def _seal(raw: bytes) -> bytes:
    """The uncompressed size (0 if not compressed), followed by the bytes."""
    if len(raw) < _WORTHWHILE:
        return _SIZE.pack(0) + raw
    return _SIZE.pack(len(raw)) + bytes(_CODEC.compress(raw, asbytes=True))


def _unseal(blob: bytes) -> bytes:
    (size,) = _SIZE.unpack_from(blob)
    kept = blob[_SIZE.size :]
    return bytes(_CODEC.decompress(kept, size, asbytes=True)) if size else kept
