"""The people of `tests/hosts.py`: each gives one command after the other, and knows what must come of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from harness import settings_for, write_changes
from processes import LawBrokenError, Process, Watched, bring_back, is_to_repeat, move_away, stop_later
from told import Pair, check_told, is_begun

from batcher.core.errors import (
    BatcherError,
    GuardrailError,
    LedgerHeldError,
    NotBegunError,
    StateError,
    UsageError,
)
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Pipe, apply
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference, spool_path
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.run.observers import Observer
from batcher.engine.run.session import make_target
from batcher.engine.sync.goal import Goal, SyncBasis
from batcher.engine.sync.sync import Terms, sync
from batcher.engine.sync.undo import compile_undo, undo_changes
from batcher.host.runtime import Runtime
from batcher.load.clean_up import clean_up, cleaning_files, write_removals
from batcher.load.flight import Punctual
from batcher.load.load_run import LoadSpec, Looking, measure
from batcher.load.plan import Stopwatch
from batcher.settings import Settings

if TYPE_CHECKING:
    from hosts import Host

GRACE = 30.0
_MOST_TRIES = 30
_SLOPPY = 0.08
"""How likely a command is to have a plug-in that leaves something out."""
_SUSPENDED, _RENAMED = 0.05, 0.1
"""How likely a process is to be suspended, and a ledger to get another name before it is continued."""
_FED, _LOADED, _PROTECTED = range(50, 54), range(70, 75), 99
"""The numbers of users that are in feeds, of load runs, and whom nobody may change; others are changed by hand."""
NONSENSE = (
    {"target_ca_file": "/no/such/file"},
    {"target_url": "ftp://127.0.0.1"},
    {"rate_max_in_flight": 300_000},
    {"retry_max_attempts": 10**9},
    {"limits_max_changes": 10**12},
    {"rate_requests": "0/s"},
)
SPELLINGS = ("{}://127.0.0.1:1", "{}://localhost:1", "{}://LOCALHOST:1/")
Job = Callable[[RunContext], Awaitable[Report]]


@dataclass(eq=False)
class Person:
    """Has users of its own, and gives one command after the other."""

    host: Host
    number: int
    rng: random.Random
    ledgers: list[Path] = field(default_factory=list)
    """Of all runs, in the order in which they were begun."""
    by_hand: list[Path] = field(default_factory=list)
    """Those without a state."""
    feed: set[Pair] | None = None
    """The last feed, if everything in it is in effect."""
    is_to_repeat: bool = False
    """Whether the last refusal said that nothing was begun."""
    is_closed: bool = False
    """Whether it said that a later run has taken over what the ledger had left open."""
    may_be_refused: tuple[type[BatcherError], ...] = ()
    """Errors with which the present command may be refused."""
    has_company: bool = False
    """Whether a second command uses the same files at the same time."""
    loads: list[Path] = field(default_factory=list)
    """Ledgers of load runs that are not cleaned up."""

    def __post_init__(self) -> None:
        self.folder = self.host.folder / f"person-{self.number}"
        self.folder.mkdir()
        self.state = self.folder / "hr.state"
        first = 100 * self.number
        self.users: list[int | str] = list(range(first, first + self.rng.choice([3, 3, 15])))
        if self.host.plan.kind == "scrutinizer" and self.rng.random() < 0.7:  # names that look alike, and like ids
            self.users = [first, str(first), f"u{first}a", f"U{first}A"]

    @property
    def settings(self) -> Settings:
        """As this person has configured it now."""
        return self._settings()

    def _settings(self, **more: Any) -> Settings:
        plan = self.host.plan
        given = {
            "target_url": self.rng.choice(SPELLINGS).format("https" if plan.renews else "http"),
            "rate_requests": "none" if plan.rate is None else str(plan.rate),
            "rate_max_in_flight": self.rng.choice([1, 2, 4]),
            "limits_max_changes": self.rng.choice([1, 3, 10]),
            "retry_grace_seconds": GRACE,
            "retry_base_seconds": 0.1,
            "retry_max_attempts": self.rng.choice([2, 5]),
            "retry_max_wait": "1h",
            "guard_max_shrink": "none",
            "guard_max_removal_share": "none",
            "guard_max_group_share": "none",
            "guard_max_addition_share": "none",
        }
        certificate = {"target_ca_file": str(self.host.certificate)} if plan.renews else {}
        return settings_for(plan.kind, **(given | certificate | more))

    async def live(self) -> None:
        """Everything that this person does."""
        await anyio.sleep(self.rng.choice([0.0, 0.2, 3.0]))
        for _ in range(self.rng.randint(2, 6)):
            await self._give(self.rng.choice(self.host.plan.habits))
            await anyio.sleep(self.rng.choice([0.0, 0.0, 0.0, 1.0, GRACE / 3, GRACE + 1]))

    async def _give(self, command: str) -> None:
        """Give one command."""
        if command == "sync":
            await self._sync()
        elif command == "undo" and self.ledgers:
            await self._undo()
        elif command == "load":
            await self._load()
        elif command == "nonsense":
            await self._try_nonsense()
        else:
            await self._apply()

    # The commands:

    async def _apply(self) -> None:
        rng, more = self.rng, {}
        changes = [
            (rng.choice(["add", "add", "remove"]), rng.choice(self.users), rng.randrange(2))
            for _ in range(rng.choice([1, 4, 15, 40]))
        ]
        if rng.random() < 0.1:
            changes.append(("add", f"u{100 * self.number}\x1b[2J\r", 0))
        if rng.random() < 0.25:
            more = {"guard_protected_users": [str(100 * self.number + _PROTECTED)]}
            changes.append(("add", 100 * self.number + _PROTECTED, 0))
            self.may_be_refused = (GuardrailError,)
        inputs: list[Path | Pipe]
        given: list[int] = []
        if rng.random() < 0.3:
            inputs = [Pipe("-", self._drip(changes, given))]
            room = rng.choice([1 << 40, 1 << 40, 30 * rng.randint(0, len(changes))])
        else:
            inputs, room = [write_changes(self._file("changes.jsonl"), changes)], 1 << 40
        await self._by_hand(inputs, self._settings(**more), room, given)
        self.may_be_refused = ()

    async def _drip(self, changes: list[Any], given: list[int]) -> AsyncIterator[Any]:
        fails = self.rng.randrange(len(changes)) if self.rng.random() < 0.2 else -1
        given[:] = [0, len(changes)]
        for number, change in enumerate(changes):
            if self.rng.random() < 0.1:
                await anyio.sleep(self.rng.choice([0.0, 0.05, 1.0]))
            if number == fails:
                given[1] = number
                raise RuntimeError("the iterable fails")
            yield change
            given[0] += 1

    async def _by_hand(
        self, inputs: list[Path | Pipe], settings: Settings, room: int = 1 << 40, given: list[int] | None = None
    ) -> None:
        ledger = self._file("ledger")
        self.ledgers.append(ledger)
        self.by_hand.append(ledger)

        is_taken = False

        async def begins(context: RunContext) -> Report:
            nonlocal is_taken
            report = await apply(inputs, context)
            is_taken = report.stopped is None or (room == 1 << 40 and report.stopped is Cause.INPUT)
            return report

        report = await self._run("apply", begins, ledger, settings, room)
        is_over = report is not None and not (report.next or "").startswith("batcher resume")
        if given and is_taken and is_over and report.total != given[1]:
            raise LawBrokenError(f"{given[1]} changes were given, {report.total} are known")

    async def _sync(self) -> None:
        pairs = [(100 * self.number + user, group) for user in _FED for group in range(2)]
        feed: set[Pair] = set(self.rng.sample(pairs, self.rng.randint(1, len(pairs))))
        file, ledger, state = self._file("feed.csv"), self._file("ledger"), self.state
        file.write_text("user,group\n" + "".join(f"{user},{group}\n" for user, group in sorted(feed)), "utf-8")
        self.ledgers.append(ledger)
        self.feed = None
        kept, older = self.folder / "newest.state", self.folder / "backup.state"
        is_restored = state.exists() and older.exists() and self.rng.random() < 0.3
        if is_restored:
            shutil.copy(state, kept)
            shutil.copy(older, state)
        self.may_be_refused = (StateError,) if is_restored else ()
        settings = self.settings

        async def begins(context: RunContext) -> Report:
            return await sync(Goal([file], state, (), not state.exists()), context, Terms())

        async with anyio.create_task_group() as group:
            dice = self.rng.random()
            self.has_company = dice < 0.12
            if self.has_company:
                group.start_soon(self._keep_company, file, settings)
            elif dice < 0.25:
                group.start_soon(self._look, file, settings)
            report = await self._run("sync", begins, ledger, settings)
        self.has_company = False
        if is_restored and report is None and not is_begun(ledger):
            shutil.copy(kept, state)
        if report is not None and report.exit_code == 0:
            self.feed = feed
            if self.rng.random() < 0.4:
                shutil.copy(state, older)

    async def _look(self, file: Path, settings: Settings) -> None:
        """A colleague looks at what there would be to do, which is in nobody's way."""
        await anyio.sleep(self.rng.choice([0.0, 0.01, 0.3, 2.0]))
        goal, target = Goal([file], self.state, (), not self.state.exists()), make_target(settings)
        with (
            suppress(LedgerHeldError, StateError),
            SyncBasis(goal, target, settings, self.host.state, is_simulated=False, is_look=True),
        ):
            await anyio.sleep(self.rng.choice([0.1, 3.0, 50.0]))

    async def _keep_company(self, file: Path, settings: Settings) -> None:
        """A colleague does the same."""
        await anyio.sleep(self.rng.choice([0.0, 0.01, 0.3, 2.0]))
        is_first = not self.state.exists()
        ledger = self._file("ledger")

        async def job(context: RunContext) -> Report:
            return await sync(Goal([file], self.state, (), is_first), context, Terms())

        self.may_be_refused = (LedgerHeldError, StateError)
        report = await self._command("sync too", job, settings, ledger, calm=True)
        if is_begun(ledger):
            self.ledgers.append(ledger)
        self.host.say(f"{self.number}: sync too: {report and report.exit_code}")

    async def _undo(self) -> None:
        settings, last = for_difference(self.settings), self.ledgers[-1]
        others = self.by_hand if last in self.by_hand else []
        is_fed = last not in self.by_hand
        try:
            made = compile_undo(
                last, others, settings, self._file("undo.json"), state=None, state_folder=self.host.state, utc=float
            )
        except BatcherError as error:
            self.host.say(f"{self.number}: no undo: {error}")
            return
        if not is_fed:
            await self._by_hand(list(made.changes), settings)
            return
        self.feed = None
        ledger = self._file("ledger")
        self.ledgers.append(ledger)
        await self._run(
            "undo", lambda context: undo_changes(made.changes, self.state, context, Terms()), ledger, settings
        )

    async def _load(self) -> None:
        ledger = self._file("load.ledger")
        first = 100 * self.number + _LOADED[0]
        settings = self._settings(limits_max_changes=2)

        async def job(context: RunContext) -> None:
            spec = LoadSpec(
                settings,
                str(ledger),
                arrivals="4/s for 5s",
                synthetic={"users": len(_LOADED), "groups": 2, "first_user": first, "first_group": 10},
                starts=context.runtime.clock.shared(),
            )
            world, shutdown = context.runtime, context.shutdown

            @asynccontextmanager
            async def transport(given: Settings) -> AsyncIterator[Punctual]:
                async with world.transport(given) as made:
                    yield Punctual(made, anyio.current_time, anyio.sleep_until)

            world = replace(world)
            await measure(
                spec,
                Credentials(token="a-token"),
                replace(world, transport=transport),
                Stopwatch(0.0, lambda: 0.0),
                shutdown,
                Looking(),
            )

        await self._command("load", job, settings, ledger, calm=False)
        if not is_begun(ledger):
            return
        self.loads.append(ledger)
        await anyio.sleep(self.rng.choice([0.0, 1.0, GRACE + 1]))
        removals, cleaning = cleaning_files(ledger)

        async def begins(context: RunContext) -> Report:
            return await clean_up(removals, [ledger], context)

        removals.unlink(missing_ok=True)
        if not write_removals([ledger], removals):
            self.loads.remove(ledger)
            return
        report = await self._run("clean-up", begins, cleaning, settings)
        if report is not None and report.exit_code == 0:
            self.loads.remove(ledger)

    async def _try_nonsense(self) -> None:
        """What cannot be used is refused before anything is created."""
        before = sorted(self.folder.rglob("*"))
        nonsense = self.rng.choice(NONSENSE)
        path = write_changes(self.folder / "x.jsonl", [("add", 100 * self.number + _PROTECTED, 0)])
        process = Process(self.rng, self.folder, -1, 0.0)
        try:
            settings = self._settings(**nonsense)
            await apply([path], self._context(settings, self.folder / "x.ledger", process, Shutdown()))
        except UsageError:
            pass
        else:
            raise LawBrokenError(f"{nonsense} was accepted")
        path.unlink()
        if sorted(self.folder.rglob("*")) != before:
            raise LawBrokenError(f"{nonsense} was refused, and has left something behind")

    # How a command is carried out:

    async def _run(
        self, begin: str, begins: Job, ledger: Path, settings: Settings, room: int = 1 << 40
    ) -> Report | None:
        """Begin a run, and continue it as long as that is suggested, or until it is left as it is."""
        report = None
        self.is_to_repeat = self.is_closed = False
        for number in range(_MOST_TRIES):
            calm = number > _MOST_TRIES // 2
            name, job = begin, begins
            if self.is_to_repeat:
                ledger = self._file("ledger")
                self.ledgers.append(ledger)
                self.is_to_repeat = False
            if not is_begun(ledger):
                if room < 1 << 40 and number:
                    return None  # the stream is gone
            elif report is None or (report.next or "").startswith("batcher resume"):
                name, job = "resume", lambda context: resume(context, self._anew())
            elif (report.next or "").startswith("batcher retry") and self.rng.random() < 0.7:
                name, job = "retry", lambda context: retry(context, self._anew())
            else:
                return report
            report = await self._command(name, job, settings, ledger, calm=calm, room=room)
            if self.is_closed or (self.may_be_refused and report is None and not is_begun(ledger)):
                return None
            await anyio.sleep(self.rng.choice([0.0, 0.5, 40.0]))
            if begin == "apply" and room == 1 << 40 and not spool_path(ledger).exists():
                ledger = self._rename(ledger)
            if is_begun(ledger) and self.rng.random() < 0.1:
                return report  # left as it is
        raise LawBrokenError("it does not come to an end")

    def _anew(self) -> Anew:
        certificate = {"target": {"ca_file": str(self.host.certificate)}} if self.host.plan.renews else {}
        return Anew(certificate, despite_later_runs=True)

    async def _command(
        self, name: str, job: Callable[[RunContext], Awaitable[Any]], settings: Settings, ledger: Path, *, calm: bool,
        room: int = 1 << 40,
    ) -> Any:  # fmt: skip
        plan, rng = self.host.plan, self.rng
        calm = calm or self.has_company
        fatal = rng.choice([1, 3, 10, 30, 60]) if not calm and rng.random() < plan.crashes else -1
        process = Process(rng, self.folder, fatal, 0.0 if calm else plan.hangs, room)
        self._befall(process, is_calm=calm)
        shutdown, around = Shutdown(), []
        if not calm and rng.random() < plan.stops:
            around.append(partial(stop_later, shutdown, rng.choice([0.0, 0.5, 5.0])))
        if not calm and rng.random() < plan.moves:
            around.append(partial(move_away, process, ledger, rng.choice([0.1, 1.0, 5.0])))
        try:
            report, refusal = await process.carry_out(
                lambda: job(self._context(settings, ledger, process, shutdown)), *around
            )
        finally:
            bring_back(ledger)
        if refusal is not None:
            self._refused(refusal, process)
        end = "killed" if process.snapshot is not None else refusal or (report and (report.exit_code, report.reason))
        self.host.say(f"{self.number}: {name}: {end}")
        process.check_told(ledger)
        return report

    def _befall(self, process: Process, *, is_calm: bool) -> None:
        """Let it be suspended, or its plug-in be sloppy, now and then."""
        odds = self.host.odds
        process.is_sloppy = not is_calm and odds.random() < _SLOPPY
        if not is_calm and odds.random() < _SUSPENDED:
            since = anyio.current_time() + odds.choice([0.0, 0.5, 3.0])
            process.stopped = since, since + odds.choice([5.0, 60.0, 120.0])

    def _rename(self, ledger: Path) -> Path:
        """Somebody gives the ledger of a run that does not work another name, at times; returns the one it has now."""
        is_open = ledger.with_name(ledger.name + "-wal").exists()
        if is_open or not is_begun(ledger) or self.host.odds.random() > _RENAMED:
            return ledger
        renamed = self._file("renamed.ledger")
        ledger.rename(renamed)
        for ledgers in (self.ledgers, self.by_hand):
            ledgers[:] = [renamed if known == ledger else known for known in ledgers]
        self.host.say(f"{self.number}: {ledger.name} is {renamed.name} from now on")
        return renamed

    def _context(self, settings: Settings, ledger: Path, process: Process, shutdown: Shutdown) -> RunContext:
        world = Runtime(self.host.clock(), self.rng.random, process.executor, self._transport(process), self.host.state)
        return RunContext(
            settings, Credentials(token="a-token"), ledger, world, shutdown, Observer(settled=process.note)
        )

    def _refused(self, refusal: BatcherError, process: Process) -> None:
        """A command may only be refused for a reason that this person knows."""
        self.is_to_repeat = is_to_repeat(refusal)
        self.is_closed = "was closed by a later run with the state" in str(refusal)
        is_expected = isinstance(refusal, self.may_be_refused) or (
            self.has_company and (self.is_closed or isinstance(refusal, (LedgerHeldError, StateError)))
        )
        is_moved = process.told_then is not None or process.room < 1 << 40
        is_late = isinstance(refusal, NotBegunError) and refusal.exit_code == Cause.INTERRUPT.exit_code
        if not (self.is_to_repeat or is_expected or is_moved or is_late or self._is_deaf(refusal)):
            raise LawBrokenError(f"refused: {type(refusal).__name__} {refusal}")

    @staticmethod
    def _is_deaf(refusal: BaseException) -> bool:
        """Whether an iterable failed before anything came of it."""
        return "no input arrived" in str(refusal) or "the iterable fails" in str(refusal)

    def _transport(self, process: Process) -> Callable[[Settings], Any]:
        host = self.host

        @asynccontextmanager
        async def transport(settings: Settings) -> AsyncIterator[Any]:
            yield Watched(
                host.target,
                process,
                lambda: not host.plan.renews or settings.target.ca_file == str(host.certificate),
            )

        return transport

    def _file(self, name: str) -> Path:
        return self.folder / f"{len(self.ledgers)}-{self.rng.randrange(10**9)}.{name}"

    # The laws:

    def check(self, members: set[Pair]) -> None:
        """Law 2: per pair, the last change that is known to have settled decides, one command after the other."""
        check_told(self.ledgers, members, self.host.is_bad)
        first = 100 * self.number
        mine = {pair for pair in members if isinstance(pair[0], int) and first <= pair[0] < first + 100}
        if any(pair[0] == first + _PROTECTED for pair in mine):
            raise LawBrokenError(f"a protected user of {self.number} was changed")
        fed = {pair for pair in mine if pair[0] - first in _FED}
        if self.feed is not None and fed != self.feed:
            raise LawBrokenError(f"the feed of {self.number} is not what is in effect: {self.feed ^ fed}")
        if not self.loads and any(pair[0] - first in _LOADED for pair in mine):
            raise LawBrokenError(f"a load run of {self.number} was cleaned up, and members are left")
