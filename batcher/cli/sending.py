"""The jobs that send, as the command line runs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace as replace_struct

from batcher.api import named_ledger
from batcher.cli.memory import be_frugal
from batcher.cli.runner import Output, embedded, given_credentials, journal_of, run_async, run_job
from batcher.cli.unattended import Job
from batcher.core.errors import ConfigurationError, InputError, LedgerError
from batcher.core.report import Report
from batcher.delivery.stopping import Stopping
from batcher.engine.apply import Pipe
from batcher.engine.apply import apply as apply_changes
from batcher.engine.guarding import Override
from batcher.engine.job import check_new, for_difference, settings_of
from batcher.engine.observing import Observer
from batcher.engine.planning import Bound, check_unchanged, fingerprints, read_plan
from batcher.engine.reaching import Reach
from batcher.engine.register import state_folder
from batcher.engine.resume import resume
from batcher.engine.retry import retry
from batcher.engine.surroundings import Surroundings, real_surroundings
from batcher.files import expanded, found, remove
from batcher.ledger.reader import LedgerReader
from batcher.settings import Settings


def inputs_of(files: Sequence[str]) -> list[Path | Pipe]:
    """Paths; `-` for standard input, and what else can be read only once."""
    if "-" in files and sys.stdin is None:
        raise InputError("standard input is closed")
    return [_input_of(file) for file in files]


def _input_of(file: str) -> Path | Pipe:
    if file == "-":
        return Pipe("-", sys.stdin.buffer)
    path = Path(file)
    return Pipe(file, path.open("rb")) if path.is_fifo() or path.is_char_device() else path


def apply(
    files: Sequence[str], settings: Settings, given: Override, plan: Path | None, output: Output, job: Job
) -> int:
    """Run `apply`; returns the exit code."""
    bound = read_plan(plan) if plan else None
    if bound is not None and bound.command == "sync":
        raise ConfigurationError(f"{plan} is the plan of a sync: batcher sync … --plan {plan}")
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
        from batcher.cli import syncing

        return syncing.undo(bound, settings, given, output, job)
    be_frugal()
    with new_ledger(inputs, settings) as path:

        async def work(chosen: Settings, surroundings: Surroundings, stopping: Stopping, observer: Observer) -> Report:
            return await apply_changes(
                inputs,
                chosen,
                given_credentials(chosen, simulated=output.is_simulated),
                path,
                surroundings,
                stopping=stopping,
                observer=observer,
                is_simulated=output.is_simulated,
                override=given,
            )

        return new_run(work, path, path, settings, sizes_of(inputs), output, job)


def check_no_later_runs(bound: Bound, ledger: Path) -> None:
    """See that an undo without a state still knows of every run that came after what it undoes."""
    from batcher.engine.undo import later_runs

    now = later_runs(ledger, state_folder(os.environ))
    check_unchanged(bound, replace_struct(bound.fingerprints, state=now))


def as_planned(settings: Settings, output: Output) -> Settings:
    """As `plan` saw them; the embedded server has another address each time."""
    return settings.for_simulation() if output.is_simulated else settings


Working = Callable[[Settings, Surroundings, Stopping, Observer], Awaitable[Report]]


def new_run(
    working: Working, ledger: Path, keeper: Path, settings: Settings, sizes: list[int], output: Output, job: Job
) -> int:
    """Run something that makes a ledger; `keeper` is beside what the embedded server keeps its membership."""

    async def main() -> int:
        surroundings = real_surroundings(None if output.is_simulated else state_folder(os.environ))
        async with AsyncExitStack() as stack:
            chosen, journal = settings, journal_of(keeper)
            is_new = output.is_simulated and found(journal) is None
            if output.is_simulated:
                check_new(ledger)

            async def work(stopping: Stopping, observer: Observer) -> Report:
                return await working(chosen, surroundings, stopping, observer)

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


def go_on(
    name: str, ledger: Path, reach: Reach, overrides: dict[str, dict[str, Any]], output: Output, *, despite: bool
) -> int:
    """Run `resume` or `retry`; returns the exit code."""
    be_frugal()
    settings = settings_of(ledger).replace(**reach)
    settings.replace(**overrides)  # refused before anything is begun
    job = Job(settings.job, name)
    with LedgerReader(ledger) as reader:
        facts, sources = reader.facts(), reader.sources()
    simulated = "simulated" in facts

    async def main() -> int:
        surroundings = real_surroundings(None if simulated else state_folder(os.environ))
        async with AsyncExitStack() as stack:
            if simulated:
                reach.clear()
                keeper = Path(facts["state"]) if "state" in facts else ledger
                overrides.setdefault("target", {})["url"] = await embedded(stack, keeper)
            given = given_credentials(settings, simulated=simulated)
            action = resume if name == "resume" else retry

            async def work(stopping: Stopping, observer: Observer) -> Report:
                return await action(
                    ledger,
                    given,
                    surroundings,
                    reach=reach,
                    overrides=overrides,
                    despite_later_runs=despite,
                    stopping=stopping,
                    observer=observer,
                )

            spoken = replace(output, is_simulated=simulated)
            return await run_job(work, ledger, settings, [source.size for source in sources], spoken, job)

    return job.run(lambda _: run_async(main))


def _wish(path: str) -> Path | None:
    """Where the user wants the ledger; what ends in a slash is a folder, and made if need be."""
    if not path:
        return None
    wish = expanded(path, "ledger.path")
    if path.endswith("/"):
        try:
            wish.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"the folder {wish} cannot be made: {error.strerror}") from None
    return wish


def sizes_of(inputs: Sequence[Path | Pipe]) -> list[int]:
    """Bytes of plain files; a compressed one says nothing of what is in it."""
    plain = [
        item for item in inputs if isinstance(item, Path) and item.is_file() and item.suffix not in {".gz", ".zst"}
    ]
    return [item.stat().st_size for item in plain] if len(plain) == len(inputs) else []
