"""Several runs at once on one host from random seeds: they share a target, its rate, and what they know of each other.

    python tests/hosts.py 5000                 the seeds 0 to 4999
    python tests/hosts.py 1 --first 4711 -v    one seed, with what happened

Two to four people work side by side, each with users of its own, each with one command after the other: `apply` or a
`sync` with a state, then perhaps `resume` or `retry`, or an `undo` that is applied. Their processes are killed and asked to stop at any event,
held up by their disks for minutes, and the wall clock is set while they work. The target loses requests and applies them later. At
the end the target must be as if the commands of each had been carried out one after the other; no sliding window may
hold more requests than the rate; and what was reported before a kill must be in the ledgers.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from harness import EPOCH, Change, Target, settings_for, write_changes

from batcher.core.batch import Settlement
from batcher.core.clock import Clock, Stamp
from batcher.core.errors import BatcherError, NotBegunError
from batcher.core.http import Request, Response
from batcher.core.model import Action
from batcher.core.rate import Rate
from batcher.core.report import Report
from batcher.core.status import IN_EFFECT, Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import apply
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.observers import Observer
from batcher.engine.sync.sync import Goal, Terms, sync
from batcher.engine.sync.undo import compile_undo
from batcher.host.run_registry import RunRegistry
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.settings import Settings
from batcher.simulator.behaviour import Behaviour, Fault, Stage
from batcher.simulator.virtual_time import run_virtual

GRACE = 30.0
_LONGEST = 500_000.0
"""How many virtual seconds all of it may take."""
_MOST_TRIES = 30
Pair = tuple[int, int]
Job = Callable[[RunContext], Awaitable[Report]]


class Killed(BaseException):
    """The process was killed; whatever still runs while this is raised does not count."""


class LawBrokenError(AssertionError):
    """A law that does not hold for this seed."""


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process in which the running task works."""


@dataclass(eq=False)
class Process:
    """One command of a person; it may be killed at its `fatal`th event, and its disk may hang at any."""

    rng: random.Random
    folder: Path
    fatal: int
    hangs: float
    """How likely it is at each event that the disk hangs."""
    snapshot: Path | None = None
    told: dict[tuple[int, int], int] = field(default_factory=dict)

    def event(self) -> None:
        """A moment at which the process may be killed; if so, its ledger's files are kept as they are then."""
        if self.snapshot is not None:
            raise Killed  # it was killed already: what is shielded from cancellation must not continue either
        self.fatal -= 1
        if self.fatal == 0:
            self.snapshot = self.folder.with_name(self.folder.name + ".snapshot")
            shutil.copytree(self.folder, self.snapshot)
            raise Killed

    async def executor(self, work: Callable[[], Any]) -> Any:
        """See `Executor`."""
        self.event()
        if self.rng.random() < self.hangs:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.rng.choice([0.1, 20.0, 200.0]))
        result = work()
        self.event()
        return result

    def note(self, window: OpenWindow, settlement: Settlement) -> None:
        """What is reported now must be in the ledger from now on."""
        if self.snapshot is None:
            for row, status in zip(settlement.rows.tolist(), settlement.status.tolist(), strict=True):
                self.told[window.window.id, row] = status

    def restore(self) -> None:
        """Leave the files as they were when the process was killed."""
        if self.snapshot is not None:
            shutil.rmtree(self.folder)
            self.snapshot.rename(self.folder)


@contextmanager
def the_dead_do_not_write() -> Iterator[None]:
    """A killed process tells nobody that it has ended."""
    ended = RunRegistry.ended

    def of_the_living(self: RunRegistry, run: str, last: Stamp) -> None:
        process = PROCESS.get()
        if process is None or process.snapshot is None:
            ended(self, run, last)

    RunRegistry.ended = of_the_living
    try:
        yield
    finally:
        RunRegistry.ended = ended


@dataclass
class Plan:
    """Everything that a seed decides, apart from what people do."""

    people: int
    rate: Rate | None
    behaviour: Behaviour
    stages: tuple[Stage, ...]
    crashes: float
    stops: float
    hangs: float
    sets_clock: bool

    @staticmethod
    def of(rng: random.Random) -> Plan:
        calm = Behaviour(
            latency_seconds=rng.choice([0.0, 0.05, 0.5]),
            jitter_seconds=rng.choice([0.0, 0.3]),
            bad_users=frozenset({rng.randrange(400)}) if rng.random() < 0.3 else frozenset(),
            late_seconds=rng.choice([1.0, GRACE / 2, GRACE - 0.5]),
            seed=rng.randrange(1000),
        )
        stages, at = [], 0.0
        for _ in range(rng.choice([0, 1, 2, 4])):
            kinds = ["429", "500", "503", "late", "late", "drop-before", "drop-after", "cut"]
            faults = tuple(Fault(rng.choice(kinds), rng.choice([0.1, 0.3, 0.7])) for _ in range(rng.randint(1, 2)))
            stages.append(Stage(replace(calm, faults=faults), at))
            at += rng.choice([1.0, 10.0, 100.0])
        return Plan(
            rng.randint(2, 4),
            rng.choice([None, Rate(3, 1), Rate(10, 1), Rate(30, 60)]),
            calm,
            (*stages, Stage(calm, at)),
            rng.choice([0.0, 0.4, 0.7]),
            rng.choice([0.0, 0.3]),
            rng.choice([0.0, 0.0, 0.05]),
            rng.random() < 0.4,
        )


@dataclass
class Host:
    """The machine, and everybody on it."""

    seed: int
    folder: Path
    change: Callable[[Plan], Plan] = lambda plan: plan
    verbose: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.plan = self.change(Plan.of(self.rng))
        self.target = Target(self.plan.behaviour, stages=self.plan.stages)
        self.step = 0.0
        self.state = self.folder / "state"
        self.people = [Person(self, number, random.Random(self.rng.random())) for number in range(self.plan.people)]

    def say(self, text: str) -> None:
        if self.verbose:
            print(f"  {anyio.current_time():9.3f}  {text}")

    def clock(self) -> Clock:
        return Clock(anyio.current_time, lambda: EPOCH + anyio.current_time() + self.step, anyio.current_time, "a-boot")

    def play(self) -> None:
        with the_dead_do_not_write():
            run_virtual(self._main)

    async def _main(self) -> None:
        with anyio.fail_after(_LONGEST):
            async with anyio.create_task_group() as around:
                if self.plan.sets_clock:
                    around.start_soon(self._set_the_clock)
                async with anyio.create_task_group() as group:
                    for person in self.people:
                        group.start_soon(person.live)
                around.cancel_scope.cancel()
        self.target.world.catch_up(anyio.current_time() + 1000.0)

    async def _set_the_clock(self) -> None:
        rng = random.Random(self.seed + 1)
        while True:
            await anyio.sleep(rng.choice([0.3, 5.0, 60.0]))
            self.step = rng.choice([-86_400.0, -3600.0, -1.0, 0.0, 1.0, 3600.0])

    def check(self) -> None:
        """The laws."""
        members = self.target.members()
        for person in self.people:
            person.check(members)
        self._check_pace()

    def _check_pace(self) -> None:
        rate = self.plan.rate
        if rate is None:
            return
        times = sorted(at for at, _, _ in self.target.sends)
        for first, at in zip(times, times[rate.count :], strict=False):
            if at - first < rate.seconds - 1e-6:
                raise LawBrokenError(f"more than {rate} from {first} on")


@dataclass(eq=False)
class Person:
    """Has users of its own, and gives one command after the other. A feed has other users than what is applied."""

    host: Host
    number: int
    rng: random.Random
    ledgers: list[Path] = field(default_factory=list)
    """Of all runs by hand, in the order in which they were begun."""
    nights: list[Path] = field(default_factory=list)
    """The same for those with a feed."""
    feed: set[Pair] | None = None
    """The last feed, if everything in it is in effect."""
    is_to_repeat: bool = False
    """Whether the last refusal said that nothing was begun."""

    def __post_init__(self) -> None:
        self.folder = self.host.folder / f"person-{self.number}"
        self.folder.mkdir()

    @property
    def settings(self) -> Settings:
        rate = self.host.plan.rate
        return settings_for(
            "minapp",
            rate_requests="none" if rate is None else str(rate),
            rate_max_in_flight=self.rng.choice([1, 2, 4]),
            limits_max_changes=self.rng.choice([1, 3, 10]),
            retry_grace_seconds=GRACE,
            retry_base_seconds=0.1,
            retry_max_attempts=self.rng.choice([2, 5]),
            retry_max_wait="1h",
            guard_max_shrink="none",
            guard_max_removal_share="none",
            guard_max_group_share="none",
            guard_max_addition_share="none",
        )

    async def live(self) -> None:
        await anyio.sleep(self.rng.choice([0.0, 0.2, 3.0]))
        for _ in range(self.rng.randint(2, 6)):
            if self.rng.random() < 0.4:
                await self._sync()
            elif self.ledgers and self.rng.random() < 0.25:
                await self._undo()
            else:
                await self._apply(self._changes())
            await anyio.sleep(self.rng.choice([0.0, 0.0, 0.0, 1.0, GRACE / 3, GRACE + 1]))

    def _changes(self) -> list[Change]:
        first = 100 * self.number
        return [
            (self.rng.choice(["add", "add", "remove"]), first + self.rng.randrange(3), self.rng.randrange(2))
            for _ in range(self.rng.choice([1, 4, 15, 40]))
        ]

    async def _apply(self, changes: list[Change]) -> None:
        path = write_changes(self._file("changes.jsonl"), changes)
        await self._by_hand([path], self.settings)

    async def _by_hand(self, files: list[Path], settings: Settings) -> None:
        ledger = self._file("ledger")
        self.ledgers.append(ledger)
        await self._run("apply", lambda context: apply(files, context), ledger, settings)

    async def _sync(self) -> None:
        pairs = [(100 * self.number + user, group) for user in range(50, 54) for group in range(2)]
        feed = set(self.rng.sample(pairs, self.rng.randint(1, len(pairs))))
        file, state, ledger = self._file("feed.csv"), self.folder / "hr.state", self._file("ledger")
        file.write_text("user,group\n" + "".join(f"{user},{group}\n" for user, group in sorted(feed)), "utf-8")
        self.nights.append(ledger)
        self.feed = None
        report = await self._run(
            "sync",
            lambda context: sync(Goal([file], state, (), not state.exists()), context, Terms()),
            ledger,
            self.settings,
        )
        if report is not None and report.exit_code == 0:
            self.feed = feed

    async def _undo(self) -> None:
        settings = for_difference(self.settings)
        try:
            made = compile_undo(
                self.ledgers[-1],
                self.ledgers,
                settings,
                self._file("undo.json"),
                state=None,
                state_folder=self.host.state,
            )
        except BatcherError as error:
            self.host.say(f"{self.number}: no undo: {error}")
            return
        await self._by_hand(list(made.changes), settings)

    def _file(self, name: str) -> Path:
        return self.folder / f"{len(self.ledgers) + len(self.nights)}-{self.rng.randrange(10**9)}.{name}"

    async def _run(self, begin: str, begins: Job, ledger: Path, settings: Settings) -> Report | None:
        """Begin a run, and continue it as long as that is suggested, or until it is left as it is."""
        report = None
        self.is_to_repeat = False
        for number in range(_MOST_TRIES):
            calm = number > _MOST_TRIES // 2
            name, job = begin, begins
            if self.is_to_repeat:
                ledger = self._file("ledger")
                self.nights.append(ledger)
                self.is_to_repeat = False
            if not self._is_begun(ledger):
                pass
            elif report is None or (report.next or "").startswith("batcher resume"):
                name, job = "resume", lambda context: resume(context, Anew(despite_later_runs=True))
            elif (report.next or "").startswith("batcher retry") and self.rng.random() < 0.7:
                name, job = "retry", lambda context: retry(context, Anew(despite_later_runs=True))
            else:
                return report
            report = await self._command(name, job, settings, ledger, calm=calm)
            await anyio.sleep(self.rng.choice([0.0, 0.5, 40.0]))
            if self._is_begun(ledger) and self.rng.random() < 0.1:
                return report  # left as it is
        raise LawBrokenError("it does not come to an end")

    async def _command(self, name: str, job: Job, settings: Settings, ledger: Path, *, calm: bool) -> Report | None:
        plan, rng = self.host.plan, self.rng
        fatal = rng.choice([1, 3, 10, 30, 60]) if not calm and rng.random() < plan.crashes else -1
        process = Process(rng, self.folder, fatal, 0.0 if calm else plan.hangs)
        shutdown, report = Shutdown(), None
        context = RunContext(
            settings,
            Credentials(token="a-token"),
            ledger,
            Runtime(self.host.clock(), rng.random, process.executor, self._transport(process), self.host.state),
            shutdown,
            Observer(settled=process.note),
        )
        mark = PROCESS.set(process)
        try:
            async with anyio.create_task_group() as group:
                if not calm and rng.random() < plan.stops:
                    group.start_soon(_stop_later, shutdown, rng.choice([0.0, 0.5, 5.0]))
                report = await job(context)
                group.cancel_scope.cancel()
            self.host.say(f"{self.number}: {name}: {report.exit_code} {report.reason}")
        except BaseExceptionGroup as group_:
            killed, _ = group_.split(Killed)
            if killed is None:
                self._refused(group_)
            self.host.say(f"{self.number}: {name}: {'killed' if killed else group_.exceptions}")
        finally:
            PROCESS.reset(mark)
            process.restore()
        self._check_told(process, ledger)
        return report

    def _refused(self, group: BaseExceptionGroup[BaseException]) -> None:
        """A command may only be refused because it was stopped in time, or was never begun."""
        refusals, others = group.split(BatcherError)
        if others is not None:
            raise others from None
        (refusal,) = refusals.exceptions
        self.is_to_repeat = "run its command again with another --ledger" in str(refusal)
        if not (self.is_to_repeat or isinstance(refusal, NotBegunError)):
            raise LawBrokenError(f"refused: {refusal}")

    def _transport(self, process: Process) -> Callable[[Settings], Any]:
        host = self.host

        class Watched:
            async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
                process.event()
                response = await host.target.exchange(request, turn)
                process.event()
                return response

        @asynccontextmanager
        async def transport(_: Settings) -> AsyncIterator[Watched]:
            yield Watched()

        return transport

    @staticmethod
    def _is_begun(ledger: Path) -> bool:
        try:
            with LedgerReader(ledger) as reader:
                return "run" in reader.facts()
        except BatcherError:
            return False

    def _check_told(self, process: Process, ledger: Path) -> None:
        """Law 4: what was reported is on disk, even after a kill."""
        if not process.told:
            return
        with LedgerReader(ledger) as reader:
            held = {state.window.id: state.status for state in reader.windows()}
        for (window, row), status in process.told.items():
            if held[window][row] != status:
                raise LawBrokenError(f"window {window}, row {row}: {status} was reported, {held[window][row]} is held")

    def check(self, members: set[Any]) -> None:
        """Law 2: per pair, the last change that is known to have settled decides, one command after the other."""
        wanted: dict[Pair, bool | None] = {}
        for ledger in self.ledgers + self.nights:
            if not self._is_begun(ledger):
                continue
            with LedgerReader(ledger) as reader:
                if differences(reader):
                    raise LawBrokenError(f"{ledger} contradicts itself: {differences(reader)}")
                for state in reader.windows():
                    columns = state.window.columns
                    for row, code in enumerate(state.status.tolist()):
                        status = Status(code)
                        if status in {Status.SUPERSEDED, Status.REJECTED, Status.FAILED}:
                            continue
                        pair = (int(columns.user.codes[row]), int(columns.group.codes[row]))
                        is_add = bool(columns.action[row] == Action.ADD)
                        wanted[pair] = is_add if status in IN_EFFECT else None
        for pair, is_in in wanted.items():
            if is_in is not None and (pair in members) is not is_in:
                raise LawBrokenError(f"{pair} of {self.number} should be {'in' if is_in else 'out'}, and is not")
        first = 100 * self.number
        fed = {pair for pair in members if first + 50 <= pair[0] < first + 100}
        if self.feed is not None and fed != self.feed:
            raise LawBrokenError(f"the feed of {self.number} is not what is in effect: {self.feed ^ fed}")


async def _stop_later(shutdown: Shutdown, seconds: float) -> None:
    await anyio.sleep(seconds)
    shutdown.stop(Cause.INTERRUPT, "a signal")


def run_seed(seed: int, *, change: Callable[[Plan], Plan] = lambda plan: plan, verbose: bool = False) -> Host:
    """Simulate one seed with its plan as `change` returns it; raises `LawBrokenError` if a law does not hold."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 — fsync costs nothing there
    with tempfile.TemporaryDirectory(dir=base) as folder:
        host = Host(seed, Path(folder), change, verbose)
        if verbose:
            print(host.plan)
        host.play()
        host.check()
        return host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.NOTSET if options.v else logging.CRITICAL)
    failed = 0
    for seed in range(options.first, options.first + options.count):
        try:
            run_seed(seed, verbose=options.v)
        except Exception as error:
            failed += 1
            print(
                f"python tests/hosts.py 1 --first {seed} -v    # {type(error).__name__}: {str(error)[:300]}", flush=True
            )
            if options.v:
                raise
    print(f"{options.count} seeds, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
