"""Admits windows: they are read and coalesced ahead of time, opened in the ledger, and packed for the schedule."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import anyio
import numpy as np
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from batcher.core.batch import Batch, Settlement
from batcher.core.errors import InputError, LedgerError
from batcher.core.key_kinds import KeyKinds, mixed
from batcher.core.lookups import LookupFailed
from batcher.core.ordering import OrderBy
from batcher.core.reading import ReadingFailed
from batcher.core.status import FAILURES, Status, count_of
from batcher.core.vectors import Ints, Mask
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Abandoned
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.dispatch import Dispatch
from batcher.engine.run.intake import Intake, Packing, take_in
from batcher.engine.run.parts import Parts
from batcher.engine.run.signal import Signal
from batcher.engine.run.skipping import Skipper
from batcher.engine.run.window_reader import WorkItem

_log = logging.getLogger(__name__)
_MOST_OPEN = 2


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What must be settled before the rest: the first window (`canary`), each source before the next (`in_turn`)."""

    canary: int = 0
    """So many changes are sent first, and the run stops unless all of them are applied; 0 for none."""
    in_turn: bool = False
    proven: int = 0
    """So many changes are sent first, and the run stops if the target does not have what it answered; 0 for none."""

    @property
    def first(self) -> int:
        """How many changes are sent before all others; 0 if they need not be."""
        return self.canary or self.proven


FirstLook = Callable[[], Awaitable[str]]
"""Looks at the target once the first changes are settled; tells what is not as it has answered, if anything."""


class Admission:
    """Admits windows to a run. `all_read` tells whether all of them were admitted."""

    def __init__(
        self,
        parts: Parts,
        works: AsyncIterator[WorkItem],
        dispatch: Dispatch,
        rules: AdmissionRules,
        opened: Callable[[OpenWindow], None],
        changed: Signal,
        look: FirstLook,
    ) -> None:
        """`opened` is called with each admitted window; `changed` is woken whenever another one may be admitted."""
        self._look = look
        session = parts.session
        self.all_read = False
        self.input_error: InputError | None = None
        self._works = works
        self._dispatch = dispatch
        self._committer = parts.committer
        self._shutdown = session.shutdown
        self._executor = session.runtime.executor
        self._resolver = parts.resolver
        self._skipper = parts.skipper
        self._in_doubt, self._clock = session.in_doubt, session.runtime.clock
        self._packing = Packing(session.limits, session.target.wire, session.order_by, parts.next_id)
        self._rules = rules
        self._opened = opened
        self._changed = changed
        self._awaits_first = rules.first > 0
        self._is_waiting = False
        self._key_kinds = KeyKinds()
        self._at_work = 0
        self._producing = anyio.CancelScope()
        self._group: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Admission {len(self._committer.open)} of {_MOST_OPEN} open, {self._at_work} on their way in>"

    @property
    def is_at_work(self) -> bool:
        """Whether more batches are being prepared."""
        return self._at_work > 0

    @property
    def is_full(self) -> bool:
        """Whether no window can be admitted until one is closed or something is sent."""
        is_crowded = self._dispatch.in_order and len(self._committer.open) >= _MOST_OPEN
        return self._is_waiting or is_crowded or self._dispatch.is_full

    async def run(self, group: TaskGroup) -> None:
        """Admit every window; changes that wait for an earlier window are packed by tasks in `group`."""
        self._group = group
        with self._producing:
            sender, receiver = anyio.create_memory_object_stream[Intake](0)
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._read_ahead, sender)
                await self._admit_all(receiver)
            if self.input_error is None:
                self.all_read = True
            else:
                self._shutdown.stop(Cause.INPUT, str(self.input_error))
            self._dispatch.complete()
        self._changed.wake()

    def end(self) -> None:
        """Stop reading and admitting."""
        self._producing.cancel()

    def closed(self) -> None:
        """A window was settled completely: what waited for it can be sent."""
        for waiting in self._committer.open.values():
            self._release(waiting)

    async def _read_ahead(self, sender: MemoryObjectSendStream[Intake]) -> None:
        """Read and coalesce the next window while the previous one is packed."""
        async with sender, aclosing(self._works) as works:  # type: ignore[type-var]  # an async generator
            try:
                async for work in works:
                    if self._resolver is not None:
                        work = await self._resolver.resolve(work)  # noqa: PLW2901 — the same, with ids
                        self._packing = self._packing.within(self._resolver.bounds)
                    if self._skipper is not None:
                        work = replace(work, unchanged=await self._unchanged(self._skipper, work))  # noqa: PLW2901 — as above
                    order_by = self._packing.order_by if self._dispatch.in_order else None
                    await sender.send(await self._executor(partial(take_in, work, order_by)))
            except InputError as error:
                self.input_error = error
            except LedgerError as error:
                self._give_up(error)
            except (LookupFailed, ReadingFailed) as failure:
                self._shutdown.stop(failure.stop.cause, failure.stop.reason)
                self.end()
            except Abandoned:  # the run ends already
                self.end()

    async def _unchanged(self, skipper: Skipper, work: WorkItem) -> Mask:
        # What was lost may still arrive, and change what is read now.
        seconds = self._in_doubt.quiet_at - self._clock.now()
        if seconds > 0:
            await self._shutdown.pause(seconds)
        if work.status is None:
            return await skipper.unchanged(work.window.columns)
        return await skipper.unchanged(work.window.columns, work.status == Status.UNKNOWN)

    async def _admit_all(self, receiver: MemoryObjectReceiveStream[Intake]) -> None:
        async with receiver:
            async for intake in receiver:
                if self._must_wait(intake):
                    self._dispatch.filled()
                    self._changed.wake()
                while self._must_wait(intake):
                    await self._changed.wait()
                if self._awaits_first and intake.window.window.id and not await self._first_are_good():
                    return
                try:
                    await self._admit(intake)
                except LedgerError as error:
                    self._give_up(error)

    def _must_wait(self, intake: Intake) -> bool:
        """Whether this window must wait, for a place or until earlier windows are settled."""
        before = self._committer.open.values()
        source = intake.window.window.columns.source[0]
        self._is_waiting = (self._awaits_first and len(before) > 0) or (
            self._rules.in_turn and any(window.window.columns.source[0] != source for window in before)
        )
        return self.is_full

    async def _first_are_good(self) -> bool:
        """Whether the first changes were applied, as far as the rules ask for that; if not, stop the run."""
        self._awaits_first = False
        bad = count_of(self._committer.tally, FAILURES) if self._rules.canary else 0
        if not bad and self._rules.proven:
            wrong = await self._look()
            if wrong:
                self._shutdown.stop(Cause.UNPROVEN, wrong)
                self.end()
            return not wrong
        if bad:
            told = f"{bad} of the first {self._rules.canary} changes were not applied, and the others were not sent"
            self._shutdown.stop(Cause.CANARY, told)
            self.end()
        return not bad

    def _give_up(self, error: LedgerError) -> None:
        """Stop at once, or windows that were not admitted might count as read."""
        self._shutdown.stop(Cause.LEDGER, str(error))
        self.end()

    async def _admit(self, intake: Intake) -> None:
        window = intake.window
        self._at_work += 1
        try:
            with anyio.CancelScope(shield=True):
                batches = await self._open_and_pack(intake)
            self._opened(window)
            for part in self._key_kinds.look_at(window.window.columns):
                if self._packing.order_by is not OrderBy.INPUT:
                    _log.warning("%s", mixed(part))
            self._dispatch.add(batches)
            self._release(window)
        finally:
            self._at_work -= 1
        self._changed.wake()

    async def _open_and_pack(self, intake: Intake) -> list[Batch]:
        """Write the window to disk while its batches are packed; nothing can be sent before both are done."""
        window, batches, errors = intake.window, list[Batch](), list[LedgerError]()
        before = [other.ordering_keys for other in self._committer.open.values()] if self._dispatch.in_order else []

        def pack() -> None:
            batches.extend(self._packing.batches(window, intake.hold_back(before)))

        async with anyio.create_task_group() as both:
            both.start_soon(self._executor, pack)
            try:
                await self._committer.open_window(window, is_new=intake.is_new)
            except LedgerError as error:  # a task group would wrap it
                errors.append(error)
        if errors:
            raise errors[0]
        if len(intake.unchanged):
            status = np.full(len(intake.unchanged), Status.UNCHANGED, np.int8)
            now = self._committer.now()
            await self._committer.settle(Settlement(window.window.id, 0, intake.unchanged, status, {}, now, ()))
        return batches

    def _release(self, window: OpenWindow) -> None:
        """Send what waited for earlier windows once there are none left."""
        is_first = all(other >= window.window.id for other in self._committer.open)
        if (
            is_first and len(window.held_back) and not self._shutdown.is_set
        ):  # otherwise the workers may have ended already
            rows, window.held_back = window.held_back, window.held_back[:0]
            self._at_work += 1
            cast("TaskGroup", self._group).start_soon(self._pack_released, window, rows)

    async def _pack_released(self, window: OpenWindow, rows: Ints) -> None:
        try:
            self._dispatch.add(await self._executor(lambda: self._packing.batches(window, rows)))
        finally:
            self._at_work -= 1
        self._changed.wake()
