"""Whether input files are complete and recent, judged by what their producer lets us know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batcher.core.errors import ConfigurationError
from batcher.core.guardrails import Guardrail, Ruling
from batcher.core.units import spoken

ROWS = "{rows}"
NAME = "{name}"
_UPLOADING = (".tmp", ".part", ".filepart", ".partial", ".crdownload", ".download")
"""Extensions that programs give to files while they are still being downloaded or written."""
_AHEAD = 300.0
"""How many seconds the clocks of two machines may differ."""
_RANGE = re.compile(r"([0-9]*)(\.\.)?([0-9]*)")


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """The expected number of records: from `least` to `most`; None means no bound."""

    least: int | None
    most: int | None

    @staticmethod
    def parse(text: str) -> ExpectedRows:
        """`1200`, `1000..1500`, `1000..`, `..1500`.

        Raises:
            ConfigurationError: When it is none of these.

        """
        match = _RANGE.fullmatch(text.strip())
        if match is None or not (match[1] or match[3]):
            raise ConfigurationError(
                f"invalid guard.expect_rows {text!r}; expected e.g. 1200, 1000..1500, 1000.., ..1500"
            )
        least = int(match[1]) if match[1] else None
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if least is not None and most is not None and least > most:
            raise ConfigurationError(f"invalid guard.expect_rows {text!r}; the first number must not exceed the second")
        return ExpectedRows(least, most)

    def __contains__(self, count: int) -> bool:
        return (self.least is None or count >= self.least) and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:,}"
        return f"{'' if self.least is None else f'{self.least:,}'}..{'' if self.most is None else f'{self.most:,}'}"


@dataclass(frozen=True, slots=True)
class Demands:
    """Requirements on files. Ages are in seconds; empty and None mean no requirement."""

    min_age: float = 0.0
    max_age: float | None = None
    rows: ExpectedRows | None = None
    trailer: str = ""
    done_file: str = ""
    takes_open_end: bool = True
    """Whether a last line without a line break is accepted."""
    takes_uploads: bool = True
    """Whether file names of partial uploads are accepted."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known about a file before it is read. `age` is negative if the clock of its producer is ahead."""

    name: str
    age: float
    done_age: float | None = None
    """The age of the file that says that this one is complete; None if there is no such file."""


@dataclass(slots=True)
class Content:
    """The content of a file that was read to its end."""

    name: str
    rows: int = 0
    """The number of records, including those that are invalid or filtered out."""
    trailer: int | None = None
    """The number of records that the last line states."""
    has_open_end: bool = False
    """Whether the last line has no line break although the others have one."""
    sheet: str = ""
    """The sheet that was read, if it is a spreadsheet."""
    columns: tuple[str, ...] = ()
    """The date columns that were found, by their names in the file."""


def judge_arrival(files: Sequence[Arrived], demands: Demands) -> list[Ruling]:
    """Judge files before they are read."""
    return [ruling for file in files for ruling in _judge_arrival(file, demands)]


def _judge_arrival(file: Arrived, demands: Demands) -> Iterator[Ruling]:
    age = spoken(abs(file.age))
    if not demands.takes_uploads and file.name.lower().endswith(_UPLOADING):
        yield Ruling(Guardrail.UPLOADING, True, f"{file.name} is still being written, judging by its name")
    if demands.min_age and file.age < demands.min_age:
        when = f"{age} in the future by our clock (set guard.settle instead)" if file.age < 0 else f"{age} ago"
        told = f"{file.name} was written {when}; guard.min_age requires {spoken(demands.min_age)}"
        yield Ruling(Guardrail.MIN_AGE, True, told)
    if demands.max_age is not None and file.age < -_AHEAD:
        told = f"{file.name} was written {age} in the future by our clock, so its age is unknown"
        yield Ruling(Guardrail.MAX_AGE, True, told)
    if demands.max_age is not None and file.age > demands.max_age:
        told = f"{file.name} was written {age} ago; guard.max_age allows {spoken(demands.max_age)}"
        yield Ruling(Guardrail.MAX_AGE, True, told)
    if demands.done_file:
        done = demands.done_file.replace(NAME, file.name)
        if file.done_age is None:
            yield Ruling(Guardrail.DONE_FILE, True, f"there is no {done}, so {file.name} may be incomplete")
        elif file.done_age > file.age:
            told = (
                f"{done} is {spoken(file.done_age - file.age)} older than {file.name}, so it belongs to an earlier file"
            )
            yield Ruling(Guardrail.DONE_FILE, True, told)


def judge_content(files: Sequence[Content], demands: Demands) -> list[Ruling]:
    """Judge files that were read."""
    return list(_judge_content(files, demands))


def _judge_content(files: Sequence[Content], demands: Demands) -> Iterator[Ruling]:
    for file in files:
        if demands.trailer and file.trailer is None:
            told = f"{file.name} does not end with a line like {demands.trailer!r} ({file.rows:,} records were read)"
            yield Ruling(Guardrail.TRAILER, True, told)
        elif file.trailer is not None:
            told = f"{file.name} holds {file.rows:,} records, its last line says {file.trailer:,}"
            yield Ruling(Guardrail.TRAILER, file.trailer != file.rows, told)
        elif file.has_open_end and not demands.takes_open_end:
            where = f"the last line of {file.name}, after {file.rows:,} records,"
            told = f"{where} has no line break although the others have one"
            yield Ruling(Guardrail.OPEN_END, True, told)
    if demands.rows is not None:
        rows = sum(file.rows for file in files)
        told = f"{rows:,} records, guard.expect_rows requires {demands.rows}"
        yield Ruling(Guardrail.EXPECT_ROWS, rows not in demands.rows, told)
