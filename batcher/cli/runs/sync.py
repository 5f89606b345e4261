"""The jobs that work with a state, as the command line runs them."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path

from batcher.cli.outlets.job import Job
from batcher.cli.runs.memory import be_frugal
from batcher.cli.runs.new_run import as_planned, new_ledger, new_run, sizes_of
from batcher.cli.runs.runner import Output
from batcher.core.errors import ConfigurationError
from batcher.core.report import Report
from batcher.engine.jobs.context import RunContext
from batcher.engine.preview.guardrails import Override
from batcher.engine.sync.diff import SyncDiff
from batcher.engine.sync.goal import Goal
from batcher.engine.sync.saved_plan import Basis, SavedPlan, check_unchanged, fingerprints, read_plan
from batcher.engine.sync.sync import Terms
from batcher.engine.sync.sync import sync as sync_feed
from batcher.engine.sync.undo import undo_changes
from batcher.settings import Settings


def _be_frugal() -> None:
    be_frugal()
    atexit.register(gc.unfreeze)  # frozen objects look like leaks to DuckDB, which checks at exit


def sync(
    goal: Goal, beside: Path, settings: Settings, given: Override, plan: Path | None, output: Output, job: Job
) -> int:
    """Run `sync`; returns the exit code. The ledger goes next to `beside`, unless the settings say otherwise."""
    _be_frugal()
    bound = read_plan(plan) if plan else None

    def agreed(draft: SyncDiff) -> None:
        if bound is not None:
            if bound.command != "sync":
                raise ConfigurationError(f"{plan} is a plan for batcher {bound.command}, not for batcher sync")
            check_unchanged(
                bound, fingerprints([*goal.feed, *goal.current], as_planned(settings, output), Basis.of(draft))
            )

    with new_ledger([beside], settings) as path:

        async def work(context: RunContext) -> Report:
            return await sync_feed(goal, context, Terms(given, agreed))

        return new_run(work, path, goal.state or path, settings, [], output, job)


def undo(bound: SavedPlan, settings: Settings, given: Override, output: Output, job: Job) -> int:
    """Apply a plan of `undo` and record it in the state; returns the exit code."""
    _be_frugal()
    files, state = [Path(file) for file in bound.files], Path(bound.state)

    def agreed(draft: SyncDiff) -> None:
        check_unchanged(bound, fingerprints(files, as_planned(settings, output), Basis(draft.state)))

    with new_ledger(files, settings) as path:

        async def work(context: RunContext) -> Report:
            return await undo_changes(files, state, context, Terms(given, agreed))

        return new_run(work, path, state, settings, sizes_of(files), output, job)
