"""Columns as small blobs: the narrowest integers that hold them, compressed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from batcher.core.model import Ints, Key, Keys

_CODEC = pa.Codec("zstd", compression_level=1)
_TYPES = ("<i1", "<i2", "<i4", "<i8")
_HEAD = struct.Struct("<BI")


def pack_ints(values: NDArray[np.signedinteger]) -> bytes:
    """A blob of a column of integers."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    width = next(i for i, name in enumerate(_TYPES) if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
    raw = values.astype(_TYPES[width]).tobytes()
    return _HEAD.pack(width, len(values)) + bytes(_CODEC.compress(raw, asbytes=True))


def unpack_ints(blob: bytes) -> Ints:
    """The column again."""
    width, count = _HEAD.unpack_from(blob)
    kind = np.dtype(_TYPES[width])
    raw = _CODEC.decompress(blob[_HEAD.size :], count * kind.itemsize, asbytes=True)
    return np.frombuffer(raw, kind).astype(np.int64)


def pack_steps(values: Ints) -> bytes:
    """A blob of a column that mostly grows by one, such as line numbers."""
    steps = np.diff(values, prepend=0) - 1
    return pack_ints(steps)


def unpack_steps(blob: bytes) -> Ints:
    """The column again."""
    return np.cumsum(unpack_ints(blob) + 1)


def pack_json(value: object) -> bytes:
    """A blob of anything that JSON can say."""
    raw = orjson.dumps(value)
    return struct.pack("<I", len(raw)) + bytes(_CODEC.compress(raw, asbytes=True))


def unpack_json(blob: bytes) -> object:
    """The value again."""
    (size,) = struct.unpack_from("<I", blob)
    return orjson.loads(_CODEC.decompress(blob[4:], size, asbytes=True))


def pack_entries(entries: Sequence[Key] | None) -> bytes | None:
    """A blob of a dictionary of names; None stands for ids that are their own codes."""
    return None if entries is None else pack_json(list(entries))


def unpack_keys(codes: bytes, entries: bytes | None) -> Keys:
    """A column of users or groups again."""
    return Keys(unpack_ints(codes), None if entries is None else tuple(unpack_json(entries)))  # type: ignore[arg-type]
