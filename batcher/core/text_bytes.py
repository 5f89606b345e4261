"""Checks on a whole column of texts by its bytes, many times faster than text by text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_CONTROLS = np.zeros(256, bool)
_CONTROLS[:0x20] = _CONTROLS[0x7F] = True
_LEADS, _PAIRS = np.zeros(256, bool), np.zeros(1 << 16, bool)
for _pair in (
    bytes.fromhex(
        "c2a0 c2ad cd8f d880 d881 d882 d883 d884 d885 d89c db9d dc8f e0a2 e0a3 e185 e19a e19e e1a0 e280 e281 e2a0 e380"
        "e385 efb8 efbb efbe efbf f091 f093 f09b f09d f3a0" + "".join(f"c2{second:02x}" for second in range(0x80, 0xA0))
    )
    .hex(" ", 2)
    .split()
):
    _PAIRS[int(_pair, 16)] = _LEADS[int(_pair[:2], 16)] = True
"""The first two UTF-8 bytes of every non-ASCII blank, control or format character (Unicode 15, categories Zs, Zl, Zp,
Cc and Cf, and Default_Ignorable_Code_Point), and of some other characters."""


def bytes_of(texts: pa.StringArray) -> bytes:
    """The bytes of all texts, concatenated."""
    values = texts.buffers()[2]
    if values is None or not len(texts):
        return b""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(values)[int(offsets[0]) : int(offsets[-1])].tobytes()


def has_controls(content: bytes) -> bool:
    """Whether there is an ASCII control character."""
    return bool(_CONTROLS[np.frombuffer(content, np.uint8)].any())


def may_be_unseen(content: bytes) -> bool:
    """Whether there may be a non-ASCII blank, control or format character."""
    if content.isascii():
        return False
    codes = np.frombuffer(content, np.uint8)
    leads = np.flatnonzero(_LEADS[codes[:-1]])
    return bool(_PAIRS[codes[leads].astype(np.int32) * 256 + codes[leads + 1]].any())
