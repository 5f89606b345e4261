"""From the final verdict on a batch to the outcome of its changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from batcher.core.batch import Attempt, Op, Settlement
from batcher.core.blame import Refusal
from batcher.core.clock import Clock
from batcher.core.health import Health
from batcher.core.report import Requests
from batcher.core.split import halves, select
from batcher.core.status import IN_EFFECT, Status
from batcher.core.verdict import Retry, Settled, Split, Stop, Verdict
from batcher.delivery.delivery import Delivered, Delivery
from batcher.delivery.dialect import Dialect


class Resolution:
    """Settles a batch, splits it, or passes on the reason to stop. Counts the splits in `requests`."""

    def __init__(self, requests: Requests, health: Health, clock: Clock, dialect: Dialect) -> None:
        self._requests = requests
        self._health = health
        self._clock = clock
        self._dialect = dialect

    def of(self, delivery: Delivery, verdict: Verdict) -> Delivered:
        """The outcome of the batch if this was the final verdict."""
        history = delivery.batch.history + tuple(delivery.history)
        match verdict:
            case Settled():
                return self._settled(delivery, verdict, history)
            case Stop():
                return Delivered(stop=verdict)
            case Split(reason):
                if len(delivery.batch) > 1:
                    split = self._split(delivery, history, reason)
                    return replace(split, was_refused=True, was_too_large=verdict.is_size)
                status = Status.UNKNOWN if self._is_repeat(delivery, history) else Status.FAILED
                refusal = Refusal(delivery.batch, self._word(delivery, status, reason, history))
                return Delivered(refused=(refusal,), was_refused=True)
            case Retry(reason):
                if len(delivery.batch) > 1:
                    return self._split(delivery, history, reason)
                word = self._word(delivery, Status.UNKNOWN, reason, history)
                if self._health.accepted == delivery.accepted_before:
                    return Delivered(refused=(Refusal(delivery.batch, word),), was_refused=True)
                return Delivered(settled=(word,))

    def _is_repeat(self, delivery: Delivery, history: tuple[Attempt, ...]) -> bool:
        """Whether a refusal may only mean that an earlier attempt took effect: a lost one, or one in a larger batch."""
        size = len(delivery.batch)
        return not self._dialect.repeats_accepted and any(a.lost or a.changes > size for a in history[:-1])

    def _split(self, delivery: Delivery, history: tuple[Attempt, ...], reason: str) -> Delivered:
        self._requests.split += 1
        return Delivered(pieces=halves(delivery.batch.ops), history=history, reason=reason)

    def _word(self, delivery: Delivery, status: Status, reason: str, history: tuple[Attempt, ...]) -> Settlement:
        batch = delivery.batch
        word = np.full(len(batch), status, np.int8)
        return Settlement(batch.window, batch.id, batch.rows, word, {0: reason}, self._clock.utc(), history)

    def _settled(self, delivery: Delivery, verdict: Settled, history: tuple[Attempt, ...]) -> Delivered:
        """Settle the changes that the target reported on; the others are sent again in halves."""
        batch, statuses, details = delivery.batch, verdict.statuses, verdict.details
        if self._is_repeat(delivery, history):
            statuses = np.where(statuses == Status.FAILED, Status.UNKNOWN, statuses).astype(np.int8)
        counts = np.bincount(statuses, minlength=len(Status))
        accepted = any(counts[kind] for kind in IN_EFFECT)
        if not counts[Status.PENDING] and accepted:
            word = Settlement(batch.window, batch.id, batch.rows, statuses, details, self._clock.utc(), history)
            return Delivered((word,), history=history, accepted=True)
        told = np.flatnonzero(statuses != Status.PENDING)
        kept = {int(np.searchsorted(told, place)): reason for place, reason in details.items()}
        word = Settlement(batch.window, batch.id, batch.rows[told], statuses[told], kept, self._clock.utc(), history)
        pieces: tuple[tuple[Op, ...], ...] = ()
        if len(told) < len(batch):
            self._requests.split += 1
            left = select(batch.ops, statuses == Status.PENDING)
            pieces = halves(left) if sum(map(len, left)) > 1 else (left,)
        if not len(told):
            return Delivered(pieces=pieces, history=history, reason="the reply does not show which change it is about")
        if accepted:
            return Delivered((word,), pieces=pieces, history=history, accepted=True)
        return Delivered(refused=(Refusal(batch, word),), pieces=pieces, history=history, was_refused=True)
