"""What a load command does: runs, steps of a search, and the removal of what they have added."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from batcher.cli.console import say
from batcher.cli.loading.flags import LoadFlags
from batcher.cli.loading.output import Live
from batcher.core.arrivals import parse_arrivals
from batcher.core.errors import BatcherError, LedgerError
from batcher.core.report import Report, command, quoted
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.host.run_registry import state_folder
from batcher.host.runtime import Runtime, real_clock
from batcher.load.clean_up import clean_up, cleaning_files, patient, write_removals
from batcher.load.limit_search import search
from batcher.load.load_run import LoadSpec, Looking, measure
from batcher.load.measurement import Measurement
from batcher.load.real import Spinning, load_runtime, quietly
from batcher.load.thresholds import judged
from batcher.load.worker_processes import START_SECONDS, measure_together
from batcher.settings import Settings

PLACES = 256
"""Requests in flight in an open loop by default: a target slower than the schedule must be able to fall behind."""
_LOOK_SECONDS = 0.1


@dataclass(slots=True, eq=False)
class LoadWork:
    """What every part of the command needs, and what is left to be removed."""

    flags: LoadFlags
    settings: Settings
    credentials: Credentials
    ledger: Path
    shutdown: Shutdown
    live: Live
    config: Path | None
    is_simulated: bool
    is_quiet: bool
    cleaned: Report | None = None
    found: Measurement | None = None
    failure: BaseException | None = None
    _ledgers: list[Path] = field(default_factory=list)
    """Of all runs that were begun."""

    @property
    def _removals(self) -> Path:
        return cleaning_files(self.ledger)[0]

    @property
    def _cleaning(self) -> Path:
        return cleaning_files(self.ledger)[1]

    def check(self) -> None:
        """See that nothing is in the way.

        Raises:
            LedgerError: When a file already exists that the command would create.

        """
        for path in (self._removals, self._cleaning) if self.flags.cleans_up else ():
            if path.exists():
                raise LedgerError(
                    f"{path} already exists, from an earlier clean-up; move it away, or choose another ledger"
                )

    async def run(self) -> None:
        """Do all of it; an error is kept for later, so that what was measured before it is not lost."""
        try:
            whole = self.find_limit() if self.flags.is_search else self.measure(self.ledger, self.flags.schedule)
            self.found = await whole
        except (BatcherError, BaseExceptionGroup) as error:
            self.failure = error
        try:
            if self.flags.cleans_up:
                await self.clean_up()
        except (BatcherError, BaseExceptionGroup) as error:
            self.failure = self.failure or error

    def result(self) -> Measurement | None:
        """The measurement, judged by the expectations; None if there is none."""
        found = self.found
        if found is None:
            return None
        if not self.flags.is_search:
            found = msgspec.structs.replace(found, expectations=judged(found, self.flags.expectations))
        if self.cleaned is not None:
            found = msgspec.structs.replace(found, cleaned_up=self.cleaned.as_dict())
        return found

    async def measure(self, ledger: Path, arrivals: str) -> Measurement:
        """One run with this schedule."""
        flags = self.flags
        spec = LoadSpec(
            self.settings,
            str(ledger),
            flags.files,
            flags.synthetic,
            arrivals,
            flags.seconds,
            flags.most,
            flags.warm_up,
            is_simulated=self.is_simulated,
        )
        self.live.begin(spec)
        if flags.processes > 1:
            return await self._together(spec)
        self._begins([ledger])
        self.live.looking = looking = Looking()
        spinning = Spinning()
        with quietly():
            world = self._runtime(spinning)
            return await measure(spec, self.credentials, world, spinning.watch(), self.shutdown, looking)

    async def _together(self, spec: LoadSpec) -> Measurement:
        starts = real_clock().shared() + START_SECONDS
        parts, most = self.flags.processes, self.settings.rate.max_in_flight
        specs = []
        for part in range(parts):
            share = most if most == "auto" else most // parts + (part < most % parts)
            settings = self.settings.replace(rate={"max_in_flight": share})
            ledger = f"{spec.ledger}.{part + 1}"
            specs.append(
                msgspec.structs.replace(spec, settings=settings, part=part, parts=parts, starts=starts, ledger=ledger)
            )
        self._begins([Path(each.ledger) for each in specs])
        return await measure_together(specs, self.credentials, ["-m", "batcher.cli.loading.worker"], self.shutdown)

    def _begins(self, ledgers: list[Path]) -> None:
        """Say how to clean up before anything is added: a process that was killed cannot."""
        self._ledgers += ledgers
        if self.flags.cleans_up and not self.is_simulated and not self.is_quiet:
            names = " ".join(quoted(str(ledger)) for ledger in self._ledgers)
            say(f"batcher: if this process is killed, remove what it added with: batcher load --clean-up {names}")

    async def find_limit(self) -> Measurement:
        """Run the steps, each with its own ledger; returns the last one's measurement, with all steps listed in it."""
        stage = parse_arrivals(self.flags.schedule, self.flags.seconds).stages[0]

        async def step(number: int, rate: float) -> Measurement:
            ledger = self.ledger.with_name(f"{self.ledger.name}.step{number + 1}")
            return await self.measure(ledger, f"{rate:.6f}/s for {stage.seconds:g}s")

        found = await search(stage.first, self.flags.expectations, step)
        return msgspec.structs.replace(
            found.last,
            steps=found.steps,
            limit={"last_good": found.last_good, "why": found.why},
            ledgers=list(map(str, self._ledgers)),
        )

    async def clean_up(self) -> None:
        """Remove what was added, unless a signal has asked for the end."""
        self._write_removals()
        if not self._removals.exists() or self._is_to_end():
            return
        self.live.clean_up()
        shutdown, most = Shutdown(), self.settings.rate.max_in_flight
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_signals_on, shutdown)
            self.cleaned = report = await clean_up(
                self._removals,
                [ledger for ledger in self._ledgers if ledger.exists()],
                RunContext(
                    patient(self.settings.replace(rate={"max_in_flight": "auto" if most == PLACES else most})),
                    self.credentials,
                    self._cleaning,
                    self._runtime(Spinning()),
                    shutdown,
                    is_simulated=self.is_simulated,
                ),
            )
            group.cancel_scope.cancel()
            if report.exit_code == 0:
                self._removals.unlink()

    def left_to_remove(self) -> str | None:
        """The command that removes what is still there, if anything; of a simulator, nothing is left."""
        try:
            if self.flags.cleans_up:
                self._write_removals()
        except BatcherError as error:
            self.failure = self.failure or error
        if self.is_simulated or not self._removals.exists():
            return None
        if self._cleaning.exists():
            return command("resume", self._cleaning)
        target = self.settings.target
        where = f"--target {quoted(target.kind)} --url {quoted(target.url)}"
        if self.config is not None:
            where = f"-c {quoted(str(self.config))} {where}"
        return f"{command('apply', self._removals)} {where}"

    def _write_removals(self) -> None:
        is_done = self._removals.exists() or self.cleaned is not None
        ledgers = [ledger for ledger in self._ledgers if ledger.exists()]
        if not is_done and ledgers and not write_removals(ledgers, self._removals):
            self._removals.unlink()

    def _is_to_end(self) -> bool:
        return self.shutdown.cause is not None and self.shutdown.cause.is_signal

    async def _pass_signals_on(self, shutdown: Shutdown) -> None:
        """Of all that can end the measurement, only a signal ends the clean-up, too."""
        while not self._is_to_end():  # noqa: ASYNC110 — a signal may follow another cause, which set the event
            await anyio.sleep(_LOOK_SECONDS)
        shutdown.stop(self.shutdown.cause or Cause.INTERRUPT, self.shutdown.reason)

    def _runtime(self, spinning: Spinning) -> Runtime:
        return load_runtime(None if self.is_simulated else state_folder(os.environ), spinning)
