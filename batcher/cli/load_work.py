"""What a load command does: runs, steps of a search, and the removal of what they have added."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from batcher.cli.console import say
from batcher.cli.load_flags import LoadFlags
from batcher.cli.load_output import Live
from batcher.core.arrivals import parse_arrivals
from batcher.core.errors import BatcherError, LedgerError
from batcher.core.report import Report, command, quoted
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.stopping import Stopping
from batcher.engine.context import RunContext
from batcher.engine.register import state_folder
from batcher.engine.surroundings import Surroundings, real_clock
from batcher.load.bench import Looking, Wish, measure
from batcher.load.clean_up import clean_up, cleaning_files, patient, write_removals
from batcher.load.crew import START_SECONDS, measure_together
from batcher.load.judging import judged
from batcher.load.limit_search import search
from batcher.load.measurement import Measurement
from batcher.load.real import Spinning, load_surroundings, quietly
from batcher.settings import Settings

PLACES = 256
"""In an open loop, unless the user says; a target that is slower than the schedule must be able to get behind."""
_LOOK_SECONDS = 0.1


@dataclass(slots=True, eq=False)
class LoadWork:
    """What every part of the command needs, and what is left to be removed."""

    order: LoadFlags
    settings: Settings
    credentials: Credentials
    ledger: Path
    stopping: Stopping
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
            LedgerError: When a file is that the command would make.

        """
        for path in (self._removals, self._cleaning) if self.order.cleans_up else ():
            if path.exists():
                raise LedgerError(
                    f"{path} exists already, from an earlier clean-up; move it away, or name another ledger"
                )

    async def run(self) -> None:
        """All of it; what fails is kept, so that what was found before is not lost."""
        try:
            whole = self.find_limit() if self.order.is_search else self.measure(self.ledger, self.order.schedule)
            self.found = await whole
        except (BatcherError, BaseExceptionGroup) as error:
            self.failure = error
        try:
            if self.order.cleans_up:
                await self.clean_up()
        except (BatcherError, BaseExceptionGroup) as error:
            self.failure = self.failure or error

    def result(self) -> Measurement | None:
        """What was found, judged; None when nothing was."""
        found = self.found
        if found is None:
            return None
        if not self.order.is_search:
            found = msgspec.structs.replace(found, expectations=judged(found, self.order.expectations))
        if self.cleaned is not None:
            found = msgspec.structs.replace(found, cleaned_up=self.cleaned.as_dict())
        return found

    async def measure(self, ledger: Path, arrivals: str) -> Measurement:
        """One run with this schedule."""
        order = self.order
        wish = Wish(
            self.settings,
            str(ledger),
            order.files,
            order.synthetic,
            arrivals,
            order.seconds,
            order.most,
            order.warm_up,
            is_simulated=self.is_simulated,
        )
        self.live.begin(wish)
        if order.processes > 1:
            return await self._together(wish)
        self._begins([ledger])
        self.live.looking = looking = Looking()
        spinning = Spinning()
        with quietly():
            world = self._surroundings(spinning)
            return await measure(wish, self.credentials, world, spinning.watch(), self.stopping, looking)

    async def _together(self, wish: Wish) -> Measurement:
        starts = real_clock().shared() + START_SECONDS
        parts, most = self.order.processes, self.settings.rate.max_in_flight
        wishes = []
        for part in range(parts):
            share = most if most == "auto" else most // parts + (part < most % parts)
            settings = self.settings.replace(rate={"max_in_flight": share})
            ledger = f"{wish.ledger}.{part + 1}"
            wishes.append(
                msgspec.structs.replace(wish, settings=settings, part=part, parts=parts, starts=starts, ledger=ledger)
            )
        self._begins([Path(each.ledger) for each in wishes])
        return await measure_together(wishes, self.credentials, ["-m", "batcher.cli.load_worker"], self.stopping)

    def _begins(self, ledgers: list[Path]) -> None:
        """Say how to clean up, before anything is added: who is killed cannot say it any more."""
        self._ledgers += ledgers
        if self.order.cleans_up and not self.is_simulated and not self.is_quiet:
            names = " ".join(quoted(str(ledger)) for ledger in self._ledgers)
            say(f"batcher: if this is killed, what it has added is removed by: batcher load --clean-up {names}")

    async def find_limit(self) -> Measurement:
        """Steps, each with a ledger of its own; what the last one found, with all of them in it."""
        stage = parse_arrivals(self.order.schedule, self.order.seconds).stages[0]

        async def step(number: int, rate: float) -> Measurement:
            ledger = self.ledger.with_name(f"{self.ledger.name}.step{number + 1}")
            return await self.measure(ledger, f"{rate:.6f}/s for {stage.seconds:g}s")

        found = await search(stage.first, self.order.expectations, step)
        return msgspec.structs.replace(
            found.last,
            steps=found.steps,
            limit={"last_good": found.last_good, "why": found.why},
            ledgers=list(map(str, self._ledgers)),
        )

    async def clean_up(self) -> None:
        """Remove what was added, unless a signal wants an end."""
        self._write_removals()
        if not self._removals.exists() or self._is_to_end():
            return
        self.live.clean_up()
        stopping, most = Stopping(), self.settings.rate.max_in_flight
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_signals_on, stopping)
            self.cleaned = report = await clean_up(
                self._removals,
                [ledger for ledger in self._ledgers if ledger.exists()],
                RunContext(
                    patient(self.settings.replace(rate={"max_in_flight": "auto" if most == PLACES else most})),
                    self.credentials,
                    self._cleaning,
                    self._surroundings(Spinning()),
                    stopping,
                    is_simulated=self.is_simulated,
                ),
            )
            group.cancel_scope.cancel()
            if report.exit_code == 0:
                self._removals.unlink()

    def left_to_remove(self) -> str | None:
        """The command that removes what is still there, if anything is; a simulator has gone with all of it."""
        try:
            if self.order.cleans_up:
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
        return self.stopping.cause is not None and self.stopping.cause.is_signal

    async def _pass_signals_on(self, stopping: Stopping) -> None:
        """What ended the measurement does not end the clean-up, but for a signal."""
        while not self._is_to_end():  # noqa: ASYNC110 — a signal may come after another cause, which set the event
            await anyio.sleep(_LOOK_SECONDS)
        stopping.stop(self.stopping.cause or Cause.INTERRUPT, self.stopping.reason)

    def _surroundings(self, spinning: Spinning) -> Surroundings:
        return load_surroundings(None if self.is_simulated else state_folder(os.environ), spinning)
