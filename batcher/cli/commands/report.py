"""`batcher report`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, set_up
from batcher.cli.option_types import FILE

_SUFFIX = ".html"


@click.command()
@click.argument("source", type=FILE, metavar="LEDGER|LOAD.json")
@click.option(
    "--output",
    "-o",
    type=FILE,
    metavar="FILE",
    help="File to write; default: next to the source, with .html appended.",
)
@opt.quiet
def report(source: Path, output: Path | None, *, quiet: bool) -> None:
    """Show a run, or a load run, as one HTML page.

    The page is self-contained: it can be mailed, archived, printed and read offline. It names users and groups, and
    the reasons why changes were not applied, but contains no secrets.
    """
    set_up(quiet=quiet)

    def work() -> int:
        from datetime import UTC, datetime

        from batcher.core.errors import ConfigurationError
        from batcher.files import found, is_file, replaced, shortened
        from batcher.ledger.facts import is_ledger
        from batcher.report.page import render

        if not is_file(source):
            raise ConfigurationError(f"{source}: no such file")
        file = output or source.with_name(shortened(source.name, len(_SUFFIX)) + _SUFFIX)
        if found(file) is not None and (file.samefile(source) or is_ledger(file)):
            raise ConfigurationError(f"{file} is the source of the report, or a ledger; choose another file")
        now = datetime.now(UTC).timestamp()
        if is_ledger(source):
            from batcher.report.of_ledger import of_ledger

            content = of_ledger(source, now)
        else:
            from batcher.load.measurement import read_measurement
            from batcher.report.of_load import of_load

            content = of_load(read_measurement(source), now)
        try:
            with replaced(file) as out:
                out.write(render(content).encode())
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
        if not quiet:
            say(f"{file}: open it in a browser")
        return 0

    guarded(work)
