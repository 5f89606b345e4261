"""`batcher apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up


@click.command()
@opt.files
@opt.target
@opt.simulate
@opt.ledger_path
@opt.sending
@opt.reading
@opt.speaking
def apply(
    files: tuple[str, ...],
    config: Path | None,
    *,
    simulate: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Send the changes, write the ledger, print a summary.

    Each FILE is CSV, JSON Lines or .json, also .gz and .zst; - is standard input.
    """
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> int:
        from batcher.cli import sending

        settings = opt.load_settings(config, flags)
        return sending.apply(files, settings, simulate=simulate, as_json=json, quiet=quiet)

    guarded(work, verbose=verbose)
