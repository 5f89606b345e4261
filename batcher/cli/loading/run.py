"""A load run, as the command line makes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from batcher.cli.console import say
from batcher.cli.loading.flags import LoadFlags
from batcher.cli.loading.output import Live, tell
from batcher.cli.loading.work import PLACES, LoadWork
from batcher.cli.runs.new_run import new_ledger
from batcher.cli.runs.runner import Output, given_credentials, watch_signals
from batcher.cli.runs.simulated import simulator
from batcher.core.address import is_loopback
from batcher.core.errors import ConfigurationError, GuardrailError
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.host.runtime import proxy_of
from batcher.ledger.facts import is_ledger
from batcher.load.measurement import Measurement, write_log, write_measurement
from batcher.load.worker_processes import LOST
from batcher.settings import Settings

_DIFFERENT = 8


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the measurement goes, besides standard output."""

    json: Path | None
    hdr_log: Path | None

    def check(self, taken: Sequence[Path]) -> None:
        """See that the files can be written, and that nothing is overwritten that is needed.

        Raises:
            ConfigurationError: When it cannot.

        """
        wanted = [path for path in (self.json, self.hdr_log) if path is not None]
        if len(wanted) > 1 and wanted[0].absolute() == wanted[1].absolute():
            raise ConfigurationError(f"{wanted[0]} cannot be both --output and --hdr-log; choose two files")
        for path in wanted:
            if is_ledger(path) or path.absolute() in {other.absolute() for other in taken}:
                raise ConfigurationError(f"{path} is a ledger or an input of this run; choose another file")
            is_new = not path.exists()
            try:
                path.open("ab").close()
            except OSError as error:
                raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
            if is_new:
                path.unlink()

    def write(self, measurement: Measurement) -> None:
        """Write the measurement where it is wanted.

        Raises:
            ConfigurationError: When it cannot be written after all.

        """
        if self.json:
            write_measurement(self.json, measurement)
        if self.hdr_log:
            write_log(self.hdr_log, measurement, datetime.fromisoformat(measurement.started).timestamp())


def settings_for_load(settings: Settings, flags: LoadFlags, *, is_simulated: bool) -> Settings:
    """The run's settings: the schedule is the rate unless another one is asked for.

    Raises:
        GuardrailError: When the target is not on this machine and the user has not confirmed to own it.

    """
    if is_simulated:
        settings = settings.for_simulation()
    host = urlsplit(settings.target.url).hostname
    if not is_simulated and not is_loopback(host or "") and not flags.owns_target:
        raise GuardrailError(
            f"{settings.target.url or 'the target'} is not on this machine, and load runs are only for a target of"
            " your own; nothing was sent. If it is yours: --i-own-this-target"
        )
    proxy = proxy_of(settings)
    if proxy is not None:
        raise ConfigurationError(
            f"a load run must not go through the proxy {proxy}: it would measure that; add the target to NO_PROXY, or"
            ' set target.proxy = "none"'
        )
    most = settings.rate.max_in_flight
    if most != "auto" and most < flags.processes:
        raise ConfigurationError(
            f"--max-in-flight {most} cannot be divided among {flags.processes} processes; raise it"
        )
    if settings.input.ordered:
        raise ConfigurationError("--ordered sends one request at a time, which measures no load; omit it")
    rate: dict[str, Any] = {} if settings.rate.requests else {"requests": "none"}
    if settings.rate.max_in_flight == "auto" and not flags.is_closed:
        rate["max_in_flight"] = PLACES
    limits = {"max_changes": flags.changes_per_request} if flags.changes_per_request else {}
    return settings.replace(rate=rate, limits=limits)


async def load(flags: LoadFlags, settings: Settings, config: Path | None, outputs: Outputs, output: Output) -> int:
    """Make the run and report its measurement; returns the exit code."""
    if settings.target.insecure and not output.is_simulated:
        url = settings.target.url
        say(f"batcher: target.insecure: the server at {url} is not verified, and whoever answers there gets the token")
    shutdown, live = Shutdown(), Live()
    async with AsyncExitStack() as stack:
        ledger = stack.enter_context(new_ledger([Path(file) for file in flags.files] or [Path("load")], settings))
        outputs.check([ledger, *map(Path, flags.files)])
        if output.is_simulated:
            settings = settings.for_simulation(await stack.enter_async_context(simulator()))
        given = given_credentials(settings, simulated=output.is_simulated)
        work = LoadWork(flags, settings, given, ledger, shutdown, live, config, output.is_simulated, output.quiet)
        work.check()
        async with anyio.create_task_group() as group:
            group.start_soon(watch_signals, shutdown, group.cancel_scope)
            if not output.quiet:
                group.start_soon(live.show)
            await work.run()
            group.cancel_scope.cancel()
        left = work.left_to_remove()
    measurement = work.result()
    if measurement is not None:
        outputs.write(measurement)
        tell(measurement, output)
    if left is not None:
        say("batcher: what the load run added is still there; to remove it:")
        say(left)
    if work.failure is not None:
        raise work.failure
    return _exit_code(measurement, shutdown, flags)


def _exit_code(measurement: Measurement | None, shutdown: Shutdown, flags: LoadFlags) -> int:
    """A stop beats an expectation, and that beats changes that were not applied, which expectations replace."""
    if shutdown.cause is not None:
        return shutdown.cause.exit_code
    if measurement is None:
        return 1
    if measurement.stopped:
        return 1 if measurement.stopped == LOST else Cause[measurement.stopped.upper()].exit_code
    if measurement.cleaned_up and measurement.cleaned_up["exit_code"]:
        return int(measurement.cleaned_up["exit_code"])
    is_found = measurement.limit is None or measurement.limit["last_good"] is not None
    if not is_found or not all(item["holds"] for item in measurement.expectations):
        return _DIFFERENT
    bad = sum(measurement.changes.get(name, 0) for name in ("rejected", "failed", "unknown"))
    return 3 if bad and not flags.expectations else 0
