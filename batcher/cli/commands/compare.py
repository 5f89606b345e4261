"""`batcher compare`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, set_up, write_json, write_lines
from batcher.cli.option_types import FILE

if TYPE_CHECKING:
    from batcher.load.comparison import ComparedFigure, Comparison

_WORSE = 8


@click.command()
@click.argument("before", type=FILE, metavar="BEFORE")
@click.argument("after", type=FILE, metavar="AFTER")
@click.option(
    "--threshold",
    default="5%",
    metavar="N%",
    help="Exit with 8 if a figure is significantly worse by more; default 5%.",
)
@click.option("--actual", is_flag=True, help="Compare latencies from the actual start, not the intended one.")
@opt.json
@opt.quiet
def compare(before: Path, after: Path, threshold: str, *, actual: bool, json: bool, quiet: bool) -> None:
    """Compare two load runs, from the files that batcher load -o wrote.

    Prints how each figure changed, with a 95 % confidence interval. Judged are p50, p90 and p99, the throughput, and
    the share of errors.
    """
    set_up(quiet=quiet)

    def work() -> int:
        from batcher.core.errors import ConfigurationError
        from batcher.core.units import parse_share
        from batcher.load.comparison import compare as compared
        from batcher.load.measurement import read_measurement

        share = parse_share(threshold)
        if share is None:
            raise ConfigurationError("--threshold must be a share, such as 5%")
        kind = "actual" if actual else "intended"
        found = compared(read_measurement(before), read_measurement(after), share, kind)
        code = _WORSE if found.is_worse else 0
        if json:
            write_json(_content(found, code))
        else:
            write_lines(map(_told, found.lines))
        if not quiet and not json:
            for note in found.notes:
                say(f"note: {note}")
            worse = ", ".join(line.name for line in found.lines if line.is_worse)
            say(f"batcher: significantly worse: {worse}" if worse else "nothing is significantly worse")
        return code

    guarded(work)


def _content(found: Comparison, code: int) -> dict[str, Any]:
    return {"exit_code": code, "notes": list(found.notes), "figures": [_plain(line) for line in found.lines]}


def _plain(line: ComparedFigure) -> dict[str, Any]:
    known = {name: value if math.isfinite(value) else None for name, value in asdict(line.change).items()}
    return {"name": line.name, "unit": line.unit} | known | {"judged": line.is_judged, "worse": line.is_worse}


def _told(line: ComparedFigure) -> str:
    change = line.change
    if line.name == "errors":
        mark = "  worse" if line.is_worse else ""
        return f"{line.name:>9} {change.before:>11.3%} → {change.after:>11.3%}{mark}"
    bounds = f"{change.low:+.1%} … {change.high:+.1%}" if math.isfinite(change.low) else "not known"
    mark = "  worse" if line.is_worse else ""
    return (
        f"{line.name:>9} {change.before:>11,.3f} → {change.after:>11,.3f} {line.unit:<3}"
        f" {change.change:>+8.1%}  ({bounds}){mark}"
    )
