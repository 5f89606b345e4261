"""Runs a job on an event loop: signals, progress, the embedded server, and the summary at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_urlsafe

import anyio

from batcher.cli.console import first_of, machine_failure, print_summary, say
from batcher.cli.outlets.job import Job
from batcher.cli.outlets.progress import Progress
from batcher.core.errors import BatcherError, LedgerError
from batcher.core.report import Report, command
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.credentials import credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.job import not_begun
from batcher.engine.jobs.summary import report, when
from batcher.engine.run.observers import Observer, together
from batcher.settings import Settings

_LONGEST_END = 60.0
"""Seconds. A stop drains for 10 and writes for 10 more."""
_SIGNALS = {signal.SIGHUP: Cause.HANGUP, signal.SIGINT: Cause.INTERRUPT, signal.SIGTERM: Cause.TERMINATED}


@dataclass(frozen=True, slots=True)
class Output:
    """How the command reports."""

    as_json: bool
    quiet: bool
    is_simulated: bool


Working = Callable[[Shutdown, Observer], Awaitable[Report]]


def run_async(main: Callable[[], Awaitable[int]]) -> int:
    """On uvloop where the platform has it."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return anyio.run(main)
    return anyio.run(main, backend_options={"use_uvloop": True})


async def watch_signals(shutdown: Shutdown, scope: anyio.CancelScope) -> None:
    """The first signal drains the run, the second aborts it."""
    # What was ignored when the program started stays ignored: nohup ignores SIGHUP, shells' background jobs SIGINT.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if not heard:
        await anyio.sleep_forever()
    with anyio.open_signal_receiver(*heard) as signals:
        async for number in signals:
            if shutdown.cause is not None and shutdown.cause.is_signal:
                scope.cancel()
                return
            name = signal.Signals(number).name
            say(f"batcher: {name}: finishing requests in flight; signal again to abort")
            shutdown.stop(_SIGNALS[signal.Signals(number)], f"{name} was received")


async def run_job(work: Working, ledger: Path, settings: Settings, sizes: list[int], output: Output, job: Job) -> int:
    """Run it to its end; the first signal drains it, the second stops it at once."""
    shutdown = Shutdown()
    progress = Progress(sizes)
    observer = together([progress.observer(), *job.observers()])
    result: Report | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch_signals, shutdown, group.cancel_scope)
        group.start_soon(_end_at_last, shutdown, ledger)
        if not output.quiet:
            group.start_soon(progress.show)
        try:
            result = await work(shutdown, observer)
        except (OSError, MemoryError, RuntimeError, BaseExceptionGroup) as error:
            failed = machine_failure(error)
            if failed is None or first_of(error, BatcherError) is not None or progress.parts is None:
                raise
            shutdown.stop(Cause.EXHAUSTED, f"this machine failed: {failed}")  # what was sent is in the ledger
        group.cancel_scope.cancel()
    if result is None:
        try:
            result = report(ledger, shutdown.cause, shutdown.reason)
        except LedgerError:
            raise not_begun(shutdown) from None
    utc = progress.parts.clock.utc() if progress.parts else 0.0
    tell = partial(
        print_summary,
        result,
        as_json=output.as_json,
        quiet=output.quiet,
        when=when(result.stopped, settings.retry.grace_seconds, utc),
        is_simulated=output.is_simulated,
    )
    job.ended(result, tell)
    return result.exit_code


async def _end_at_last(shutdown: Shutdown, ledger: Path) -> None:
    """Exit if even the end of a run hangs (on a disk that does not respond); what was recorded is safe."""
    await shutdown.wait()
    await anyio.sleep(_LONGEST_END)
    say(f"batcher: {shutdown.reason}")
    say("batcher: the run does not shut down cleanly; exiting now, everything recorded is safe; to continue:")
    say(command("resume", ledger))
    os._exit(shutdown.cause.exit_code if shutdown.cause else 1)


def journal_of(keeper: Path) -> Path:
    """Where the embedded server keeps its membership: next to a ledger, or to the state that describes it."""
    return keeper.parent / f"{keeper.name}.simulation"


async def embedded(stack: AsyncExitStack, keeper: Path) -> str:
    """Start the embedded server for as long as the stack lasts; gives its address."""
    from batcher.simulator.behaviour import Behaviour
    from batcher.simulator.server import serve

    return await stack.enter_async_context(serve(Behaviour(), journal=journal_of(keeper)))


def given_credentials(settings: Settings, *, simulated: bool) -> Credentials:
    """From the environment or the files that the settings name; the embedded server accepts any."""
    given = credentials(settings.auth, os.environ)
    if simulated and not given.token:
        # Random and not a word, which would be masked wherever it occurs in a text.
        return Credentials(token_urlsafe(), given.client_id, given.client_secret)
    return given
