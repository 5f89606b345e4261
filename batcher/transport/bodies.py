"""How large a reply may be, and decompressing bodies, which some servers compress even without being asked."""

from __future__ import annotations

import zlib

LARGEST_HEAD = 64 << 10
LARGEST_BODY = 8 << 20
"""Bytes; far above any reply of a target. A larger reply is treated as unusable."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its content coding (RFC 9110 §8.4.1), if that is known and it is not larger than `most`.

    Otherwise the body unchanged, which will not be mistaken for a success.
    """
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = unpacker.decompress(body, most)
    except zlib.error:
        return body
    return found if unpacker.eof else body
