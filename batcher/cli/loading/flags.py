"""The flags of `batcher load`, apart from those that are settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from batcher.core.arrivals import parse_arrivals
from batcher.core.errors import ConfigurationError, InputError
from batcher.core.expectations import Expectation
from batcher.core.units import parse_duration, parse_share
from batcher.files import expanded
from batcher.load.synthetic import Synthetic
from batcher.small_files import read_text

_SYNTHETIC = tuple(field.name for field in fields(Synthetic))
_LIMIT = ("p99<=500ms", "errors<=0.1%")
"""What a search for the limit expects unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class LoadFlags:
    """The load's own flags."""

    files: tuple[str, ...]
    arrivals: str | None
    is_closed: bool
    seconds: float
    most: int | None
    warm_up: float
    synthetic: dict[str, Any]
    changes_per_request: int | None
    expectations: tuple[Expectation, ...]
    is_search: bool
    processes: int
    cleans_up: bool
    owns_target: bool

    @staticmethod
    def of(files: tuple[str, ...], flags: dict[str, Any]) -> LoadFlags:
        """Take them out of all flags.

        Raises:
            UsageError: When they make no sense, alone or together.

        """
        every = {name: flags.pop(name) for name in _SYNTHETIC}
        given = {name: value for name, value in every.items() if value is not None and value is not False}
        for name in ("remove_share", "bad_share"):
            if name in given:
                given[name] = parse_share(given[name]) or 0.0
        Synthetic(**given).check()
        if files and given:
            raise ConfigurationError(f"--{next(iter(given)).replace('_', '-')} is for synthetic changes, not for files")
        is_search = flags.pop("find_limit")
        expected = tuple(map(Expectation.parse, flags.pop("expect") or (_LIMIT if is_search else ())))
        made = LoadFlags(
            files,
            _schedule(flags.pop("arrivals")),
            flags.pop("closed"),
            parse_duration(flags.pop("duration")),
            flags.pop("requests"),
            parse_duration(flags.pop("warm_up")),
            given,
            flags.pop("changes_per_request"),
            expected,
            is_search,
            flags.pop("processes"),
            flags.pop("clean_up"),
            flags.pop("i_own_this_target"),
        )
        made._check()
        return made

    def _check(self) -> None:
        if self.arrivals is not None and self.is_closed:
            raise ConfigurationError("--closed has no schedule; omit --arrivals or --closed")
        if self.files and self.processes > 1:
            raise ConfigurationError("--processes can only distribute synthetic changes, not files; omit it")
        if "-" in self.files:
            raise InputError("a load run reads files, not standard input")
        if not self.is_closed:
            schedule = parse_arrivals(self.schedule, self.seconds)
            if self.is_search and len(schedule.stages) > 1:
                raise ConfigurationError(
                    "--find-limit chooses its own steps; give --arrivals a single rate to start with"
                )
        elif self.is_search:
            raise ConfigurationError("--find-limit raises the rate of a schedule; omit --closed")

    @property
    def schedule(self) -> str:
        """Of an open loop; empty for a closed one."""
        return "" if self.is_closed else "10/s" if self.arrivals is None else self.arrivals


def _schedule(text: str | None) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    try:
        return read_text(expanded(text[1:], "--arrivals"))
    except OSError as error:
        raise ConfigurationError(f"--arrivals {text}: {error}") from None
