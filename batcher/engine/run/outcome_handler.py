"""Decides what the outcome of a batch means for the others: pieces, blame, lessons, and what can be recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from batcher.core.batch import Attempt, Batch, Op, Settlement
from batcher.core.blame import Refusal
from batcher.core.lessons import Lessons
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.delivery.delivery import Delivered
from batcher.delivery.shutdown import Abandoned
from batcher.engine.run.dispatch import Dispatch
from batcher.engine.run.parts import Parts

_log = logging.getLogger(__name__)


class OutcomeHandler:
    """Passes each outcome on to the schedule, the blame, the lessons and the ledger."""

    def __init__(self, parts: Parts, dispatch: Dispatch) -> None:
        self._committer = parts.committer
        self._schedule = parts.schedule
        self._dispatch = dispatch
        self._blame = parts.evidence.blame
        self._shutdown = parts.session.shutdown
        self._log_once = parts.gate.log_once
        self._next_id = parts.next_id
        self._lessons = Lessons(parts.session.settings.guard.after_refusals)

    def __repr__(self) -> str:
        return f"<OutcomeHandler {self._blame!r} {self._lessons!r}>"

    def cut(self, batch: Batch) -> bool:
        """Whether, because of what was learned, a batch is not sent as it is, but in parts or not at all."""
        kept, rest, reasons = self._lessons.quarantine.hopeless(batch)
        if rest:
            self._put_back(batch, Delivered(history=batch.history), [kept] if kept else [])
            self._condemn(self._piece(batch, rest, batch.history), reasons)
            return True
        parts = self._lessons.cut(batch)
        if parts:
            self._put_back(batch, Delivered(history=batch.history), parts)
        return bool(parts)

    def _put_back(
        self, batch: Batch, delivered: Delivered, ops_of_pieces: Sequence[tuple[Op, ...]]
    ) -> tuple[list[Batch], bool]:
        """Schedule what is left of a batch again, in pieces; returns these, and whether the batch was the trial."""
        pieces = [self._piece(batch, ops, delivered.history) for ops in ops_of_pieces]
        was_trial = self._schedule.done(batch, pieces)
        self._dispatch.back(batch, delivered, pieces)
        return pieces, was_trial

    def _condemn(self, batch: Batch, reasons: list[str]) -> None:
        """Let changes fail without sending them (`--after-refusals`), as refusals that are recorded like any others."""
        status = np.full(len(batch), Status.FAILED, np.int8)
        at = self._committer.now()
        word = Settlement(batch.window, 0, batch.rows, status, dict(enumerate(reasons)), at, batch.history)
        self._blame.refused(Refusal(batch, word))

    def accepted(self, batch: Batch) -> None:
        """A batch was accepted as a whole, on the fast lane."""
        self._schedule.done(batch)
        self._dispatch.accepted(batch)
        self._learn_acceptance(batch)

    async def take(self, batch: Batch, delivered: Delivered) -> None:
        """A batch was delivered."""
        pieces, was_trial = self._put_back(batch, delivered, delivered.pieces)
        if pieces:
            _log.info("splitting batch %d of %d changes: %s", batch.id, len(batch), delivered.reason)
        self._learn(batch, delivered, pieces)
        if delivered.stop is not None:
            self._shutdown.stop(delivered.stop.cause, delivered.stop.reason)
        booked = self._blame.accepted() if delivered.accepted else []
        for refusal in delivered.refused:
            if self._was_refused_before(refusal):
                booked.append(refusal)
            else:
                self._blame.refused(refusal)
        if was_trial and delivered.was_refused and not pieces and self._blame.trial_refused():
            reason = f"the target refused {self._blame.holds} changes in a row, of different users and groups"
            self._shutdown.stop(Cause.SUSPICION, reason)
        for settlement in delivered.settled:
            await self.settle(settlement)
        await self.book(booked)

    async def book(self, refusals: list[Refusal]) -> None:
        """Record refusals for which the changes are clearly at fault."""
        for refusal in refusals:
            await self.settle(refusal.settlement)

    def _learn(self, batch: Batch, delivered: Delivered, pieces: list[Batch]) -> None:
        if pieces and delivered.was_refused and not delivered.refused:
            self._lessons.sizes.was_split(batch, pieces, is_certain=delivered.was_too_large)
        elif delivered.accepted and not pieces:
            self._learn_acceptance(batch)
        else:
            self._lessons.sizes.was_refused(batch)
            if delivered.refused and delivered.was_refused and len(batch) == 1:
                for who in self._lessons.quarantine.was_refused_alone(batch):
                    said = "%s was refused on its own several times: sending it in requests of its own"
                    self._log_once.say(said, who, subject=who)

    def _learn_acceptance(self, batch: Batch) -> None:
        if self._lessons.was_accepted(batch):
            said = "the target refuses large requests: limiting them to at most %d changes"
            self._log_once.say(said, self._lessons.sizes.most, subject=str(self._lessons.sizes.most))

    def _piece(self, batch: Batch, ops: tuple[Op, ...], history: tuple[Attempt, ...]) -> Batch:
        return Batch(self._next_id(), batch.window, ops, batch.user, batch.group, history)

    def _was_refused_before(self, refusal: Refusal) -> bool:
        """Whether a `retry` sent changes that had failed before: if they fail again, the run is not at fault."""
        word = refusal.settlement
        return self._committer.was_failed(word)

    async def settle(self, settlement: Settlement) -> None:
        """Have a settlement recorded, unless that is not possible any more; then its changes stay pending."""
        try:
            await self._dispatch.book(settlement)
        except Abandoned:
            _log.debug("batch %d was answered but cannot be recorded; its changes stay pending", settlement.batch)
