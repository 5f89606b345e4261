"""The jobs that send, as the command line runs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from batcher.api import ledger_path
from batcher.cli.memory import be_frugal
from batcher.cli.runner import Output, embedded, given_credentials, journal_of, run_async, run_job
from batcher.core.errors import InputError, LedgerError
from batcher.core.report import Report, command
from batcher.delivery.stopping import Stopping
from batcher.engine.apply import Pipe
from batcher.engine.apply import apply as apply_changes
from batcher.engine.job import settings_of
from batcher.engine.register import state_folder
from batcher.engine.resume import resume
from batcher.engine.retry import retry
from batcher.engine.session import Observer, real_surroundings
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


def apply(files: Sequence[str], settings: Settings, *, simulate: bool, as_json: bool, quiet: bool) -> int:
    """Run `apply`; returns the exit code."""
    be_frugal()
    inputs = inputs_of(files)

    async def main() -> int:
        surroundings = real_surroundings(None if simulate else state_folder(os.environ))
        wish = _wish(settings.ledger.path)
        path = ledger_path(inputs, wish, surroundings.clock.utc())
        async with AsyncExitStack() as stack:
            chosen = settings
            if simulate:
                if path.exists() and path.stat().st_size:
                    raise LedgerError(f"{path} exists already; to go on with it: {command('resume', path)}")
                chosen = settings.for_simulation(await embedded(stack, path))
            given = given_credentials(chosen, simulated=simulate)

            async def job(stopping: Stopping, observer: Observer) -> Report:
                return await apply_changes(
                    inputs,
                    chosen,
                    given,
                    path,
                    surroundings,
                    stopping=stopping,
                    observer=observer,
                    is_simulated=simulate,
                )

            try:
                return await run_job(job, path, chosen, _sizes(inputs), Output(as_json, quiet, simulate))
            finally:
                if simulate and not path.exists():
                    journal_of(path).unlink(missing_ok=True)

    return run_async(main)


def go_on(
    name: str,
    ledger: Path,
    overrides: dict[str, dict[str, Any]],
    *,
    despite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `resume` or `retry`; returns the exit code."""
    be_frugal()
    settings = settings_of(ledger)
    with LedgerReader(ledger) as reader:
        facts, sources = reader.facts(), reader.sources()
    simulated = "simulated" in facts

    async def main() -> int:
        surroundings = real_surroundings(None if simulated else state_folder(os.environ))
        async with AsyncExitStack() as stack:
            if simulated:
                overrides.setdefault("target", {})["url"] = await embedded(stack, ledger)
            given = given_credentials(settings, simulated=simulated)
            action = resume if name == "resume" else retry

            async def job(stopping: Stopping, observer: Observer) -> Report:
                return await action(
                    ledger,
                    given,
                    surroundings,
                    overrides=overrides,
                    despite_later_runs=despite,
                    stopping=stopping,
                    observer=observer,
                )

            return await run_job(job, ledger, settings, [s.size for s in sources], Output(as_json, quiet, simulated))

    return run_async(main)


def _wish(path: str) -> Path | None:
    """Where the user wants the ledger; what ends in a slash is a folder, and made if need be."""
    if not path:
        return None
    wish = Path(path).expanduser()
    if path.endswith("/"):
        wish.mkdir(parents=True, exist_ok=True)
    return wish


def _sizes(inputs: Sequence[Path | Pipe]) -> list[int]:
    """Bytes of plain files; a compressed one says nothing of what is in it."""
    plain = [
        item for item in inputs if isinstance(item, Path) and item.is_file() and item.suffix not in {".gz", ".zst"}
    ]
    return [item.stat().st_size for item in plain] if len(plain) == len(inputs) else []
