"""What follows from one attempt: for history, health, limit in flight, in-doubt requests, counters and observers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batcher.core.batch import Attempt, Batch
from batcher.core.durations import Durations
from batcher.core.evidence import Evidence
from batcher.core.http import Response
from batcher.core.report import Requests
from batcher.core.schedule import keys_of
from batcher.core.verdict import Retry, Settled, Split, Verdict
from batcher.delivery.delivery import Delivery, Exchange
from batcher.delivery.request_gate import RequestGate

RENEWED = "the token was renewed"
"""The reason of a `Retry` that says nothing about the target."""
NO_CONNECTION, NO_REPLY, REFUSED_INSIDE = "no connection", "no reply", "refused inside a 200"
"""The error of an exchange whose status does not show that it failed."""
_REFUSED = 400


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One attempt to deliver a batch."""

    started: float
    """When the request left, or when the attempt began if none did (monotonic seconds)."""
    has_left: bool
    is_probe: bool
    """Whether it was the only request at the time, made to see whether the target is back."""
    size: int
    """Bytes of the request's body."""
    error: str
    """What happened instead of a reply; empty if there was one."""
    response: Response | None


class Attempts:
    """Counts attempts and notifies the other parts; shared by all workers."""

    def __init__(
        self, gate: RequestGate, evidence: Evidence, exchanged: Callable[[Batch, Exchange], None] | None
    ) -> None:
        self.requests = Requests()
        self.took = Durations()
        """Times from departure to reply."""
        self._gate = gate
        self._clock = gate.clock
        self._evidence = evidence
        self._health = evidence.health
        self.exchanged = exchanged
        """Called with each exchange, if anybody wants that."""

    def __repr__(self) -> str:
        return f"<Attempts {self.requests}>"

    def note(self, delivery: Delivery, verdict: Verdict, made: AttemptMade) -> None:
        """An attempt has ended with this verdict."""
        now, response = self._clock.now(), made.response
        took = now - made.started
        if self.exchanged is not None and (made.has_left or made.error):
            self.exchanged(delivery.batch, _exchange(made, verdict, now))
        if made.has_left:
            if response is not None:
                self.took.add(took)
            self._remember(delivery, verdict, response, now)
        if isinstance(verdict, Retry):
            self._failed(delivery, verdict, made, now)
        elif isinstance(verdict, Settled | Split):
            if self._health.is_down:
                self._gate.limit.start_again()
            self._health.succeeded()
            if made.has_left:
                self._gate.succeeded(took, len(delivery.batch), self._gate.in_flight + 1)
            self.requests.ok += isinstance(verdict, Settled)

    def _remember(self, delivery: Delivery, verdict: Verdict, response: Response | None, now: float) -> None:
        """Add the attempt to the history and, if its reply was lost, to the in-doubt requests."""
        batch, lost = delivery.batch, isinstance(verdict, Retry) and verdict.lost
        reason = "" if isinstance(verdict, Settled) else verdict.reason
        status = response.status if response else None
        utc, boot = self._clock.utc(), self._clock.shared()
        delivery.remember(Attempt(utc, batch.id, len(batch), status, reason, lost, boot=boot))
        if lost:
            keys = keys_of(batch, self._evidence.order_by)
            self._evidence.in_doubt.lost(batch.window, keys, batch.pairs()[0], now)

    def _failed(self, delivery: Delivery, verdict: Retry, made: AttemptMade, now: float) -> None:
        self._gate.heed(verdict)
        delivery.counted += verdict.counted
        self.requests.retried += 1
        if verdict.reason != RENEWED:
            self._health.tries(now)
            was_down = self._health.is_down
            is_probe = made.is_probe and verdict.counted
            self._health.failed(verdict.reason, made.started, now, is_probe=is_probe)
            if self._health.is_down and not was_down:
                said = "the target accepts no requests: %s; one worker probes it, the others wait"
                self._gate.log_once.say(said, verdict.reason)
        if made.has_left and (verdict.back_pressure or made.response is None):
            self._gate.pushed_back(now - made.started)


def _exchange(made: AttemptMade, verdict: Verdict, now: float) -> Exchange:
    departed, response = made.started if made.has_left else None, made.response
    if response is None:
        return Exchange(departed, now, None, made.error, made.size, 0)
    ended = now if response.received_at is None else response.received_at
    error = "" if response.status >= _REFUSED or isinstance(verdict, Settled) else REFUSED_INSIDE
    return Exchange(departed, ended, response.status, error, made.size, len(response.body))
