"""What is read, as it was when it was opened, and how it is to be understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batcher.core.errors import InputError
from batcher.core.look_alikes import Names
from batcher.source.layout import Fields, Layout
from batcher.source.refine import PLAIN, Refinement
from batcher.source.trailer import Trailer


@dataclass(frozen=True, slots=True)
class Input:
    """One file to read. `name` is what people see; a spool grows until `is_whole` says that it does not."""

    name: str
    path: Path
    format: str = ""
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)
    is_spool: bool = False
    version: tuple[int, ...] = ()
    """What it was when it was judged, or opened; when it is something else, it is not read. Empty: whatever it is."""

    def present_version(self) -> tuple[int, ...]:
        """What tells the file from one that was put in its place, or written to: device, inode, size, and when.

        Raises:
            InputError: When it is not there.

        """
        try:
            now = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns

    def as_it_is(self) -> Input:
        """The same, to be read as it is now, or as it was when it was judged."""
        return self if self.version or self.is_spool else replace(self, version=self.present_version())

    def check_version(self) -> None:
        """See that it is still what was judged, or opened.

        Raises:
            InputError: When it is not; says what has happened to it.

        """
        now = self.present_version() if self.version else self.version
        if now != self.version:
            raise InputError(f"{self.name} was {what_happened(self.version, now)}, while it was read or judged")


def what_happened(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    """To a file of which these are the versions, for people."""
    (*identity, size, _), (*other, new_size, _) = before, now
    if identity != other:
        return "replaced by another file"
    if new_size != size:
        return f"{'cut' if new_size < size else 'appended to'}: it had {size:,} bytes, and has {new_size:,} now"
    return "written to"


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are to be understood."""

    fields: Fields
    delimiter: str = ""
    """Empty: the header tells."""
    encoding: str = ""
    """Empty: UTF-8, or UTF-16 with a byte order mark."""
    sheet: str = ""
    """Of a spreadsheet; empty is the first that people see."""
    skip_rows: int = 0
    """Lines before a CSV's header."""
    refinement: Refinement = PLAIN
    names: Names = Names.EXACT
    """What the target makes of names that look alike."""
    trailer: Trailer | None = None
    """The form of a last line that counts the others."""

    def is_header(self, row: Sequence[str]) -> bool:
        """Whether a row has the columns that are needed."""
        try:
            Layout.of(row, self.fields, "", self.refinement)
        except InputError:
            return False
        return True
