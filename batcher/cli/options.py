"""The options that several commands share, and how they become settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from batcher.settings import Settings

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE…", help="CSV, JSON Lines or .json; also .gz and .zst; - is standard input."),
]
Ledger = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger of the run.")]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="BATCHER_CONFIG", help="Configuration file (TOML).")
]
TargetKind = Annotated[
    str | None,
    typer.Option("--target", envvar="BATCHER_TARGET", help="minapp or scrutinizer.", metavar="KIND"),
]
Url = Annotated[str | None, typer.Option("--url", envvar="BATCHER_URL", help="The target's address.", metavar="URL")]
Simulate = Annotated[
    bool,
    typer.Option("--simulate", help="Start the embedded server for this run and use it; needs no account."),
]
LedgerPath = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        envvar="BATCHER_LEDGER",
        help="File or folder (with a / at its end) for the ledger; default: beside the input.",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option("--rate", envvar="BATCHER_RATE", help="Requests per unit: 50/min, 5/s, 1000/h, none.", metavar="RATE"),
]
MaxInFlight = Annotated[
    str | None,
    typer.Option("--max-in-flight", envvar="BATCHER_MAX_IN_FLIGHT", help="A number, or auto.", metavar="N"),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        "--max-failures",
        envvar="BATCHER_MAX_FAILURES",
        help="Stop beyond so many failures: 100, or 5% (of what is settled, from 1,000 on).",
        metavar="N|N%",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option("--deadline", envvar="BATCHER_DEADLINE", help="Stop after so long: 2h, 30m.", metavar="TIME"),
]
MaxWait = Annotated[
    str | None,
    typer.Option(
        "--max-wait",
        envvar="BATCHER_MAX_WAIT",
        help="Stop when no request was accepted for so long; default 15m.",
        metavar="TIME",
    ),
]
Mapping = Annotated[
    str | None,
    typer.Option("--map", help="Other column names: user=EmpID,group=Dept,op=Action.", metavar="NAME=COLUMN,…"),
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="csv, jsonl or json, where the file's name does not tell.", metavar="KIND"),
]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of CSV; default a comma.", metavar="CHAR")]
Strict = Annotated[bool, typer.Option("--strict", help="Read everything first; send nothing if one line is invalid.")]
Ordered = Annotated[bool, typer.Option("--ordered", help="Send strictly in input order, one request in flight.")]
MaxRemovals = Annotated[
    int | None,
    typer.Option("--max-removals", help="Send nothing if the input removes more.", metavar="N", min=0),
]
DespiteLaterRuns = Annotated[
    bool, typer.Option("--despite-later-runs", help="Go on although a newer run worked on the same target.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the summary.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens.")]
NoColor = Annotated[bool, typer.Option("--no-color", envvar="NO_COLOR", help="No colours.")]


def load_settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    """The configuration with the flags on top; None and False are no flags.

    Raises:
        ConfigurationError: When they cannot be used.

    """
    from batcher.settings import Settings

    return Settings.load(
        config, {key: value for key, value in flags.items() if value is not None and value is not False}
    )


def max_in_flight(text: str | None) -> int | str | None:
    """`auto`, or a number."""
    return int(text) if text is not None and text.isdecimal() else text


def mapping(text: str | None) -> dict[str, str] | None:
    """`user=EmpID,group=Dept` as a table.

    Raises:
        ConfigurationError: When it is none.

    """
    from batcher.core.errors import ConfigurationError

    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    for name, equals, column in pairs:
        if not (name and equals and column):
            raise ConfigurationError(f"--map {text!r}: write user=EmpID,group=Dept,op=Action")
    return {name.strip(): column.strip() for name, _, column in pairs}
