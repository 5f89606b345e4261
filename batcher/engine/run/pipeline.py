"""A run's task group: windows come in (`admission`), batches go out (`pool`), settlements are written (`committer`)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio.abc import TaskGroup

from batcher.core.batch import Settlement
from batcher.core.errors import LedgerError
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.engine.run.admission import Admission, AdmissionRules
from batcher.engine.run.budget import BudgetWatch, budget_of
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.dispatch import Dispatch, ImmediateDispatch
from batcher.engine.run.observers import Observer, RunningParts
from batcher.engine.run.parts import Parts, parts_of
from batcher.engine.run.pool import DeliveryPool
from batcher.engine.run.session import Session
from batcher.engine.run.signal import Signal
from batcher.engine.run.watchdog import STALLED_SECONDS, Watchdog
from batcher.engine.run.window_reader import WorkItem
from batcher.ledger.sessions import Figures

_log = logging.getLogger(__name__)
_DRAIN_SECONDS = 10.0
"""How long requests in flight may still be answered after a stop."""
_FLUSH_SECONDS = 10.0
"""How long settlements may take to be written after the workers have ended."""


async def _see_nothing(_: Parts) -> str:
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Invocation:
    """The options of one invocation, and its observer."""

    kind: str
    """The kind of its session in the ledger."""
    credentials: Credentials
    observer: Observer = field(default_factory=Observer)
    rules: AdmissionRules = field(default_factory=AdmissionRules)
    dispatch: Callable[[Parts], Dispatch] = ImmediateDispatch
    look: Callable[[Parts], Awaitable[str]] = _see_nothing
    """See `FirstLook`."""


class Run:
    """One invocation in progress."""

    def __init__(self, parts: Parts, works: AsyncIterator[WorkItem], invocation: Invocation) -> None:
        session, self._observer = parts.session, invocation.observer
        self._parts = parts
        self._shutdown = session.shutdown
        clock, pacer = session.runtime.clock, parts.gate.pacer
        self._watch = BudgetWatch(budget_of(session.settings), parts.evidence.health, pacer, clock, self._shutdown)
        patience = STALLED_SECONDS + session.settings.target.timeout_seconds
        self._watchdog = Watchdog(self._pulse, self._waits, patience, self._shutdown)
        self._changed = Signal()
        self._dispatch = invocation.dispatch(parts)
        opened, look = self._observer.opened, partial(invocation.look, parts)
        self.admission = Admission(parts, works, self._dispatch, invocation.rules, opened, self._changed, look)
        self._pool = DeliveryPool(parts, self._dispatch, self.admission, self._observer, self._changed)
        self._flushing = anyio.CancelScope(shield=True)
        self._working: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Run {self._pool!r} {self._parts.committer!r} {self._shutdown!r}>"

    @property
    def all_read(self) -> bool:
        """Whether every window was admitted."""
        return self.admission.all_read

    @property
    def is_sending(self) -> bool:
        """Whether anything that was read is still to be sent."""
        return not self._parts.schedule.is_idle or self.admission.is_at_work

    @property
    def held_until(self) -> float | None:
        """See `DeliveryPool`."""
        return self._pool.held_until

    @property
    def tally(self) -> Mapping[Status, int]:
        """How many changes in the ledger have which status, on disk."""
        return self._parts.committer.tally

    def figures(self) -> Figures:
        """Counts and times of this invocation so far."""
        return self._parts.figures()

    async def run(self) -> None:
        """Work until everything is settled or the run is stopped; by then, what was sent and answered is on disk."""
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch.run)
            watching.start_soon(self._watchdog.run)
            watching.start_soon(self._end_when_stopped)
            watching.start_soon(self._dispatch.look_on)
            async with anyio.create_task_group() as writing:
                writing.start_soon(self._write)
                try:
                    async with anyio.create_task_group() as self._working:
                        self._working.start_soon(self.admission.run, self._working)
                        self._pool.start(self._working)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._finish()
            watching.cancel_scope.cancel()

    async def _finish(self) -> None:
        """Write what is left. The writer is shielded, so whatever fails here must let it end."""
        try:
            await self._dispatch.finish()
            await self._pool.finish()
        finally:
            self._flushing.deadline = anyio.current_time() + _FLUSH_SECONDS
            await self._parts.committer.close()

    def shown(self) -> RunningParts:
        """What observers see."""
        session, parts = self._parts.session, self._parts
        return RunningParts(
            session.ledger.run,
            session.ledger.path,
            session.target.name,
            session.runtime.clock,
            self._shutdown,
            parts.gate,
            parts.deliverer,
            parts.committer,
            self,
            self.figures,
        )

    def _settled(self, window: OpenWindow, settlement: Settlement) -> None:
        """A settlement is on disk: update the budget, release what waited for it, and tell the observer."""
        self._watch.settled(settlement.status)
        resolver = self._parts.resolver
        if resolver is not None and len(failed := settlement.rows[settlement.status == Status.FAILED]):
            resolver.doubt(window.window.columns, failed)
        if not window.unsettled:
            self.admission.closed()
        self._changed.wake()
        self._observer.settled(window, settlement)

    async def _write(self) -> None:
        with self._flushing:
            try:
                await self._parts.committer.write(self.figures, self._settled)
            except LedgerError as error:
                self._shutdown.stop(Cause.LEDGER, str(error))

    def _pulse(self) -> str:
        committer = self._parts.committer
        pending = committer.tally[Status.PENDING]
        return f"{self._parts.schedule!r} {committer!r} {pending} pending, {self._parts.deliverer.requests}"

    def _waits(self) -> bool:
        """Whether the run is waiting on purpose: for its turn, an in-doubt request, a back-off, or input."""
        parts = self._parts
        is_idle = parts.schedule.is_idle and parts.committer.is_clear and not self.admission.is_at_work
        is_sending_later = parts.gate.waiting is not None or parts.deliverer.is_backing_off
        return is_idle or is_sending_later or self._pool.is_ahead_of_time

    async def _end_when_stopped(self) -> None:
        await self._shutdown.wait()
        self.admission.end()
        self._changed.wake()
        await anyio.sleep(_DRAIN_SECONDS)
        if self._working is not None:
            self._working.cancel_scope.cancel()


async def work(session: Session, works: AsyncIterator[WorkItem], invocation: Invocation) -> Run:
    """Run until everything is settled or the run is stopped; by then the session is recorded in the ledger."""
    observer = invocation.observer
    async with parts_of(session, invocation.kind, invocation.credentials, observer.exchanged) as parts:
        run = Run(parts, works, invocation)
        observer.started(run.shown())
        await run.run()
    return run
