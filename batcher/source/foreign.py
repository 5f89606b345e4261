"""What is not UTF-8 text: other encodings become it on the way in, and what is no text at all is told by its name."""

from __future__ import annotations

import codecs

from batcher.core.errors import ConfigurationError, InputError
from batcher.source.lines import Stream

HEAD = 4096
"""Bytes at the beginning of an input by which it is recognised."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""What is read as it is."""
_PAGE = "a web page, perhaps a login instead of what was to be fetched"
_FOREIGN = {
    b"PK\x03\x04": "an archive, or a spreadsheet without the ending .xlsx; give it one, or export it as CSV",
    b"PK\x05\x06": "an empty archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet without the ending .xls, or one with a password; export it as CSV",
    b"PAR1": "a Parquet file; convert it to CSV or JSON Lines",
    b"Obj\x01": "an Avro file; convert it to CSV or JSON Lines",
    b"SQLite format 3\0": "a database, perhaps a ledger: batcher results writes that as CSV",
    b"\xfd7zXZ\x00": "compressed with xz; xzcat gives what is in it",
    b"\x04\x22\x4d\x18": "compressed with lz4; lz4cat gives what is in it",
    b"\x1f\x9d": "compressed with compress; zcat gives what is in it",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; take the file out of it",
    b"Rar!\x1a\x07": "a RAR archive; take the file out of it",
    b"%PDF": "a PDF document",
    b"-----BEGIN PGP": "encrypted; gpg --decrypt gives what is in it",
    b"<?xml": "XML; convert it to CSV or JSON Lines",
    b"<!": _PAGE,
    b"<html": _PAGE,
    b"<HTML": _PAGE,
    b"sep=": "a CSV with a line for spreadsheets before its header; --skip-rows 1 passes over it",
}
_FOREIGN |= {b"BZh%d1AY&SY" % level: "compressed with bzip2; bzcat gives what is in it" for level in range(1, 10)}
_FOREIGN |= dict.fromkeys(COMPRESSED, "compressed twice; decompress it once")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNMARKED = {(0, 1, 1, 1): "utf-32-le", (1, 1, 1, 0): "utf-32-be", (0, 1, 0, 1): "utf-16-le", (1, 0, 1, 0): "utf-16-be"}
"""Which of four bytes are zero, for most of the texts of Europe."""


def check_encoding(name: str) -> None:
    """See that there is such an encoding of texts.

    Raises:
        ConfigurationError: When there is none.

    """
    try:
        known = not name or isinstance("".encode(name), bytes)
    except (LookupError, UnicodeError):
        known = False
    if not known:
        raise ConfigurationError(f"input.encoding {name!r} is unknown; for example: windows-1252, utf-16")


def marked_encoding(start: bytes) -> str:
    """What a byte order mark says (Unicode Standard, 2.6); empty for none, and for UTF-8."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "")


def refuse(start: bytes, name: str) -> None:
    """See that an input begins like a text of some line.

    Raises:
        InputError: When it is something else that people have; says what, and what to do about it.

    """
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"{name} is {what}")
    if b"\0" in start:
        encoding = _guessed(start)
        if encoding:
            raise InputError(f"{name} looks like {encoding.upper()} without a byte order mark: --encoding {encoding}")
        raise InputError(f"{name} is no text: it begins with bytes that are zero")
    if b"\r" in start and b"\n" not in start:
        raise InputError(f"{name} ends its lines with CR alone; convert it: tr '\\r' '\\n'")


def _guessed(start: bytes) -> str:
    """The encoding in which a text of ASCII characters would have its zeros just there."""
    for pattern, encoding in _UNMARKED.items():
        whole = start[: len(start) // 4 * 4]
        zeros = [whole[place::4].count(0) for place in range(4)]
        if whole and all(
            (zeros[place] * 2 > len(whole) // 4) == bool(is_zero) for place, is_zero in enumerate(pattern)
        ):
            return encoding
    return ""


class Transcoded:
    """A stream in another encoding, as UTF-8."""

    def __init__(self, stream: Stream, encoding: str, name: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int) -> bytes:
        """About so many bytes; empty at the end.

        Raises:
            InputError: When the bytes are not in this encoding.

        """
        while True:
            data = self._stream.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
                if text or not data:
                    return text.encode()
            except UnicodeError as error:
                raise InputError(f"{self._name} is not in {self._encoding}: {_why(error)}") from None

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()


def _why(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{error.object[error.start : error.end]!r} means nothing there"
    if isinstance(error, UnicodeEncodeError):  # decoded to half a character, as UTF-7 and others let pass
        return f"{error.object[error.start : error.end]!r} is no character"
    return f"{error}: --encoding utf-16-le or utf-16-be says in which order its bytes are"
