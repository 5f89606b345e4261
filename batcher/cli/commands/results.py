"""`batcher results`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, set_up
from batcher.cli.option_types import FILE

if TYPE_CHECKING:
    from batcher.ledger.reader import LedgerReader


@click.command()
@opt.ledger
@click.option("--status", metavar="STATUS,…", help="Only changes with these statuses: failed,unknown,…")
@click.option(
    "--format", "format_", metavar="KIND", help="csv, jsonl or parquet; default: as the output file is named, or csv."
)
@click.option("--output", "-o", type=FILE, metavar="FILE", help="File to write; default: standard output.")
@click.option("--for-spreadsheet", is_flag=True, help="Neutralise cells that a spreadsheet would take for formulas.")
@opt.quiet
def results(
    ledger: Path, status: str | None, format_: str | None, output: Path | None, *, for_spreadsheet: bool, quiet: bool
) -> None:
    """Write one record per change, in input order.

    LEDGER is the ledger of the run.
    """
    set_up(quiet=quiet)

    def work() -> int:
        from batcher.core.errors import ConfigurationError
        from batcher.core.status import Status
        from batcher.files import replaced
        from batcher.ledger.reader import LedgerReader
        from batcher.ledger.results import FORMATS, write_results

        known = {item.label: item for item in Status}
        wanted = [text.strip() for text in status.split(",")] if status else []
        unknown = [text for text in wanted if text not in known]
        if unknown:
            raise ConfigurationError(f"unknown --status {unknown[0]!r}; expected one of {', '.join(known)}")
        suffix = output.suffix.lstrip(".") if output else ""
        kind = format_ or (suffix if suffix in FORMATS else "csv")
        if kind not in FORMATS:
            raise ConfigurationError(f"unknown --format {kind!r}; expected one of {', '.join(FORMATS)}")
        if kind == "parquet" and output is None:
            raise ConfigurationError("Parquet needs a file: -o results.parquet")
        with LedgerReader(ledger) as reader, reader.at_one_moment():
            chosen = [known[text] for text in wanted]
            if output is not None:
                _refuse_to_overwrite(output, reader)
            if output is None:
                write_results(reader, sys.stdout.buffer, kind, chosen, for_spreadsheet=for_spreadsheet)
                return 0
            try:
                with replaced(output) as file:
                    count = write_results(reader, file, kind, chosen, for_spreadsheet=for_spreadsheet)
            except OSError as error:
                raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None
        if not quiet:
            say(f"{count:,} records in {output}")
        return 0

    guarded(work)


def _refuse_to_overwrite(output: Path, reader: LedgerReader) -> None:
    """Refuse a ledger, and an input of the run, without which it could not be resumed."""
    from batcher.core.errors import ConfigurationError
    from batcher.files import found
    from batcher.ledger.facts import is_ledger

    if found(output) is None:
        return
    if is_ledger(output):
        raise ConfigurationError(f"{output} is a ledger, which is never overwritten; choose another file")
    if any(output.samefile(source.path) for source in reader.sources() if Path(source.path).exists()):
        raise ConfigurationError(f"{output} is an input of this run; choose another file")
