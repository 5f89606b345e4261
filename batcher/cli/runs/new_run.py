"""What all commands that create a ledger have in common."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from batcher.api import named_ledger
from batcher.cli.outlets.job import Job
from batcher.cli.runs.runner import Output, embedded, given_credentials, journal_of, run_async, run_job
from batcher.core.errors import LedgerError
from batcher.core.report import Report
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Pipe
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import check_new
from batcher.engine.run.observers import Observer
from batcher.files import expanded, found, remove
from batcher.host.run_registry import state_folder
from batcher.host.runtime import real_runtime
from batcher.settings import Settings

MakingRun = Callable[[RunContext], Awaitable[Report]]


def new_run(
    working: MakingRun, ledger: Path, keeper: Path, settings: Settings, sizes: list[int], output: Output, job: Job
) -> int:
    """Run something that creates a ledger; the embedded server keeps its membership in a file next to `keeper`."""

    async def main() -> int:
        runtime = real_runtime(None if output.is_simulated else state_folder(os.environ))
        async with AsyncExitStack() as stack:
            chosen, journal = settings, journal_of(keeper)
            is_new = output.is_simulated and found(journal) is None
            if output.is_simulated:
                check_new(ledger)

            async def work(shutdown: Shutdown, observer: Observer) -> Report:
                given = given_credentials(chosen, simulated=output.is_simulated)
                return await working(
                    RunContext(chosen, given, ledger, runtime, shutdown, observer, output.is_simulated)
                )

            try:
                if output.is_simulated:
                    chosen = settings.for_simulation(await embedded(stack, keeper))
                return await run_job(work, ledger, chosen, sizes, output, job)
            finally:
                begun = found(ledger)
                if is_new and (begun is None or not begun.st_size):  # nothing was sent
                    remove(journal)

    return run_async(main)


def new_ledger(inputs: Sequence[Path | Pipe], settings: Settings) -> AbstractContextManager[Path]:
    """Where the ledger of a new run goes; the name is taken while the context lasts."""
    return named_ledger(inputs, _wish(settings.ledger.path), datetime.now(UTC).timestamp())


def _wish(path: str) -> Path | None:
    """Where the user wants the ledger; a path that ends in a slash is a folder, created if necessary."""
    if not path:
        return None
    wish = expanded(path, "ledger.path")
    if path.endswith("/"):
        try:
            wish.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"the folder {wish} cannot be created: {error.strerror}") from None
    return wish


def as_planned(settings: Settings, output: Output) -> Settings:
    """The settings as `plan` saw them; the embedded server has a new address each time."""
    return settings.for_simulation() if output.is_simulated else settings


def sizes_of(inputs: Sequence[Path | Pipe]) -> list[int]:
    """Sizes of plain files, in bytes; the size of a compressed file does not tell how much is in it."""
    plain = [
        item for item in inputs if isinstance(item, Path) and item.is_file() and item.suffix not in {".gz", ".zst"}
    ]
    return [item.stat().st_size for item in plain] if len(plain) == len(inputs) else []
