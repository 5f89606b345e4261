"""Whole runs from random seeds: many things go wrong at once, crashes included; at the end the laws are checked.

A seed decides the input, the settings, the target and how it changes with time, when the disk is full, when the process
is killed or asked to stop, and in which order all of this happens. Time is virtual, so a seed always gives one result.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import harness
import numpy as np
from harness import Change, Target, fast_folder, final_state, settings_for, write_changes
from processes import Killed, LawBrokenError

from batcher.core.batch import Settlement
from batcher.core.errors import BatcherError, LedgerError
from batcher.core.http import Request, Response
from batcher.core.rate import Rate
from batcher.core.report import Report
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Pipe
from batcher.engine.jobs.summary import report as summary
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.observers import Observer, RunningParts
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator import minapp, scim, scrutinizer
from batcher.simulator.behaviour import KINDS, Behaviour, Fault, Insists, ScimTraits, Stage
from batcher.simulator.messages import Arrival
from batcher.simulator.virtual_time import run_virtual

_MOST_INVOCATIONS = 40
_LONGEST = 100_000.0
"""How many virtual seconds one invocation may take."""


@dataclass
class Plan:
    """Everything that a seed decides."""

    kind: str
    changes: list[Change]
    window_rows: int
    settings: dict[str, Any]
    behaviour: Behaviour
    stages: tuple[Stage, ...]
    is_piped: bool
    has_login: bool
    shares_pace: bool
    crashes: float
    """How likely an invocation is to be killed."""
    full_disks: float
    stops: float

    @staticmethod
    def of(rng: random.Random) -> Plan:
        kind = rng.choice(["minapp", "scrutinizer"])
        form = str if kind == "scrutinizer" and rng.random() < 0.4 else int
        users, groups = rng.randint(1, 12), rng.randint(1, 5)
        ops = ["add", "remove"] if rng.random() < 0.7 else ["add", "add", "add", "remove", "nonsense"]
        changes = [
            (rng.choice(ops), form(rng.randrange(users)), form(rng.randrange(groups)))
            for _ in range(rng.choice([1, 5, 30, 80, 200]))
        ]
        least = max(1, len(changes) // 12)
        has_login = kind == "minapp" and rng.random() < 0.3
        behaviour = Behaviour(
            client_id="id" if has_login else "",
            client_secret="secret" if has_login else "",
            token_uses=rng.choice([0, 3, 20]) if has_login else 0,
            latency_seconds=rng.choice([0.0, 0.01, 0.3]),
            jitter_seconds=rng.choice([0.0, 0.2]),
            capacity=rng.choice([0, 0, 3]),
            bad_users=frozenset({form(rng.randrange(users))}) if rng.random() < 0.2 else frozenset(),
            bad_groups=frozenset({form(rng.randrange(groups))}) if rng.random() < 0.1 else frozenset(),
            bad_pairs=frozenset(
                (form(rng.randrange(users)), form(rng.randrange(groups))) for _ in range(rng.choice([0, 0, 1, 3]))
            ),
            is_atomic=rng.random() < 0.6,
            shuffles=rng.random() < 0.5,
            max_changes=rng.choice([0, 0, 0, 1, 7]),
            size_status=rng.choice([400, 413]),
            late_seconds=rng.uniform(0.5, 4.5),
            fault_retry_after=rng.choice([0.0, 0.0, 1.5]),
            seed=rng.randrange(1 << 30),
        )
        order = rng.choice([{"target_order_by": "pair"}, {"target_order_by": "group"}, {"input_ordered": True}])
        settings = {
            "limits_max_changes": rng.choice([1, 3, 10, 200]),
            "rate_requests": rng.choice(["none", "none", "20/s", "100/min"]),
            "rate_changes": rng.choice(["none", "none", "none", "50/s"]),
            "rate_burst": rng.choice([1, 3]),
            "rate_max_in_flight": rng.choice(["auto", "auto", 1, 3]),
            "retry_base_seconds": 0.1,
            "retry_max_seconds": 3.0,
            "retry_max_attempts": rng.choice([2, 8]),
            "retry_grace_seconds": 5.0,
            "retry_max_wait": rng.choice(["10s", "15m"]),
            **order,
            **(
                {"limits_max_users": rng.choice([1, 5]), "limits_max_ops": rng.choice([1, 4])}
                if kind == "minapp"
                else {}
            ),
        }
        return Plan(
            kind,
            changes,
            rng.randint(least, max(least, len(changes))),
            settings,
            behaviour,
            tuple(_stages(rng, behaviour)),
            is_piped=rng.random() < 0.15,
            has_login=has_login,
            shares_pace=rng.random() < 0.7,
            crashes=rng.choice([0.0, 0.5, 0.8]),
            full_disks=rng.choice([0.0, 0.0, 0.3]),
            stops=rng.choice([0.0, 0.3]),
        )

    def as_scim(self) -> Plan:
        """The same plan at a SCIM service, whose ids are texts and which writes groups as a whole."""
        settings = {n: v for n, v in self.settings.items() if n not in {"limits_max_users", "limits_max_ops"}}
        return replace(
            self,
            kind="scim",
            changes=[(op, str(user), str(group)) for op, user, group in self.changes],
            settings=settings,
            behaviour=_as_scim(self.behaviour),
            stages=tuple(replace(stage, behaviour=_as_scim(stage.behaviour)) for stage in self.stages),
            has_login=False,
        )


def _as_scim(behaviour: Behaviour) -> Behaviour:
    return replace(
        behaviour,
        client_id="",
        client_secret="",
        bad_users=frozenset(map(str, behaviour.bad_users)),
        bad_groups=frozenset(map(str, behaviour.bad_groups)),
        bad_pairs=frozenset((str(user), str(group)) for user, group in behaviour.bad_pairs),
        scim=ScimTraits(returns_groups=behaviour.shuffles, write_seconds=behaviour.latency_seconds),
    )


def _stages(rng: random.Random, calm: Behaviour) -> list[Stage]:
    """Several stages with trouble for some seconds each, and a healthy target in the end."""
    at, stages = 0.0, []
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        kinds = ["429", "500", "502", "503", *KINDS]
        faults = tuple(Fault(rng.choice(kinds), rng.choice([0.05, 0.2, 0.5, 1.0])) for _ in range(rng.randint(0, 3)))
        trouble = replace(
            calm,
            faults=faults,
            limits=rng.choice([(), (), (Rate(5, 1),), (Rate(10, 60),)]),
            limit_status=rng.choice([429, 429, 400]),
            insists=rng.choice(list(Insists)[:5]),
            most_at_once=rng.choice([0, 0, 2]),
            is_away=rng.random() < 0.15,
        )
        stages.append(Stage(trouble, at))
        at += rng.choice([0.5, 3.0, 20.0, 90.0])
    return [*stages, Stage(calm, at)]


@dataclass
class Watched(Target):
    """A target that remembers which waits it asked for, and may kill the client before or after applying a request."""

    kill_at: Callable[[], None] = lambda: None
    quiet: list[tuple[float, float]] = field(default_factory=list)
    """The times from when until when it asked for no requests."""

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        self.kill_at()
        response = await super().exchange(request, turn)
        self.kill_at()
        if response.status >= 400 and (after := response.headers.get("retry-after", "")).replace(".", "").isdecimal():
            now = anyio.current_time()
            self.quiet.append((now, now + min(float(after), 3600.0)))
        return response


@dataclass
class Life:
    """The simulation of one seed."""

    seed: int
    folder: Path
    verbose: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.plan = Plan.of(self.rng)
        if self.seed % 5 == 4:  # after the draw, so that all other seeds stay as they were
            self.plan = self.plan.as_scim()
        self.target = Watched(
            self.plan.behaviour, stages=self.plan.stages, kill_at=self._event, offers_lines=self.seed % 3 != 0
        )
        self.settings = settings_for(self.plan.kind, **self.plan.settings)
        login = Credentials(client_id="id", client_secret="secret")
        self.credentials = login if self.plan.has_login else Credentials(token="a-token")
        self.state = self.folder / "state"
        self.now = 0.0
        self.fatal = -1
        self.told: dict[tuple[int, int], int] = {}
        self.unknown_before_retry: set[int] = set()
        """Rows whose outcome was not known when a retry began."""
        self.snapshot: Path | None = None
        self.is_piped = self.plan.is_piped
        self.bounds: list[tuple[int, float]] = []

    @property
    def ledger(self) -> Path:
        return self.folder / "work" / "run.ledger"

    def say(self, text: str) -> None:
        if self.verbose:
            print(f"  {self.now:9.3f}  {text}")

    # What goes wrong:

    def _event(self) -> None:
        """A moment at which the process may be killed; if so, the ledger's files are kept as they are then."""
        if self.snapshot is not None:
            raise Killed  # it was killed already: what is shielded from cancellation must not continue either
        self.fatal -= 1
        if self.fatal == 0:
            self.snapshot = self.folder / "snapshot"
            shutil.copytree(self.ledger.parent, self.snapshot)
            raise Killed

    async def _executor(self, work: Callable[[], Any]) -> Any:
        self._event()
        result = work()
        self._event()
        return result

    def _fill_disk(self, parts: RunningParts) -> None:
        """Let the disk be full after some more pages, by a limit of SQLite itself."""
        connection = parts.committer._ledger._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + self.rng.randint(0, 6)}")

    # Invocations:

    def play(self) -> Report:
        """Apply, then resume and retry until nothing is left."""
        self.ledger.parent.mkdir(parents=True)
        for number in range(_MOST_INVOCATIONS):
            report = self._invoke(calm=number > _MOST_INVOCATIONS // 2)
            if report is None:
                continue
            is_over = report.next is None or report.next.startswith("batcher retry")
            if is_over and not report.changes[Status.UNKNOWN]:
                return report
        raise LawBrokenError("it does not come to an end")

    def _invoke(self, *, calm: bool) -> Report | None:
        rng, plan = self.rng, self.plan
        self.fatal = rng.choice([1, 3, 10, 30, 100]) if not calm and rng.random() < plan.crashes else -1
        fills = not calm and rng.random() < plan.full_disks
        stop_at = rng.choice([0.0, 0.5, 5.0]) if not calm and rng.random() < plan.stops else None
        self.told = {}
        observer = Observer(started=self._fill_disk if fills else lambda _: None, settled=self._note)
        report: Report | None = None

        async def main() -> None:
            nonlocal report
            shutdown = Shutdown()
            try:
                with anyio.fail_after(_LONGEST):
                    async with anyio.create_task_group() as group:
                        if stop_at is not None:
                            group.start_soon(
                                _stop_later, shutdown, stop_at, rng.choice([Cause.INTERRUPT, Cause.TERMINATED])
                            )
                        report = await self._job(shutdown, observer)
                        group.cancel_scope.cancel()
            finally:
                self.now = anyio.current_time()

        try:
            run_virtual(main, self.now)
        except BaseExceptionGroup as group:
            self._survive(group)
        self._check_told()
        self.now += rng.choice([0.0, 0.5, 30.0])
        self.say(f"{report.exit_code} {report.reason}" if report else "no report")
        return report

    def _survive(self, group: BaseExceptionGroup) -> None:
        """Run an invocation that may be killed, or refused with an error for users; anything else is a bug."""
        killed, others = group.split(Killed)
        if killed is not None and self.snapshot is not None:
            self.say("killed")
            shutil.rmtree(self.ledger.parent)
            self.snapshot.rename(self.ledger.parent)
            self.snapshot = None
            return
        refused, others = group.split(BatcherError)
        if others is not None:
            raise others
        self.say(f"refused: {refused.exceptions}")

    async def _job(self, shutdown: Shutdown, observer: Observer) -> Report:
        context = harness.context_of(self, self._runtime(), shutdown, observer, self.plan.window_rows)
        if not self._holds_a_run():
            self.say("apply")
            return await harness.apply(self._inputs(), context)
        standing = summary(self.ledger, None, "")
        if standing.next is not None and standing.next.startswith("batcher resume"):
            self.say("resume")
            return await harness.resume(context)
        self.say("retry")
        with LedgerReader(self.ledger) as reader:
            statuses = [status for state in reader.windows() for status in state.status.tolist()]
        self.unknown_before_retry |= {row for row, status in enumerate(statuses) if status == Status.UNKNOWN}
        return await harness.retry(context)

    def _holds_a_run(self) -> bool:
        try:
            with LedgerReader(self.ledger) as reader:
                reader.facts()
        except LedgerError:
            return False
        return True

    def _runtime(self) -> Runtime:
        world = harness.runtime(self.target, self.state if self.plan.shares_pace else None)
        return Runtime(world.clock, self.rng.random, self._executor, world.transport, world.state_folder)

    def _inputs(self) -> list[Any]:
        changes, rows = self.plan.changes, self.plan.window_rows
        if self.is_piped:
            return [Pipe("-", _drip(changes, self.rng))]
        parts = [changes[start : start + rows] for start in range(0, len(changes), rows)]
        return [write_changes(self.folder / f"{number}.jsonl", part) for number, part in enumerate(parts)]

    # The laws:

    def _note(self, window: OpenWindow, settlement: Settlement) -> None:
        if self.snapshot is not None:
            return  # killed: nothing was reported
        for row, status in zip(settlement.rows.tolist(), settlement.status.tolist(), strict=True):
            self.told[window.window.id, row] = status

    def _check_told(self) -> None:
        """Law 4: what was reported is on disk, even after a kill."""
        if not self.told:
            return
        with LedgerReader(self.ledger) as reader:
            held = {state.window.id: state.status for state in reader.windows()}
        for (window, row), status in self.told.items():
            if held[window][row] != status:
                raise LawBrokenError(
                    f"row {row} of window {window} was told {Status(status)}, held {held[window][row]}"
                )

    def check(self, report: Report) -> None:
        """Compare the result of all invocations with the sequential model."""
        self.target.world.catch_up(self.now + 1e6)
        with LedgerReader(self.ledger) as reader:
            found = differences(reader)
            statuses = [Status(s).label for state in reader.windows() for s in state.status.tolist()]
        if found:
            raise LawBrokenError(f"the ledger is not consistent: {found}")
        changes = self.plan.changes[: len(statuses)] if self.is_piped else self.plan.changes
        if not len(statuses) == len(changes) == report.total == sum(report.changes.values()):
            raise LawBrokenError(f"{len(changes)} changes, {len(statuses)} statuses, total {report.total}")
        valid = [change for change in changes if change[0] != "nonsense"]
        members, wanted = self.target.members(), final_state(valid, self._is_bad)
        if members != wanted:
            raise LawBrokenError(f"too many: {members - wanted}, missing: {wanted - members}")
        last = {(user, group): row for row, (op, user, group) in enumerate(changes) if op != "nonsense"}
        for row, ((op, user, group), status) in enumerate(zip(changes, statuses, strict=True)):
            allowed = {"failed"} if self._is_bad(user, group) else {"applied"}
            # A retry reads what it does not know: what is so already is not sent again.
            allowed |= {"unchanged"} if self.plan.kind == "scim" and row in self.unknown_before_retry else set()
            allowed |= {"superseded"} if last.get((user, group)) != row else set()
            if status not in ({"rejected"} if op == "nonsense" else allowed):
                raise LawBrokenError(f"row {row} ({op} {user} {group}) is {status}, not {allowed}")
        self._check_requests(changes)
        self._check_pace()

    def _is_bad(self, user: int | str, group: int | str) -> bool:
        bad = self.plan.behaviour
        return user in bad.bad_users or group in bad.bad_groups or (user, group) in bad.bad_pairs

    def _check_requests(self, changes: list[Change]) -> None:
        """Law 3: a request contains each pair at most once, with the action that decides the pair in some window."""
        size = max(1, len(changes)) if self.is_piped else self.plan.window_rows
        wishes = defaultdict(set)  # piped changes may be divided into windows anywhere
        for start in range(0, len(changes), size):
            part = changes[start : start + size]
            final = (
                part
                if self.is_piped
                else [(op, *pair) for pair, op in {(u, g): op for op, u, g in part if op != "nonsense"}.items()]
            )
            for op, user, group in final:
                wishes[user, group].add(op == "add")
        for (_, method, body), url in zip(self.target.sends, self.target.urls, strict=True):
            if method == "PATCH" or b"form-data" in body:
                seen = set()
                for wish in _wishes(body, self.plan.kind, url):
                    for pair in ((user, group) for user in wish.users for group in wish.groups):
                        if pair in seen or wish.is_add not in wishes[pair]:
                            raise LawBrokenError(f"{pair} twice in a request, or as nobody wished: {wish}")
                        seen.add(pair)

    def _check_pace(self) -> None:
        """Law 5: no time window has more sends than the rate allows, and none is in a wait asked for by the target."""
        sends = np.array([at for at, _, _ in self.target.sends])
        rate = self.settings.rate.requests
        if rate != "none" and self.plan.shares_pace:
            count, unit = (20, 1.0) if rate == "20/s" else (100, 60.0)
            if (np.diff(sends) < 0).any():
                raise LawBrokenError("sends go back in time")
            over = sends[count:] - sends[:-count] if len(sends) > count else np.array([np.inf])
            if (over < unit).any():
                raise LawBrokenError(f"more than {rate}: {over.min()} s")
        for start, end in self.target.quiet if self.plan.shares_pace else ():
            if ((sends > start) & (sends < end - 1e-6)).any():
                raise LawBrokenError(f"a send between {start} and {end}, where the target wanted quiet")


def _wishes(body: bytes, kind: str, url: str) -> list[Any]:
    if kind == "scim":
        return scim.read_patch(Arrival("PATCH", "/" + url.split("/", 3)[3], {}, body), ScimTraits())
    if kind == "minapp":
        wishes = minapp.read_ops(body)
        return wishes if isinstance(wishes, list) else []
    boundary = body.split(b"\r\n", 1)[0][2:].decode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return scrutinizer.read_wishes(scrutinizer.read_form(Arrival("POST", scrutinizer.PATH, headers, body)))


async def _drip(changes: list[Change], rng: random.Random) -> AsyncIterator[Change]:
    for change in changes:
        if rng.random() < 0.1:
            await anyio.sleep(rng.choice([0.0, 0.05, 1.0]))
        yield change


async def _stop_later(shutdown: Shutdown, seconds: float, cause: Cause) -> None:
    await anyio.sleep(seconds)
    shutdown.stop(cause, "a signal")


def run_seed(seed: int, *, verbose: bool = False) -> None:
    """Simulate one seed; raises `LawBrokenError` if a law does not hold."""
    with fast_folder() as folder:
        life = Life(seed, Path(folder), verbose)
        if verbose:
            print(life.plan)
        life.check(life.play())
