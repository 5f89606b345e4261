"""Simulated processes of one machine: killed at any event, held up by their disks, their files moved away."""

from __future__ import annotations

import math
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from harness import SimulatedLine, Target

from batcher.core.batch import Batch, Settlement
from batcher.core.clock import Stamp
from batcher.core.errors import BatcherError, NotSentError, UntrustedError
from batcher.core.http import Request, Response
from batcher.core.verdict import Cause, Settled, Verdict
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.committer import OpenWindow
from batcher.host.run_registry import RunRegistry
from batcher.ledger.reader import LedgerReader
from batcher.source.spool import Spool
from batcher.targets.minapp import MinApp
from batcher.targets.scrutinizer import Scrutinizer


class Killed(BaseException):
    """The process was killed; whatever still runs while this is raised does not count."""


class LawBrokenError(AssertionError):
    """A law that does not hold for this seed."""


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process in which the running task works."""


@dataclass(eq=False)
class Process:
    """One command of a person; it may be killed at its `fatal`th event, and its disk may hang at any, or be full."""

    rng: random.Random
    folder: Path
    fatal: int
    hangs: float
    """How likely it is at each event that the disk hangs."""
    room: int = 1 << 40
    """How many bytes of a copied input the disk still takes."""
    stopped: tuple[float, float] = (math.inf, math.inf)
    """From when until when it is suspended (seconds): it neither sends, nor reads or writes, nor takes note of replies."""
    is_sloppy: bool = False
    """Whether the target's plug-in reports on fewer changes than it was asked about."""
    snapshot: Path | None = None
    told: dict[tuple[int, int], int] = field(default_factory=dict)
    told_then: int | None = None
    """How much had been reported when the ledger was moved away."""

    def event(self) -> None:
        """A moment at which the process may be killed; if so, the person's files are kept as they are then."""
        if self.snapshot is not None:
            raise Killed  # it was killed already: what is shielded from cancellation must not continue either
        self.fatal -= 1
        if self.fatal == 0:
            self.snapshot = self.folder.with_name(self.folder.name + ".snapshot")
            shutil.copytree(self.folder, self.snapshot)
            raise Killed

    async def go_on(self) -> None:
        """Return when it is not suspended."""
        if self.is_suspended():
            with anyio.CancelScope(shield=True):
                await anyio.sleep_until(self.stopped[1])

    def is_suspended(self) -> bool:
        """Whether nothing of it happens now."""
        since, until = self.stopped
        return since <= anyio.current_time() < until

    async def executor(self, work: Callable[[], Any]) -> Any:
        """See `Executor`."""
        await self.go_on()
        self.event()
        if self.rng.random() < self.hangs:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.rng.choice([0.1, 20.0, 200.0]))
        result = work()
        await self.go_on()
        self.event()
        return result

    async def carry_out(
        self, job: Callable[[], Awaitable[Any]], *around: Callable[[], Awaitable[None]]
    ) -> tuple[Any, BatcherError | None]:
        """Carry out a command, while something goes on around it; afterwards the files are as the process left them.

        Returns its result, or the error by which it was refused; neither if it was killed.
        """
        result, mark = None, PROCESS.set(self)
        try:
            async with anyio.create_task_group() as group:
                for goes_on in around:
                    group.start_soon(goes_on)
                result = await job()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failed:
            if failed.subgroup(Killed) is not None:
                return None, None
            refusals, others = failed.split(BatcherError)
            if others is not None or refusals is None:
                raise
            (refusal,) = refusals.exceptions
            return None, refusal
        finally:
            PROCESS.reset(mark)
            if self.snapshot is not None:
                shutil.rmtree(self.folder)
                self.snapshot.rename(self.folder)
        return result, None

    def check_told(self, ledger: Path) -> None:
        """Law 4: what was reported is on disk, even after a kill; nothing is reported that no file would show.

        Raises:
            LawBrokenError: When that is not so.

        """
        if self.told_then is not None and len(self.told) > self.told_then:
            raise LawBrokenError(f"{ledger.name} was moved away, and still outcomes were reported")
        if not self.told:
            return
        with LedgerReader(ledger) as reader:
            held = {state.window.id: state.status for state in reader.windows()}
        for (window, row), status in self.told.items():
            if held[window][row] != status:
                raise LawBrokenError(f"window {window}, row {row}: {status} was reported, {held[window][row]} is held")

    def note(self, window: OpenWindow, settlement: Settlement) -> None:
        """What is reported now must be in the ledger from now on."""
        if self.snapshot is None:
            for row, status in zip(settlement.rows.tolist(), settlement.status.tolist(), strict=True):
                self.told[window.window.id, row] = status


def is_to_repeat(refusal: BatcherError | None) -> bool:
    """Whether it says that the run had not begun, and its command is to be given again."""
    return "run its command again with another --ledger" in str(refusal)


@dataclass(eq=False)
class Watched:
    """The way to the target from one process."""

    target: Target
    process: Process
    trusts: Callable[[], bool] = lambda: True
    """Whether the process trusts the certificate that the target has now."""

    async def line(self, _: str) -> SimulatedLine | None:
        """See `OffersLines`."""
        await self._begin()
        if not self.target.is_up():
            raise NotSentError("connection refused")
        return SimulatedLine(self.exchange, self._is_up) if self.target.offers_lines else None

    def _is_up(self) -> bool:
        return self.target.is_up() and not self.process.is_suspended()

    async def _begin(self) -> None:
        await self.process.go_on()
        self.process.event()
        if not self.trusts():
            await anyio.lowlevel.checkpoint()
            raise UntrustedError("certificate verify failed")

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        await self._begin()
        response = await self.target.exchange(request, turn)
        await self.process.go_on()
        self.process.event()
        return response


async def stop_later(shutdown: Shutdown, seconds: float) -> None:
    await anyio.sleep(seconds)
    shutdown.stop(Cause.INTERRUPT, "a signal")


async def move_away(process: Process, ledger: Path, seconds: float) -> None:
    """Somebody tidies up while the run works."""
    await anyio.sleep(seconds)
    if ledger.exists() and process.snapshot is None:
        process.told_then = len(process.told)
        ledger.rename(ledger.with_name(ledger.name + ".moved"))


def bring_back(ledger: Path) -> None:
    moved = ledger.with_name(ledger.name + ".moved")
    if moved.exists():
        moved.rename(ledger)


@contextmanager
def dead_processes_do_not_write() -> Iterator[None]:
    """A killed process tells nobody that it has ended."""
    ended = RunRegistry.ended

    def of_the_living(self: RunRegistry, run: str, at: Stamp) -> None:
        process = PROCESS.get()
        if process is None or process.snapshot is None:
            ended(self, run, at)

    RunRegistry.ended = of_the_living
    try:
        yield
    finally:
        RunRegistry.ended = ended


class _Disk:
    """The file in which a stream is copied; a write may take less than it is given, as write(2) does on a full disk."""

    def __init__(self, file: Any, process: Process) -> None:
        self._file, self._process = file, process

    def write(self, data: bytes) -> int:
        """Write as much as there is room for."""
        if not self._process.room:
            raise OSError(28, "No space left on device")
        taken: int = self._file.write(data[: self._process.room])
        self._process.room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def disks_may_be_full() -> Iterator[None]:
    """Copies of streams are on the disk of the process that makes them."""
    begin = Spool.__init__

    def begin_on_its_disk(self: Spool, path: Path) -> None:
        begin(self, path)
        process = PROCESS.get()
        if process is not None:
            self._file = _Disk(self._file, process)

    Spool.__init__ = begin_on_its_disk
    try:
        yield
    finally:
        Spool.__init__ = begin


@contextmanager
def plug_ins_may_be_sloppy() -> Iterator[None]:
    """The plug-ins in sloppy processes leave out the last change."""
    kinds = {kind: kind.interpret for kind in (MinApp, Scrutinizer)}

    def made(interpret: Callable[..., Verdict]) -> Callable[..., Verdict]:
        def sloppy(self: Target, batch: Batch, response: Response, now: float) -> Verdict:
            verdict, process = interpret(self, batch, response, now), PROCESS.get()
            if process is None or not process.is_sloppy or not isinstance(verdict, Settled):
                return verdict
            return replace(verdict, statuses=verdict.statuses[:-1], details={})

        return sloppy

    for kind, interpret in kinds.items():
        kind.interpret = made(interpret)
    try:
        yield
    finally:
        for kind, interpret in kinds.items():
            kind.interpret = interpret


@contextmanager
def nobody_waits_for_readers() -> Iterator[None]:
    """All processes are in one thread: while one waited for a lock, the one that has it could not go on."""
    connect = sqlite3.connect
    sqlite3.connect = partial(connect, timeout=0.0)
    try:
        yield
    finally:
        sqlite3.connect = connect
