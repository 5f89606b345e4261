"""`batcher load --clean-up LEDGER…`: removes what load runs left behind, however they ended, from their ledgers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import anyio

from batcher.cli.console import print_summary, say
from batcher.cli.runs.runner import Output, given_credentials, watch_signals
from batcher.core.errors import LedgerError
from batcher.core.report import command
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import not_begun
from batcher.engine.jobs.reaching import Reach
from batcher.engine.jobs.summary import LOAD, report, when
from batcher.host.run_registry import state_folder
from batcher.ledger.lock import held, is_held
from batcher.ledger.reader import LedgerReader
from batcher.load.clean_up import clean_up, cleaning_files, patient, write_removals
from batcher.load.real import Spinning, load_runtime
from batcher.settings import Settings


async def clean_up_ledgers(ledgers: Sequence[Path], reach: Reach, output: Output) -> int:
    """Remove what the load runs of these ledgers have added, or may have; returns the exit code.

    Raises:
        LedgerError: When one is not that of a load run, belongs to another target, or was cleaned up already.
        LedgerHeldError: When a load run still works on one.

    """
    settings, is_simulated = _common(ledgers)
    removals, cleaning = cleaning_files(ledgers[0])
    if is_simulated:
        say("batcher: the simulated target no longer exists, nor does anything in it: there is nothing to remove")
        return 0
    if cleaning.exists() and cleaning.stat().st_size:
        if report(cleaning).exit_code == 0:
            say(f"batcher: these load runs were cleaned up already; see the ledger {cleaning}")
            return 0
        raise LedgerError(
            f"{cleaning} is the ledger of an earlier clean-up; to continue that: {command('resume', cleaning)}"
        )
    settings = patient(settings.replace(**reach))
    given = given_credentials(settings, simulated=False)
    removals.unlink(missing_ok=True)  # of an attempt that was killed before it began
    if not write_removals(ledgers, removals):
        removals.unlink()
        say("batcher: these load runs added nothing")
        return 0
    shutdown = Shutdown()
    result = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch_signals, shutdown, group.cancel_scope)
        world = load_runtime(state_folder(os.environ), Spinning())
        result = await clean_up(removals, ledgers, RunContext(settings, given, cleaning, world, shutdown))
        group.cancel_scope.cancel()
    if result is None:
        raise not_begun(shutdown)
    if result.exit_code == 0:
        removals.unlink()
    print_summary(
        result,
        as_json=output.as_json,
        quiet=output.quiet,
        when=when(result.stopped, settings.retry.grace_seconds, world.clock.utc()),
        is_simulated=False,
    )
    return result.exit_code


def _common(ledgers: Sequence[Path]) -> tuple[Settings, bool]:
    """The settings of the first run, and whether it is simulated; all must have the same target and have ended."""
    found = []
    for ledger in ledgers:
        with LedgerReader(ledger) as reader:
            facts = reader.facts()
        if facts.get("kind") != LOAD:
            raise LedgerError(
                f"{ledger} is not the ledger of a load run; to reverse any other run: {command('undo', ledger)}"
            )
        if is_held(ledger):
            raise held(ledger)
        found.append(facts)
    if len({(facts["target"], facts["url"], facts["env"]) for facts in found}) > 1:
        raise LedgerError("these ledgers belong to different targets; clean up one target at a time")
    return Settings.from_json(found[0]["settings"]), "simulated" in found[0]
