"""Inputs, with the version of the file that was opened, and how to interpret them."""

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
    """One file to read. `name` is shown to people; a spool grows until `is_whole` returns true."""

    name: str
    path: Path
    format: str = ""
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)
    is_spool: bool = False
    version: tuple[int, ...] = ()
    """The version that was judged or opened; if the file has another one, it is not read. Empty: any version."""

    def present_version(self) -> tuple[int, ...]:
        """The current version, by which a replaced or modified file is detected: device, inode, size, and time.

        Raises:
            InputError: When the file cannot be found.

        """
        try:
            now = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror}") from None
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns

    def as_it_is(self) -> Input:
        """The same input, bound to the current version, or to the one that was judged."""
        return self if self.version or self.is_spool else replace(self, version=self.present_version())

    def check_version(self) -> None:
        """Check that the file still has the version that was judged or opened.

        Raises:
            InputError: When it does not; says what happened to it.

        """
        now = self.present_version() if self.version else self.version
        if now != self.version:
            raise InputError(f"{self.name} was {what_happened(self.version, now)} while it was being read or checked")


def what_happened(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    """What happened to a file between these versions, for messages."""
    (*identity, size, _), (*other, new_size, _) = before, now
    if identity != other:
        return "replaced by another file"
    if new_size != size:
        return f"{'truncated' if new_size < size else 'appended to'} (from {size:,} to {new_size:,} bytes)"
    return "modified"


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are interpreted."""

    fields: Fields
    delimiter: str = ""
    """Empty: inferred from the header."""
    encoding: str = ""
    """Empty: UTF-8, or UTF-16 with a byte order mark."""
    sheet: str = ""
    """The sheet of a spreadsheet; empty: the first visible one."""
    skip_rows: int = 0
    """The number of lines before a CSV's header."""
    refinement: Refinement = PLAIN
    names: Names = Names.EXACT
    """How the target treats names that look alike."""
    trailer: Trailer | None = None
    """The form of a last line that states the number of records."""

    def is_header(self, row: Sequence[str]) -> bool:
        """Whether a row has the required columns."""
        try:
            Layout.of(row, self.fields, "", self.refinement)
        except InputError:
            return False
        return True
