"""`apply`, as the command line runs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace as replace_struct

from batcher.cli.outlets.job import Job
from batcher.cli.runs.memory import be_frugal
from batcher.cli.runs.new_run import as_planned, new_ledger, new_run, sizes_of
from batcher.cli.runs.runner import Output
from batcher.cli.runs.standard_input import standard_input
from batcher.core.errors import ConfigurationError, InputError
from batcher.core.report import Report
from batcher.engine.jobs.apply import Pipe
from batcher.engine.jobs.apply import apply as apply_changes
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference
from batcher.engine.preview.guardrails import Override
from batcher.engine.sync.saved_plan import SavedPlan, check_unchanged, fingerprints, read_plan
from batcher.host.run_registry import state_folder
from batcher.settings import Settings


def inputs_of(files: Sequence[str]) -> list[Path | Pipe]:
    """Paths, or pipes for `-` (standard input) and for anything else that can be read only once."""
    return [_input_of(file) for file in files]


def _input_of(file: str) -> Path | Pipe:
    if file == "-":
        return Pipe("-", standard_input())
    path = Path(file)
    return Pipe(file, path.open("rb")) if path.is_fifo() or path.is_char_device() else path


def apply(
    files: Sequence[str], settings: Settings, given: Override, plan: Path | None, output: Output, job: Job
) -> int:
    """Run `apply`; returns the exit code."""
    bound = read_plan(plan) if plan else None
    if bound is not None and bound.command == "sync":
        raise ConfigurationError(f"{plan} is a plan for sync; run batcher sync … --plan {plan}")
    if not files and bound is None:
        raise InputError("nothing to apply: give a FILE, or --plan FILE")
    inputs = inputs_of(files or (bound.files if bound else ()))
    if bound is not None:
        settings = for_difference(settings) if bound.command == "undo" else settings
        check_unchanged(
            bound, fingerprints([item for item in inputs if isinstance(item, Path)], as_planned(settings, output))
        )
    if bound is not None and bound.undone and not bound.state:
        check_no_later_runs(bound, Path(bound.undone))
    if bound is not None and bound.state:
        from batcher.cli.runs.sync import undo

        return undo(bound, settings, given, output, job)
    be_frugal()
    with new_ledger(inputs, settings) as path:

        async def work(context: RunContext) -> Report:
            return await apply_changes(inputs, context, override=given)

        return new_run(work, path, path, settings, sizes_of(inputs), output, job)


def check_no_later_runs(bound: SavedPlan, ledger: Path) -> None:
    """For an undo without a state: check that it takes into account all runs after the one that it undoes."""
    from batcher.engine.sync.undo import later_runs

    now = later_runs(ledger, state_folder(os.environ))
    check_unchanged(bound, replace_struct(bound.fingerprints, state=now))
