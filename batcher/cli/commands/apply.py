"""`batcher apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded
from batcher.cli.flags import OverrideFlags, Speaking, load_settings


@click.command()
@opt.files_or_plan
@opt.target
@opt.simulate
@opt.ledger_path
@opt.sending
@opt.reading
@opt.guarding
@opt.arriving
@opt.canary
@opt.skip_unchanged
@opt.plan_file
@opt.unattended
@opt.speaking
def apply(
    files: tuple[str, ...],
    config: Path | None,
    override: OverrideFlags,
    plan: Path | None,
    *,
    simulate: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Send the changes, write the ledger, print a summary.

    Each FILE is CSV, JSON Lines, .json or a spreadsheet, optionally compressed (.gz, .zst); - is standard input. With
    --plan, FILE may be omitted.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.outlets.job import Job
        from batcher.cli.runs import apply as runs
        from batcher.cli.runs.runner import Output

        settings, given = load_settings(config, flags), override.parsed()
        output = Output(said.json, said.quiet, simulate)
        return Job(settings.job, "apply").run(lambda job: runs.apply(files, settings, given, plan, output, job))

    guarded(work, verbose=said.verbose)
