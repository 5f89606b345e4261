"""`resume` and `retry`, as the command line runs them."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from batcher.cli.outlets.job import Job
from batcher.cli.runs.memory import be_frugal
from batcher.cli.runs.runner import Output, embedded, given_credentials, run_async, run_job
from batcher.core.report import Report
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import settings_of
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.run.observers import Observer
from batcher.host.run_registry import state_folder
from batcher.host.runtime import real_runtime
from batcher.ledger.reader import LedgerReader


def go_on(name: str, ledger: Path, anew: Anew, output: Output) -> int:
    """Run `resume` or `retry`; returns the exit code."""
    be_frugal()
    settings = settings_of(ledger).replace(**anew.reach)
    settings.replace(**anew.overrides)  # so that invalid ones are refused before anything begins
    job = Job(settings.job, name)
    with LedgerReader(ledger) as reader:
        facts, sources = reader.facts(), reader.sources()
    simulated = "simulated" in facts

    async def main() -> int:
        runtime = real_runtime(None if simulated else state_folder(os.environ))
        async with AsyncExitStack() as stack:
            chosen = anew
            if simulated:
                keeper = Path(facts["state"]) if "state" in facts else ledger
                chosen = anew.for_simulation(await embedded(stack, keeper))
            given = given_credentials(settings, simulated=simulated)
            action = resume if name == "resume" else retry

            async def work(shutdown: Shutdown, observer: Observer) -> Report:
                return await action(RunContext(settings, given, ledger, runtime, shutdown, observer), chosen)

            spoken = replace(output, is_simulated=simulated)
            return await run_job(work, ledger, settings, [source.size for source in sources], spoken, job)

    return job.run(lambda _: run_async(main))
