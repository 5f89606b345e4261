"""`batcher sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded
from batcher.cli.flags import Baseline, OverrideFlags, Speaking, load_settings
from batcher.cli.runs.standard_input import as_files


@click.command()
@opt.files
@opt.target
@opt.simulate
@opt.comparing
@opt.ledger_path
@opt.sending
@opt.reading
@opt.meaning
@opt.scope
@opt.guarding
@opt.arriving
@opt.feed_guarding
@opt.canary
@opt.plan_file
@opt.unattended
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Keep only the last N ledgers of the state; 0 keeps all."
)
@opt.speaking
def sync(
    files: tuple[str, ...],
    config: Path | None,
    override: OverrideFlags,
    baseline: Baseline,
    plan: Path | None,
    *,
    simulate: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Make the target match a feed.

    Each FILE is part of the feed, which lists who should be in which group; - is standard input. The differences from
    the state, or from the snapshot --current, must pass the guardrails and are then sent.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.outlets.job import Job
        from batcher.cli.runs import sync as runs
        from batcher.cli.runs.runner import Output
        from batcher.engine.preview.arrival import check_streams

        settings, given = load_settings(config, flags), override.parsed()
        output = Output(said.json, said.quiet, simulate)

        def sync_all(job: Job) -> int:
            check_streams([file for file in files if file == "-"], settings.guard)
            with as_files(files) as paths:
                goal = baseline.goal(paths, settings)
                beside = Path("stdin" if files[0] == "-" else files[0])
                return runs.sync(goal, beside, settings, given, plan, output, job)

        return Job(settings.job, "sync").run(sync_all)

    guarded(work, verbose=said.verbose)
