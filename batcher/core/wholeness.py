"""Whether files are there as a whole and of the right day: what whoever wrote them lets us know, judged by figures."""

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
"""How programs name a file that they are still fetching or writing."""
_AHEAD = 300.0
"""Seconds by which clocks of two machines may differ."""
_RANGE = re.compile(r"([0-9]*)(\.\.)?([0-9]*)")


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """How many records there must be: from `least` to `most`, None for no bound."""

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
            raise ConfigurationError(f"guard.expect_rows {text!r}: write 1200, 1000..1500, 1000.. or ..1500")
        least = int(match[1]) if match[1] else None
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if least is not None and most is not None and least > most:
            raise ConfigurationError(f"guard.expect_rows {text!r}: no number is between these")
        return ExpectedRows(least, most)

    def __contains__(self, count: int) -> bool:
        return (self.least is None or count >= self.least) and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:,}"
        return f"{'' if self.least is None else f'{self.least:,}'}..{'' if self.most is None else f'{self.most:,}'}"


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of files; ages in seconds, empty and None for nothing."""

    min_age: float = 0.0
    max_age: float | None = None
    rows: ExpectedRows | None = None
    trailer: str = ""
    done_file: str = ""
    takes_open_end: bool = True
    """Whether a last line without an end is as good as the others."""
    takes_uploads: bool = True
    """Whether a name that says that the file is still being written is like any other."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known of a file before it is read. `age` may be below 0: the clock of who wrote it is ahead."""

    name: str
    age: float
    done_age: float | None = None
    """Of the file that says that this one is whole; None where there is none."""


@dataclass(slots=True)
class Content:
    """What was found in a file that was read to its end."""

    name: str
    rows: int = 0
    """Records, also those that are invalid or do not count."""
    trailer: int | None = None
    """How many there are, by its last line."""
    has_open_end: bool = False
    """Whether the last line has no end, although the others have one."""
    sheet: str = ""
    """Of a spreadsheet."""
    columns: tuple[str, ...] = ()
    """Columns of dates that were found, by their names in the file."""


def judge_arrival(files: Sequence[Arrived], demands: Demands) -> list[Ruling]:
    """What can be said before anything is read."""
    return [ruling for file in files for ruling in _judge_arrival(file, demands)]


def _judge_arrival(file: Arrived, demands: Demands) -> Iterator[Ruling]:
    age = spoken(abs(file.age))
    if not demands.takes_uploads and file.name.lower().endswith(_UPLOADING):
        yield Ruling(Guardrail.UPLOADING, True, f"{file.name} is still being written, by its name")
    if demands.min_age and file.age < demands.min_age:
        when = f"in {age}, by our clock: set guard.settle instead" if file.age < 0 else f"{age} ago"
        told = f"{file.name} was written {when}; guard.min_age asks for {spoken(demands.min_age)}"
        yield Ruling(Guardrail.MIN_AGE, True, told)
    if demands.max_age is not None and file.age < -_AHEAD:
        told = f"{file.name} will be written in {age}, by our clock: nobody can say how old it is"
        yield Ruling(Guardrail.MAX_AGE, True, told)
    if demands.max_age is not None and file.age > demands.max_age:
        told = f"{file.name} was written {age} ago; guard.max_age allows {spoken(demands.max_age)}"
        yield Ruling(Guardrail.MAX_AGE, True, told)
    if demands.done_file:
        done = demands.done_file.replace(NAME, file.name)
        if file.done_age is None:
            yield Ruling(Guardrail.DONE_FILE, True, f"there is no {done}, so {file.name} may not be whole")
        elif file.done_age > file.age:
            told = f"{done} is {spoken(file.done_age - file.age)} older than {file.name}, and of an earlier one"
            yield Ruling(Guardrail.DONE_FILE, True, told)


def judge_content(files: Sequence[Content], demands: Demands) -> list[Ruling]:
    """What can be said of files that were read."""
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
            told = f"the last line of {file.name}, after {file.rows:,} records, has no end although the others have one"
            yield Ruling(Guardrail.OPEN_END, True, told)
    if demands.rows is not None:
        rows = sum(file.rows for file in files)
        told = f"{rows:,} records, guard.expect_rows asks for {demands.rows}"
        yield Ruling(Guardrail.EXPECT_ROWS, rows not in demands.rows, told)
