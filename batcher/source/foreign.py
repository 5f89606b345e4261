"""Inputs that are not UTF-8: other encodings are converted, and other kinds of files are refused by name."""

from __future__ import annotations

import codecs

from batcher.core.errors import ConfigurationError, InputError
from batcher.source.lines import Stream

HEAD = 4096
"""How many bytes at the beginning of an input are examined to recognise it."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""Compressions that are decompressed on the fly."""
_PAGE = "a web page, perhaps a login page instead of the expected file"
_FOREIGN = {
    b"PK\x03\x04": "an archive, or a spreadsheet without the extension .xlsx; add it, or export the file as CSV",
    b"PK\x05\x06": "an empty archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet without the extension .xls, or one with a password; export it as CSV",
    b"PAR1": "a Parquet file; convert it to CSV or JSON Lines",
    b"Obj\x01": "an Avro file; convert it to CSV or JSON Lines",
    b"SQLite format 3\0": "a database, perhaps a ledger; export a ledger as CSV with batcher results",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it with xzcat",
    b"\x04\x22\x4d\x18": "compressed with lz4; decompress it with lz4cat",
    b"\x1f\x9d": "compressed with compress; decompress it with zcat",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; extract the file from it",
    b"Rar!\x1a\x07": "a RAR archive; extract the file from it",
    b"%PDF": "a PDF document",
    b"-----BEGIN PGP": "encrypted; decrypt it with gpg --decrypt",
    b"<?xml": "XML; convert it to CSV or JSON Lines",
    b"<!": _PAGE,
    b"<html": _PAGE,
    b"<HTML": _PAGE,
    b"sep=": "a CSV with a line for spreadsheets before its header; skip it with --skip-rows 1",
}
_FOREIGN |= {b"BZh%d1AY&SY" % level: "compressed with bzip2; decompress it with bzcat" for level in range(1, 10)}
_FOREIGN |= dict.fromkeys(COMPRESSED, "compressed twice; decompress it once")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins like that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNMARKED = {(0, 1, 1, 1): "utf-32-le", (1, 1, 1, 0): "utf-32-be", (0, 1, 0, 1): "utf-16-le", (1, 0, 1, 0): "utf-16-be"}
"""Which of four bytes are zero, for most texts in European languages."""


def check_encoding(name: str) -> None:
    """Check that there is such a text encoding.

    Raises:
        ConfigurationError: When there is not.

    """
    try:
        known = not name or isinstance("".encode(name), bytes)
    except (LookupError, UnicodeError):
        known = False
    if not known:
        raise ConfigurationError(f"unknown input.encoding {name!r}; expected e.g. windows-1252, utf-16")


def marked_encoding(start: bytes) -> str:
    """The encoding given by a byte order mark (Unicode Standard, 2.6); empty for none, and for UTF-8."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "")


def refuse(start: bytes, name: str) -> None:
    """Check that an input begins like a text with lines.

    Raises:
        InputError: When it is some other common kind of file; says which, and what to do about it.

    """
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"{name} is {what}")
    if b"\0" in start:
        encoding = _guessed(start)
        if encoding:
            raise InputError(
                f"{name} looks like {encoding.upper()} without a byte order mark; use --encoding {encoding}"
            )
        raise InputError(f"{name} is not a text file: it begins with zero bytes")
    if b"\r" in start and b"\n" not in start:
        raise InputError(f"{name} ends its lines with CR alone; convert them: tr '\\r' '\\n'")


def _guessed(start: bytes) -> str:
    """The encoding in which a text of ASCII characters would have zeros in these places; empty if there is none."""
    for pattern, encoding in _UNMARKED.items():
        whole = start[: len(start) // 4 * 4]
        zeros = [whole[place::4].count(0) for place in range(4)]
        if whole and all(
            (zeros[place] * 2 > len(whole) // 4) == bool(is_zero) for place, is_zero in enumerate(pattern)
        ):
            return encoding
    return ""


class Transcoded:
    """Converts a stream in another encoding to UTF-8."""

    def __init__(self, stream: Stream, encoding: str, name: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int) -> bytes:
        """About `size` bytes; empty at the end.

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
                raise InputError(f"{self._name} is not valid {self._encoding}: {_why(error)}") from None

    def close(self) -> None:
        """Free the stream."""
        self._stream.close()


def _why(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{error.object[error.start : error.end]!r} cannot be decoded"
    if isinstance(error, UnicodeEncodeError):  # decoded to half a character, which UTF-7 and others allow
        return f"{error.object[error.start : error.end]!r} is not a character"
    return f"{error}; give the byte order: --encoding utf-16-le or utf-16-be"
