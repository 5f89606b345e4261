"""Whole runs in virtual time: the real engine, the simulator behind an in-memory transport, ledger writes inline."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson

from batcher.core.clock import Clock
from batcher.core.errors import NotSentError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.core.keys import Word
from batcher.core.model import Action
from batcher.core.report import Report
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import apply
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.engine.run.observers import Observer
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.settings import Settings
from batcher.simulator.behaviour import Behaviour, Stage
from batcher.simulator.in_memory import InMemory
from batcher.simulator.virtual_time import run_virtual
from batcher.simulator.world import World
from batcher.source.windows import WINDOW_ROWS

EPOCH = 1_800_000_000.0
"""UTC seconds at which virtual time starts."""
Change = tuple[str, int | str, int | str]


class SimulatedLine:
    """A line to a simulated target; a task plays the network's part. `is_up` tells whether the target is there."""

    def __init__(self, exchange: Callable[[Request, Any], Awaitable[Response]], is_up: Callable[[], bool]) -> None:
        self._exchange, self._is_up = exchange, is_up
        self._task: asyncio.Task[None] | None = None
        self._is_whole = True

    @property
    def is_open(self) -> bool:
        return self._is_whole and self._task is None and self._is_up()

    def send(self, request: Request, done: Callable[[Any], None]) -> None:
        assert self.is_open
        self._task = asyncio.get_running_loop().create_task(self._carry(request, done))

    def close(self) -> None:
        self._is_whole = False
        if self._task is not None:
            self._task.cancel()

    async def _carry(self, request: Request, done: Callable[[Any], None]) -> None:
        outcome: Any
        try:
            outcome = await self._exchange(request, _at_once)
        except asyncio.CancelledError:
            return
        except NotSentError as error:
            self._is_whole, outcome = False, ReplyLostError(str(error))
        except BaseException as error:  # noqa: BLE001 — also that the process is killed
            self._is_whole, outcome = False, error
        self._task = None
        done(outcome)


async def _at_once() -> None:
    """The turn of a request was waited for before it was handed to its line."""


@dataclass
class Target:
    """The simulated target and what reached it."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    timeout: float = 60.0
    refuse_connections: Callable[[float], bool] = lambda _: False
    sends: list[tuple[float, str, bytes]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    """The address of each."""
    in_flight: int = 0
    highest_in_flight: int = 0
    answer: Callable[[int, Request], Response | None] = lambda *_: None
    """Called with the number of the request; returns a reply to use instead of the simulator's, or None."""

    stages: Sequence[Stage] = ()
    offers_lines: bool = True
    """Whether requests can take the fast lane."""
    on_lines: int = 0
    """How many did."""

    def __post_init__(self) -> None:
        self.world = World(self.behaviour, stages=self.stages, utc_offset=EPOCH)

    async def line(self, _: str) -> SimulatedLine | None:
        await anyio.lowlevel.checkpoint()
        if not self.is_up():
            raise NotSentError("connection refused")
        return SimulatedLine(self._on_line, self.is_up) if self.offers_lines else None

    async def _on_line(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        self.on_lines += 1
        return await self.exchange(request, turn)

    def is_up(self) -> bool:
        now = anyio.current_time()
        return not (self.refuse_connections(now) or self.world.is_away(now))

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        await anyio.lowlevel.checkpoint()
        if not self.is_up():
            raise NotSentError("connection refused")
        await turn()
        now = anyio.current_time()
        self.sends.append((now, request.method, request.body))
        self.urls.append(request.url)
        self.in_flight += 1
        self.highest_in_flight = max(self.highest_in_flight, self.in_flight)
        try:
            return await self._reply(request)
        finally:
            self.in_flight -= 1

    async def _reply(self, request: Request) -> Response:
        instead = self.answer(len(self.sends), request)
        if instead is not None:
            await anyio.lowlevel.checkpoint()
            return instead
        return await InMemory(self.world, self.timeout).reply(request)

    def members(self) -> set[tuple[int | str, int | str]]:
        return {(user, group) for group, users in self.world.membership.groups.items() for user in users}


async def inline(work: Callable[[], Any]) -> Any:
    return work()


def slow(seconds: float) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """An executor that takes time like a thread; other tasks run before and after the work."""

    async def run(work: Callable[[], Any]) -> Any:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)
            return work()

    return run


def runtime(target: Target, state: Path | None = None, work_seconds: float = 0.0) -> Runtime:
    clock = Clock(anyio.current_time, lambda: EPOCH + anyio.current_time())
    rng = random.Random(7)

    @asynccontextmanager
    async def transport(settings: Settings) -> AsyncIterator[Target]:
        yield target

    executor = slow(work_seconds) if work_seconds else inline
    return Runtime(clock, rng.random, executor, transport, state)


def settings_for(kind: str, **overrides: Any) -> Settings:
    """The settings with these values; `rate_requests="5/s"` stands for `rate.requests`."""
    base = {"target.kind": kind, "target.url": "http://127.0.0.1:1", "rate.requests": "none"}
    return Settings.load(None, base | {key.replace("_", ".", 1): value for key, value in overrides.items()})


def fast_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, in memory if possible, where fsync costs nothing."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108 — as above


def write_changes(path: Path, changes: Iterable[Change]) -> Path:
    """Write changes as JSON Lines; an integer is an id, a text is a name, or an id that is a text."""
    entries = ({"op": op, _key("user", user): user, _key("group", group): group} for op, user, group in changes)
    path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in entries))
    return path


def _key(part: str, value: int | str) -> str:
    return f"{part}_name" if isinstance(value, Word) else part


def context_of(player: Any, world: Runtime, shutdown: Shutdown, observer: Observer, window_rows: int) -> RunContext:
    """The context of a run with these settings, credentials and ledger."""
    return RunContext(
        player.settings, player.credentials, player.ledger, world, shutdown, observer, window_rows=window_rows
    )


@dataclass
class Play:
    """The circumstances under which a run is simulated."""

    folder: Path
    target: Target
    settings: Settings
    credentials: Credentials = field(default_factory=lambda: Credentials(token="a-token"))
    state: Path | None = None
    window_rows: int = WINDOW_ROWS
    observer: Observer = field(default_factory=Observer)
    stop_at: float | None = None
    stop: Callable[[Shutdown], None] = lambda _: None
    work_seconds: float = 0.0
    """How long each piece of blocking work takes: reading, packing, committing."""
    seconds: float = 0.0
    """The virtual time at which the last job ended and the next one starts."""

    @property
    def ledger(self) -> Path:
        return self.folder / "run.ledger"

    def apply(self, changes: Sequence[Change]) -> Report:
        """Apply the changes from files of at most `window_rows` each, which become windows of that size."""
        starts = range(0, max(1, len(changes)), self.window_rows)
        parts = {f"changes{start or ''}.jsonl": changes[start : start + self.window_rows] for start in starts}
        return self.apply_files(*[write_changes(self.folder / name, part) for name, part in parts.items()])

    def apply_files(self, *paths: Any) -> Report:
        return self._run(
            lambda world, shutdown: apply(
                list(paths),
                context_of(self, world, shutdown, self.observer or Observer(), self.window_rows),
            )
        )

    def resume(self, **options: Any) -> Report:
        return self._go_on(resume, options)

    def retry(self, **options: Any) -> Report:
        return self._go_on(retry, options)

    def _go_on(self, job: Callable[[RunContext, Anew], Awaitable[Report]], options: dict[str, Any]) -> Report:
        return self._run(
            lambda world, shutdown: job(
                context_of(self, world, shutdown, Observer(), self.window_rows), Anew(**options)
            )
        )

    def _run(self, job: Callable[[Runtime, Shutdown], Awaitable[Report]]) -> Report:
        async def main() -> Report:
            shutdown = Shutdown()
            if self.stop_at is None:
                report = await job(runtime(self.target, self.state, self.work_seconds), shutdown)
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._stop_later, shutdown)
                    report = await job(runtime(self.target, self.state, self.work_seconds), shutdown)
                    group.cancel_scope.cancel()
            self.seconds = anyio.current_time()
            return report

        return run_virtual(main, self.seconds)

    async def _stop_later(self, shutdown: Shutdown) -> None:
        await anyio.sleep(self.stop_at)
        self.stop(shutdown)

    def statuses(self) -> list[tuple[int, str]]:
        """The line and the status of every row, in input order."""
        with LedgerReader(self.ledger) as reader:
            return [
                (int(line), Status(int(status)).label)
                for state in reader.windows()
                for line, status in zip(state.window.columns.line, state.status, strict=True)
            ]


def final_state(changes: Iterable[Change], refused: Callable[[int | str, int | str], bool] = lambda *_: False) -> set:
    """The sequential model: the last change of each pair decides; what the target refuses has no effect."""
    wishes = {(user, group): op for op, user, group in changes}
    return {pair for pair, op in wishes.items() if op == Action.ADD.label and not refused(*pair)}
