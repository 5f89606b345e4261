"""The options that several commands share, and how they become settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from batcher.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which the help shows them."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


files = click.argument("files", nargs=-1, required=True, metavar="FILE…")
ledger = click.argument("ledger", type=FILE, metavar="LEDGER")

target = together(
    click.option("--config", "-c", type=FILE, envvar="BATCHER_CONFIG", help="Configuration file (TOML)."),
    click.option("--target", envvar="BATCHER_TARGET", metavar="KIND", help="minapp or scrutinizer."),
    click.option("--url", envvar="BATCHER_URL", metavar="URL", help="The target's address."),
)
simulate = click.option(
    "--simulate", is_flag=True, help="Start the embedded server for this run and use it; needs no account."
)
ledger_path = click.option(
    "--ledger",
    envvar="BATCHER_LEDGER",
    metavar="PATH",
    help="File or folder (with a / at its end) for the ledger; default: beside the input.",
)
rate = click.option(
    "--rate", envvar="BATCHER_RATE", metavar="RATE", help="Requests per unit: 50/min, 5/s, 1000/h, none."
)
sending = together(
    rate,
    click.option("--max-in-flight", envvar="BATCHER_MAX_IN_FLIGHT", metavar="N", help="A number, or auto."),
    click.option(
        "--max-failures",
        envvar="BATCHER_MAX_FAILURES",
        metavar="N|N%",
        help="Stop beyond so many failures: 100, or 5% (of what is settled, from 1,000 on).",
    ),
    click.option("--deadline", envvar="BATCHER_DEADLINE", metavar="TIME", help="Stop after so long: 2h, 30m."),
    click.option(
        "--max-wait",
        envvar="BATCHER_MAX_WAIT",
        metavar="TIME",
        help="Stop when no request was accepted for so long; default 15m.",
    ),
)
reading = together(
    click.option("--map", "map_", metavar="NAME=COLUMN,…", help="Other column names: user=EmpID,group=Dept,op=Action."),
    click.option(
        "--format", "format_", metavar="KIND", help="csv, jsonl or json, where the file's name does not tell."
    ),
    click.option("--delimiter", metavar="CHAR", help="Of CSV; default: the header tells (comma, semicolon, tab)."),
    click.option("--encoding", metavar="NAME", help="Default UTF-8, or UTF-16 with its mark; windows-1252, …."),
    click.option("--sheet", metavar="NAME", help="Of a spreadsheet; default the first."),
    click.option("--skip-rows", type=click.IntRange(min=0), metavar="N", help="Lines before the header of a CSV."),
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=PATTERN",
        help="Only records whose column matches (* and ?), or does not: EmpID!=Total*. All of several must hold.",
    ),
    click.option("--strict", is_flag=True, help="Read everything first; send nothing if one line is invalid."),
    click.option("--ordered", is_flag=True, help="Send strictly in input order, one request in flight."),
    click.option(
        "--max-removals", type=click.IntRange(min=0), metavar="N", help="Send nothing if the input removes more."
    ),
)
despite_later_runs = click.option(
    "--despite-later-runs", is_flag=True, help="Go on although a newer run worked on the same target."
)
json = click.option("--json", is_flag=True, help="One JSON object on standard output, nothing else.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Only errors and the summary.")
speaking = together(
    json,
    quiet,
    click.option("--verbose", "-v", is_flag=True, help="Say more about what happens."),
    click.option("--no-color", is_flag=True, help="No colours; NO_COLOR in the environment does the same."),
)

_KEYS = {
    "target": "target.kind",
    "url": "target.url",
    "rate": "rate.requests",
    "max_in_flight": "rate.max_in_flight",
    "max_failures": "guard.max_failures",
    "deadline": "guard.deadline",
    "max_removals": "guard.max_removals",
    "max_wait": "retry.max_wait",
    "map_": "input.map",
    "format_": "input.format",
    "delimiter": "input.delimiter",
    "encoding": "input.encoding",
    "sheet": "input.sheet",
    "skip_rows": "input.skip_rows",
    "where": "input.where",
    "strict": "input.strict",
    "ordered": "input.ordered",
    "ledger": "ledger.path",
}
"""Which setting a flag changes."""


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The configuration with the flags on top; None and False are no flags.

    Raises:
        ConfigurationError: When they cannot be used.

    """
    from batcher.settings import Settings

    return Settings.load(config, overrides(flags))


def overrides(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that were given as settings: `{"rate.requests": "5/s"}`.

    Raises:
        ConfigurationError: When one cannot be understood.

    """
    given = {name: value for name, value in flags.items() if value is not None and value is not False and value != ()}
    given |= {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    if str(given.get("max_in_flight", "")).isdecimal():
        given["max_in_flight"] = int(given["max_in_flight"])
    if "map_" in given:
        given["map_"] = _mapping(given["map_"])
    return {_KEYS[name]: value for name, value in given.items()}


def _mapping(text: str) -> dict[str, str]:
    """`user=EmpID,group=Dept` as a table."""
    from batcher.core.errors import ConfigurationError

    pairs = [part.partition("=") for part in text.split(",")]
    for name, equals, column in pairs:
        if not (name and equals and column):
            raise ConfigurationError(f"--map {text!r}: write user=EmpID,group=Dept,op=Action")
    return {name.strip(): column.strip() for name, _, column in pairs}
