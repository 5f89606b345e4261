"""A load run, as the command line makes it."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec

from batcher.cli.load_output import Live, tell
from batcher.cli.runner import Output, given_credentials, watch_signals
from batcher.cli.sending import new_ledger
from batcher.cli.simulated import simulator
from batcher.core.arrivals import parse_arrivals
from batcher.core.errors import ConfigurationError, GuardrailError, InputError
from batcher.core.expectations import Expectation
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.core.units import parse_duration, parse_share
from batcher.delivery.stopping import Stopping
from batcher.engine.register import state_folder
from batcher.load.bench import Looking, Wish, measure
from batcher.load.clean_up import clean_up, write_removals
from batcher.load.crew import START_SECONDS, measure_together
from batcher.load.judging import judged
from batcher.load.limit_search import search
from batcher.load.measurement import Measurement, write_log, write_measurement
from batcher.load.real import load_surroundings, quietly, real_watch
from batcher.load.synthetic import Synthetic
from batcher.settings import LOOPBACK, Settings

_PLACES = 256
"""In an open loop; a target that is slower than the schedule must be able to get behind."""
_DIFFERENT = 8
_LIMIT = ("p99<=500ms", "errors<=0.1%")
"""What a limit is, unless something else is expected."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where what was found goes, besides standard output."""

    json: Path | None
    hdr_log: Path | None


@dataclass(frozen=True, slots=True)
class Order:
    """The load's own flags."""

    files: tuple[str, ...]
    arrivals: str
    is_closed: bool
    seconds: float
    most: int | None
    warm_up: float
    synthetic: dict[str, Any]
    changes_per_request: int | None
    expectations: tuple[Expectation, ...]
    is_search: bool
    processes: int
    cleans_up: bool
    owns_target: bool

    @staticmethod
    def of(files: tuple[str, ...], flags: dict[str, Any]) -> Order:
        """Take them out of all flags.

        Raises:
            UsageError: When they make no sense, alone or together.

        """
        names = (
            "users",
            "groups",
            "first_user",
            "first_group",
            "skew",
            "remove_share",
            "bad_share",
            "profiles",
            "seed",
        )
        given = {name: value for name in names if (value := flags.pop(name)) not in {None, False}}
        for name in ("remove_share", "bad_share"):
            if name in given:
                given[name] = parse_share(given[name]) or 0.0
        Synthetic(**given).check()
        if files and given:
            raise ConfigurationError(f"--{next(iter(given)).replace('_', '-')} is for synthetic changes, not for files")
        is_search = flags.pop("find_limit")
        expected = tuple(map(Expectation.parse, flags.pop("expect") or (_LIMIT if is_search else ())))
        order = Order(
            files,
            _schedule(flags.pop("arrivals")),
            flags.pop("closed"),
            parse_duration(flags.pop("duration")),
            flags.pop("requests"),
            parse_duration(flags.pop("warm_up")),
            given,
            flags.pop("changes_per_request"),
            expected,
            is_search,
            flags.pop("processes"),
            flags.pop("clean_up"),
            flags.pop("i_own_this_target"),
        )
        order._check()
        return order

    def _check(self) -> None:
        if self.arrivals and self.is_closed:
            raise ConfigurationError("--closed has no schedule; leave out --arrivals, or --closed")
        if self.files and self.processes > 1:
            raise ConfigurationError("--processes shares synthetic changes out, not files")
        if "-" in self.files:
            raise InputError("a load run takes files, not standard input")
        if not self.is_closed:
            schedule = parse_arrivals(self.schedule, self.seconds)
            if self.is_search and len(schedule.stages) > 1:
                raise ConfigurationError("--find-limit makes its own steps; give --arrivals one rate to start with")
        elif self.is_search:
            raise ConfigurationError("--find-limit raises a schedule; leave out --closed")

    @property
    def schedule(self) -> str:
        """Of an open loop; empty for a closed one."""
        return "" if self.is_closed else self.arrivals or "10/s"


def settings_for_load(settings: Settings, order: Order, *, is_simulated: bool) -> Settings:
    """The run's settings: the schedule is the rate unless another one is asked for.

    Raises:
        GuardrailError: When the target is not this machine and nobody said that it may be loaded.

    """
    if is_simulated:
        settings = settings.for_simulation()
    host = urlsplit(settings.target.url).hostname
    if not is_simulated and host not in LOOPBACK and not order.owns_target:
        raise GuardrailError(
            f"{settings.target.url or 'the target'} is not this machine, and a load run is no way to treat somebody"
            " else's; nothing was sent. If it is yours: --i-own-this-target"
        )
    rate: dict[str, Any] = {} if settings.rate.requests else {"requests": "none"}
    if settings.rate.max_in_flight == "auto" and not order.is_closed:
        rate["max_in_flight"] = _PLACES
    limits = {"max_changes": order.changes_per_request} if order.changes_per_request else {}
    return settings.replace(rate=rate, limits=limits)


async def load(order: Order, settings: Settings, outputs: Outputs, output: Output) -> int:
    """Make the run and tell what it found; returns the exit code."""
    ledger = new_ledger([Path(file) for file in order.files] or [Path("load")], settings)
    stopping, live = Stopping(), Live()
    async with AsyncExitStack() as stack:
        if output.is_simulated:
            settings = settings.for_simulation(await stack.enter_async_context(simulator()))
        given = given_credentials(settings, simulated=output.is_simulated)
        work = _Work(order, settings, given, ledger, stopping, live, output)
        async with anyio.create_task_group() as group:
            group.start_soon(watch_signals, stopping, group.cancel_scope)
            if not output.quiet:
                group.start_soon(live.show)
            measurement = await (work.find_limit() if order.is_search else work.measure(ledger, order.schedule))
            cleaned = await work.clean_up(measurement) if order.cleans_up else None
            group.cancel_scope.cancel()
    if not order.is_search:
        measurement = msgspec.structs.replace(measurement, expectations=judged(measurement, order.expectations))
    if cleaned is not None:
        measurement = msgspec.structs.replace(measurement, cleaned_up=cleaned.as_dict())
    if outputs.json:
        write_measurement(outputs.json, measurement)
    if outputs.hdr_log:
        write_log(outputs.hdr_log, measurement, datetime.fromisoformat(measurement.started).timestamp())
    tell(measurement, output)
    return _exit_code(measurement, stopping, order)


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What every part of the command needs."""

    order: Order
    settings: Settings
    credentials: Credentials
    ledger: Path
    stopping: Stopping
    live: Live
    output: Output

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
            is_simulated=self.output.is_simulated,
        )
        self.live.begin(wish)
        if order.processes > 1:
            return await self._together(wish)
        looking = Looking()
        self.live.looking = looking
        surroundings = load_surroundings(None if self.output.is_simulated else state_folder(os.environ))
        with quietly():
            return await measure(wish, self.credentials, surroundings, real_watch(), self.stopping, looking)

    async def _together(self, wish: Wish) -> Measurement:
        starts = time.time() + START_SECONDS  # noqa: TID251 — a moment that several processes can agree on
        wishes = [
            msgspec.structs.replace(
                wish, part=part, parts=self.order.processes, starts=starts, ledger=f"{wish.ledger}.{part + 1}"
            )
            for part in range(self.order.processes)
        ]
        return await measure_together(wishes, self.credentials, ["-m", "batcher.cli.load_worker"], self.stopping)

    async def find_limit(self) -> Measurement:
        """Steps, each with a ledger of its own; what the last one found, with all of them in it."""
        stage = parse_arrivals(self.order.schedule, self.order.seconds).stages[0]
        ledgers: list[str] = []

        async def step(number: int, rate: float) -> Measurement:
            ledger = self.ledger.with_name(f"{self.ledger.name}.step{number + 1}")
            made = await self.measure(ledger, f"{rate:.6f}/s for {stage.seconds:g}s")
            ledgers.extend(made.ledgers)
            return made

        found = await search(stage.first, self.order.expectations, step)
        verdict = {"text": found.why, "found": found.last_good or 0.0, "holds": found.last_good is not None}
        return msgspec.structs.replace(found.last, steps=found.steps, expectations=[verdict], ledgers=ledgers)

    async def clean_up(self, measurement: Measurement) -> Report | None:
        """Remove what was added, unless a signal wants an end; then the file of removals is left, to be applied."""
        file = self.ledger.with_name(f"{self.ledger.name}.clean-up.csv")
        ledgers = [Path(ledger) for ledger in measurement.ledgers]
        if not write_removals(ledgers, file):
            file.unlink()
            return None
        cause = self.stopping.cause
        if cause is not None and cause.is_signal:
            return None
        self.live.clean_up()
        surroundings = load_surroundings(None if self.output.is_simulated else state_folder(os.environ))
        target = self.ledger.with_name(f"{self.ledger.name}.clean-up")
        settings = self.settings.replace(rate={"max_in_flight": "auto"}, guard={"max_removals": None})
        report = await clean_up(
            file,
            ledgers,
            settings,
            self.credentials,
            target,
            surroundings,
            Stopping(),
            is_simulated=self.output.is_simulated,
        )
        if report.exit_code == 0:
            file.unlink()
        return report


def _exit_code(measurement: Measurement, stopping: Stopping, order: Order) -> int:
    """A stop beats an expectation, that beats what was not applied; who expects something has judged that."""
    if stopping.cause is not None:
        return stopping.cause.exit_code
    if measurement.cleaned_up and measurement.cleaned_up["exit_code"]:
        return int(measurement.cleaned_up["exit_code"])
    if not all(item["holds"] for item in measurement.expectations):
        return _DIFFERENT
    bad = sum(measurement.changes.get(name, 0) for name in ("rejected", "failed", "unknown"))
    return 3 if bad and not order.expectations else 0


def _schedule(text: str | None) -> str:
    if not text or not text.startswith("@"):
        return text or ""
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--arrivals {text}: {error}") from None
