"""Opening files as UTF-8 bytes: decompressed, transcoded, or a sheet's cells as CSV."""

from __future__ import annotations

from typing import cast

import pyarrow as pa

from batcher.core.errors import InputError
from batcher.source.foreign import COMPRESSED, Transcoded, marked_encoding
from batcher.source.inputs import Input, Reading
from batcher.source.lines import Stream
from batcher.source.sheets import Sheet, chosen_sheet, is_spreadsheet

LEAST = 4
"""How many bytes are needed to recognise an input."""


def sheet_of(item: Input, how: Reading) -> str:
    """The sheet of a spreadsheet that is read; empty for any other file.

    Raises:
        InputError: When the file cannot be read, or the sheet is ambiguous.

    """
    if not is_sheet(item):
        return ""
    return chosen_sheet(item.path, how.sheet, how.skip_rows, how.is_header)


def is_sheet(item: Input) -> bool:
    """Whether it is read as a spreadsheet; input from a pipe is not."""
    return is_spreadsheet(item.path) and not item.is_spool


def open_as_utf8(item: Input, how: Reading) -> Stream:
    """The input's bytes as UTF-8."""
    if is_sheet(item):
        return Sheet(item.path, how.sheet, how.skip_rows, how.is_header)
    stream = _Begun(_decompressed(item))
    encoding = how.encoding or marked_encoding(stream.head)
    return Transcoded(stream, encoding, item.name) if encoding else stream


def _decompressed(item: Input) -> Stream:
    """The input's decompressed bytes."""
    with item.path.open("rb") as file:
        magic = file.read(LEAST)
    codec = next((name for start, name in COMPRESSED.items() if magic.startswith(start)), None)
    if codec is None:
        return item.path.open("rb", buffering=0)
    if item.is_spool:  # even a complete one: the outcome must not depend on timing
        raise InputError(f"{item.name} is compressed; pipe it through zcat or zstdcat first")
    return cast("Stream", pa.input_stream(str(item.path), compression=codec))


class _Begun:
    """A stream whose first bytes have been read ahead."""

    def __init__(self, stream: Stream) -> None:
        self.head = b""
        while len(self.head) < LEAST and (piece := stream.read(LEAST - len(self.head))):
            self.head += piece
        self._stream = stream
        self._unread = self.head

    def read(self, size: int) -> bytes:
        """At most `size` bytes, or the bytes read ahead if these are more."""
        head, self._unread = self._unread, b""
        return head + self._stream.read(max(0, size - len(head))) if len(head) < size else head

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()
