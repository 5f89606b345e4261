"""The formats of inputs. A new one is a module with a `Format`, and an entry point `batcher.formats`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from batcher.core.errors import ConfigurationError
from batcher.core.model import Columns
from batcher.core.wholeness import Content
from batcher.source.inputs import Input, Reading
from batcher.source.lines import Lines, Waits

GROUP = "batcher.formats"
FALLBACK = "csv"
"""What an input is taken for that no format claims."""


class Parser(Protocol):
    """Turns blocks of whole lines into columns: one input's, from its beginning on."""

    takes_whole: bool
    """Whether a block is always all of the input; then it may have 64 MiB."""

    def begin(self, lines: Lines) -> Iterator[Waits]:
        """Read what stands before the first record; gives `WAITS` while more is to come.

        Raises:
            InputError: When it is not what it should be.

        """
        ...

    def parse(self, block: bytes, line: int, *, is_last: bool) -> tuple[Iterator[Columns], int]:
        """The columns of a block whose first line has this number, and the bytes that they come from.

        Fewer bytes than the block has mean that its last record is not whole; unless `is_last`, they come again in
        front of the next block.

        Raises:
            InputError: When the input cannot be read at all. A record that is invalid is a reject of the columns.

        """
        ...

    def memory(self) -> tuple[str, str]:
        """What was decided for users and for groups, to be given to `make` where reading goes on later."""
        ...

    def describe(self, content: Content, lines: Lines) -> None:
        """Note what was found, once all is read."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is told from the others, and read."""

    name: str
    """As `--format` and `input.format` say it."""
    suffixes: tuple[str, ...]
    """Of file names: `.csv`; lower case, without those of compression."""
    claims: Callable[[bytes, str], bool]
    """Given the first block and the file's suffix (empty where no format has it), whether it is of this format."""
    make: Callable[[int, Input, Reading, tuple[str, str]], Parser]
    """Given the input's number, the input, how it is to be understood, and what was decided earlier (else empty)."""


@cache
def formats() -> dict[str, Format]:
    """All that are installed, by name."""
    found: list[Format] = [point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
    return {known.name: known for known in found}


def named(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigurationError: When there is none.

    """
    known = formats().get(name)
    if known is None:
        raise ConfigurationError(f"input.format {name!r} is not known; there are {', '.join(sorted(formats()))}")
    return known


def recognised(item: Input, block: bytes) -> Format:
    """The format of an input that begins so, where nobody has named it."""
    suffix = suffix_of(item)
    known = suffix if any(suffix in each.suffixes for each in formats().values()) else ""
    claiming = (each for each in formats().values() if each.claims(block, known))
    return next(claiming, formats()[FALLBACK])


def suffix_of(item: Input) -> str:
    """The file's last suffix, lower case, without those of compression; empty where it has none."""
    suffixes = [s.lower() for s in reversed(item.path.suffixes) if s.lower() not in {".gz", ".zst"}]
    return next(iter(suffixes), "")
