"""A month of nights from random seeds: two feeds on one target, and in between people retry and undo by hand.

Each feed has its own state and its own groups; the users are the same, and the nights overlap. Every command may be
killed at any event, and the target refuses users, loses requests, and applies them later. After a kill, people resume,
or leave it to the next night. Each evening no state may be wrong about a pair that it says it knows, and after a night
that ended well the members are those of the feed.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
from harness import EPOCH, Target, fast_folder, settings_for
from processes import LawBrokenError, Process, Watched, dead_processes_do_not_write, is_to_repeat
from told import Pair, is_begun

from batcher.core.clock import Clock
from batcher.core.errors import BatcherError, LedgerError, NotBegunError
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.jobs.summary import report as summary
from batcher.engine.run.observers import Observer
from batcher.engine.run.session import make_target
from batcher.engine.sync.goal import Goal, SyncBasis
from batcher.engine.sync.sync import Terms, sync
from batcher.engine.sync.undo import compile_undo, undo_changes
from batcher.host.runtime import Runtime
from batcher.settings import Settings
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits, Stage
from batcher.simulator.virtual_time import run_virtual
from batcher.state.store import Known

_DAY = 86_400.0
_GRACE = 30.0
_USERS, _GROUPS = range(1, 9), 3


@dataclass
class Plan:
    """Everything that a seed decides, apart from what happens in each night."""

    kind: str
    nights: int
    crashes: float
    """How likely a command is to be killed."""
    by_hand: float
    """How likely somebody retries or undoes during the day."""
    stages: tuple[Stage, ...]

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong."""
        return not self.crashes and not any(
            stage.behaviour.faults or stage.behaviour.bad_users for stage in self.stages
        )

    @staticmethod
    def of(rng: random.Random) -> Plan:
        nights, stages = rng.choice([3, 3, 4, 6, 12, 30]), []
        trouble = rng.choice([0.0, 0.5, 0.9])
        for night in range(1, nights + 1):
            calm = Behaviour(latency_seconds=0.1, late_seconds=rng.choice([1.0, _GRACE / 2, _GRACE - 0.5]))
            if rng.random() < trouble:
                kinds = ["500", "late", "late", "drop-before", "drop-after", "cut"]
                faults = tuple(Fault(rng.choice(kinds), rng.choice([0.2, 0.5])) for _ in range(rng.randint(0, 2)))
                bad = frozenset(rng.sample(_USERS, rng.choice([0, 2, 4])))
                stages.append(Stage(replace(calm, faults=faults, bad_users=bad), night * _DAY - 1.0))
            stages.append(Stage(calm, night * _DAY + rng.choice([10.0, 600.0])))
        return Plan(
            rng.choice(["minapp", "scrutinizer"]),
            nights,
            rng.choice([0.0, 0.2, 0.5]),
            rng.choice([0.0, 0.5, 0.9]),
            tuple(stages) or (Stage(Behaviour(), 0.0),),
        )

    def as_scim(self) -> Plan:
        """The same plan at a SCIM service, whose ids are texts and which writes groups as a whole."""
        return replace(self, kind="scim", stages=tuple(map(_as_scim, self.stages)))

    @property
    def key(self) -> Callable[[int], int | str]:
        """What the target takes for an id."""
        return str if self.kind == "scim" else int


def _as_scim(stage: Stage) -> Stage:
    bad, calm = frozenset(map(str, stage.behaviour.bad_users)), stage.behaviour
    traits = ScimTraits(returns_groups=bool(bad), write_seconds=calm.latency_seconds)
    return replace(stage, behaviour=replace(calm, bad_users=bad, scim=traits))


class Feed:
    """One feed with its state, and whoever looks after it."""

    def __init__(self, month: Month, number: int) -> None:
        self.month, self.number = month, number
        self.rng = random.Random(month.rng.random())
        self.folder = month.folder / f"feed-{number}"
        self.folder.mkdir()
        self.state = self.folder / "hr.state"
        self.pairs: set[Pair] = set()
        """What the feed of tonight says."""
        self.ledgers: list[Path] = []
        self.is_as_it_says = False
        """Whether the last command ended well, and was a sync."""
        self._before: set[Pair] = set()
        """What was in effect before the last sync."""

    async def live(self) -> None:
        """Every night a sync, and at times something by hand."""
        for night in range(1, self.month.plan.nights + 1):
            await anyio.sleep_until(night * _DAY + self.rng.choice([0.0, 0.3, 5.0, 60.0]))
            self._change()
            await self._sync()
            if self.rng.random() < self.month.plan.by_hand:
                await anyio.sleep(self.rng.choice([0.0, 1000.0, 3600.0]))
                await self._retry_or_undo()
            await anyio.sleep_until((night + 0.9) * _DAY)
            self._check()

    def _change(self) -> None:
        key = self.month.plan.key
        everything = [(key(user), key(10 * self.number + group)) for user in _USERS for group in range(_GROUPS)]
        self.pairs ^= set(self.rng.sample(everything, self.rng.choice([0, 1, 3, 8])))
        self.pairs = self.pairs or {everything[0]}

    async def _sync(self) -> None:
        self._before = self._members()
        file = self.folder / "feed.csv"
        file.write_text("user,group\n" + "".join(f"{user},{group}\n" for user, group in sorted(self.pairs)), "utf-8")
        await self._until_good(
            "sync", lambda context: sync(Goal([file], self.state, (), not self.state.exists()), context, Terms())
        )

    async def _retry_or_undo(self) -> None:
        ledger = self.ledgers[-1]
        try:
            following = summary(ledger).next or ""
        except LedgerError:
            return  # it had not begun
        if following.startswith("batcher retry"):
            self.is_as_it_says = False
            await self._command("retry", lambda context: retry(context, Anew(despite_later_runs=True)), ledger)
        elif not following:
            settings = for_difference(self._settings())
            try:
                made = compile_undo(
                    ledger, [], settings, self.folder / "undo.json", state=None, state_folder=self.month.host, utc=float
                )
            except BatcherError as error:
                self.month.say(f"{self.number}: no undo: {error}")
                return
            report = await self._until_good(
                "undo", lambda context: undo_changes(made.changes, self.state, context, Terms()), is_sync=False
            )
            if self.month.plan.is_calm and (report is None or report.exit_code or self._members() != self._before):
                raise LawBrokenError(f"undo of {ledger.name}: {self._members()} instead of {self._before}")

    async def _until_good(
        self, name: str, begins: Callable[[RunContext], Any], *, is_sync: bool = True
    ) -> Report | None:
        """Begin a run; after a kill begin it again or resume it, or leave that to the next night."""
        self.is_as_it_says = False
        report, has_begun = None, False
        for _ in range(self.rng.choice([1, 2, 5])):
            if not has_begun:
                self.ledgers.append(self.folder / f"{len(self.ledgers)}.ledger")
            ledger = self.ledgers[-1]
            if has_begun:
                report = await self._command(
                    "resume", lambda context: resume(context, Anew(despite_later_runs=True)), ledger
                )
            else:
                report = await self._command(name, begins, ledger)
            has_begun = is_begun(ledger)
            if report is not None and not (report.next or "").startswith("batcher resume"):
                break
            await anyio.sleep(self.rng.choice([0.0, 1.0, _GRACE]))
        self.is_as_it_says = is_sync and report is not None and report.exit_code == 0
        return report

    async def _command(self, name: str, job: Callable[[RunContext], Any], ledger: Path) -> Report | None:
        is_small = name == "retry"  # few events, each of which is to be hit
        is_killed = self.rng.random() < self.month.plan.crashes * (1 + is_small)
        fatal = self.rng.randint(1, 12 if is_small else 30) if is_killed else -1
        process = Process(self.rng, self.folder, fatal, 0.0)
        report, refusal = await process.carry_out(lambda: job(self._context(process, ledger)))
        if refusal is not None and not (isinstance(refusal, NotBegunError) or is_to_repeat(refusal)):
            raise LawBrokenError(f"refused: {refusal!r}")
        process.check_told(ledger)
        self.month.say(f"{self.number}: {name} {ledger.name}: {report and (report.exit_code, report.reason)}")
        return report

    def _context(self, process: Process, ledger: Path) -> RunContext:
        @asynccontextmanager
        async def transport(_: Settings) -> AsyncIterator[Any]:
            yield Watched(self.month.target, process)

        clock = Clock(anyio.current_time, lambda: EPOCH + anyio.current_time(), anyio.current_time, "a-boot")
        world = Runtime(clock, self.rng.random, process.executor, transport, self.month.host)
        observer = Observer(settled=process.note)
        return RunContext(self._settings(), Credentials(token="a-token"), ledger, world, Shutdown(), observer)

    def _settings(self) -> Settings:
        unbounded = ("max_shrink", "max_removal_share", "max_group_share", "max_addition_share")
        return settings_for(
            self.month.plan.kind,
            limits_max_changes=4,
            retry_grace_seconds=_GRACE,
            retry_base_seconds=0.1,
            retry_max_attempts=3,
            retry_max_wait="10m",
            **{f"guard_{name}": "none" for name in unbounded},
        )

    def _members(self) -> set[Pair]:
        target = self.month.target
        target.world.catch_up(anyio.current_time())
        return {pair for pair in target.members() if int(pair[1]) // 10 == self.number}

    def _check(self) -> None:
        """By the evening every request has arrived."""
        members = self._members()
        if self.is_as_it_says and members != self.pairs:
            raise LawBrokenError(f"feed {self.number} is not what is in effect: {self.pairs ^ members}")
        if not self.state.exists():
            return
        settings = self._settings()
        goal, target = Goal([], self.state), make_target(settings)
        with SyncBasis(goal, target, settings, self.month.host, is_simulated=False, is_look=True) as basis:
            rows = basis.store.connection.execute('SELECT "user", "group", known FROM pair').fetchall()
        for user, group, known in rows:
            is_member = (user, group) in members
            if known == (Known.OUT if is_member else Known.IN):
                raise LawBrokenError(f"the state of feed {self.number} believes {Known(known)!r} of {(user, group)}")


class Month:
    """Everything of one seed."""

    def __init__(self, seed: int, folder: Path, *, verbose: bool) -> None:
        self.rng = random.Random(seed)
        self.plan = Plan.of(self.rng)
        if seed % 5 == 4:  # after the draw, so that all other seeds stay as they were
            self.plan = self.plan.as_scim()
        self.folder, self.verbose = folder, verbose
        self.host = folder / "host"
        self.target = Target(self.plan.stages[0].behaviour, stages=self.plan.stages, offers_lines=seed % 3 != 0)
        self.feeds = [Feed(self, number) for number in range(2)]

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        if self.verbose:
            print(f"  {anyio.current_time() / _DAY:9.4f}  {text}")

    async def live(self) -> None:
        """All nights of both feeds."""
        with anyio.fail_after((self.plan.nights + 2) * _DAY):
            async with anyio.create_task_group() as group:
                for feed in self.feeds:
                    group.start_soon(feed.live)


def run_seed(seed: int, *, verbose: bool = False) -> None:
    """Simulate one seed; raises `LawBrokenError` if a law does not hold."""
    with fast_folder() as folder, dead_processes_do_not_write():
        month = Month(seed, Path(folder), verbose=verbose)
        if verbose:
            print(month.plan)
        run_virtual(month.live)
