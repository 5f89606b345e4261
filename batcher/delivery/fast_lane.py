"""The fast lane: requests that are answered with plain success cost a handful of calls, and are recorded in bulk.

Most requests of most runs are of this kind. On a `Line`, no task waits for a reply: replies are noted when they come,
and the worker that chooses what is sent next evaluates them together. A request leaves under the same conditions as any
other: its batch is taken from the schedule, it has a place in flight, and it is its turn.

The border is here. The lane is open while nothing speaks against plain success (`is_open`); whatever else happens to a
request that has left on it is a matter for `Deliverer` (`for_couriers`), as that batch's first attempt. What the lane
records is what would have been recorded otherwise: the tests play the same seeds in both ways.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

from batcher.core.batch import Batch
from batcher.core.errors import BatcherError
from batcher.core.evidence import Evidence
from batcher.core.http import Response
from batcher.core.ordering import OrderBy
from batcher.core.rate import Turn
from batcher.core.schedule import Next
from batcher.core.status import Status
from batcher.core.verdict import Settled
from batcher.delivery.accepted_batches import AcceptedBatches
from batcher.delivery.attempts import Attempts
from batcher.delivery.delivery import Exchange, Sent
from batcher.delivery.dialect import Dialect, DialectError
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.token_provider import TokenProvider
from batcher.transport.protocol import Line

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch whose request is on its way on a line."""

    line: Line
    batch: Batch
    changes: int
    departed: float
    size: int
    generation: int
    replied: float = 0.0
    beside: int = 0
    """How many requests were in flight when the reply came."""
    outcome: Response | Exception | None = None


def _exchange(flight: _Flight) -> Exchange:
    response = cast("Response", flight.outcome)
    return Exchange(flight.departed, flight.replied, response.status, "", flight.size, len(response.body))


ForCourier: TypeAlias = tuple[Batch, Sent | None]
"""A batch that a courier is to deliver, and its first attempt if that was made."""


class FastLane:
    """See the module. Used by one worker at a time, the one that chooses what is sent next."""

    def __init__(
        self,
        dialect: Dialect,
        tokens: TokenProvider,
        gate: RequestGate,
        evidence: Evidence,
        attempts: Attempts,
        departs: Callable[[Batch], None],
    ) -> None:
        self.for_couriers: deque[ForCourier] = deque()
        self.is_wanted = evidence.order_by is not OrderBy.INPUT
        """Whether it may be used at all; in the order of the input, one request is in flight at a time."""
        self._dialect = dialect
        self._tokens = tokens
        self._gate = gate
        self._health = evidence.health
        self._blame = evidence.blame
        self._attempts = attempts
        self._departs = departs
        self._lines: set[Line] = set()
        self._idle: list[Line] = []
        self._is_connecting = False
        self._not_connected = 0
        """How many requests had been accepted when no connection could be made; not before the next one again."""
        self._flying = 0
        self._arrived: list[_Flight] = []
        self._to_judge = 0
        """Attempts that somebody else is to judge, and has not yet."""
        self.accepted = AcceptedBatches()
        """What is to be recorded."""
        self._plain: Response | None = None
        """A reply that meant success for all changes of a batch, and would for any other batch."""
        self._held: Batch | None = None
        """A batch that waits for its turn."""
        self._wake: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<FastLane {self._flying} in flight on {len(self._lines)} lines>"

    @property
    def is_open(self) -> bool:
        """Whether anything may leave on it: what the run is doing now works, and no refusal waits to be judged."""
        health = self._health
        return (
            self.is_wanted
            and not health.failures
            and self._blame.accepted_once
            and not self._blame.holds
            and not self._to_judge
            and self._tokens.is_proven
        )

    @property
    def has_lines(self) -> bool:
        """Whether any connection is there."""
        return bool(self._lines)

    @property
    def in_flight(self) -> int:
        """How many requests are on their way, or answered and not yet evaluated."""
        return self._flying

    @property
    def needs_line(self) -> bool:
        """Whether another connection would let another request leave."""
        may = self.is_wanted and not self._is_connecting and self._health.accepted > self._not_connected
        return may and not self._idle and len(self._lines) < self._gate.limit.limit

    async def connect(self, url: str, wake: Callable[[], None]) -> None:
        """Open another connection. `wake` is called whenever there is something to do for the worker that chooses."""
        self._wake = wake
        self._is_connecting = True
        try:
            line = await self._gate.line(url)
        except BatcherError as error:
            _log.debug("no connection for the fast lane: %s", error)
            self._not_connected = self._health.accepted
        else:
            if line is None:
                self.is_wanted = False
            else:
                self._lines.add(line)
                self._idle.append(line)
        finally:
            self._is_connecting = False
            wake()

    def close(self) -> None:
        """Close all connections; requests in flight are not answered any more."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._idle.clear()

    def launch(self, take: Callable[[], Next]) -> Next | Turn | None:
        """Let as many requests leave as may leave now.

        Args:
            take: Returns the next batch, which is then in flight in the schedule.

        Returns:
            Why no more leave now: the schedule has nothing (`Next`), it is not the next one's turn (`Turn`), or there
            is no free connection or place (None).

        """
        while not self.for_couriers:
            line = self._free_line()
            if line is None or not self._gate.enter(line):
                return None
            why = self._launch_on(line, take)
            if why is not None:
                self._gate.leave(line, has_departed=False)
                return why
        return None

    def abandon(self) -> Batch | None:
        """The batch that waits for its turn, if any; it does not leave on the lane any more."""
        batch, self._held = self._held, None
        return batch

    def land(self, accepted: Callable[[Batch], None]) -> None:
        """Evaluate the replies that have come; `accepted` is called with each batch that was accepted plainly."""
        arrived, self._arrived = self._arrived, []
        for flight in arrived:
            self._flying -= 1
            if flight.line.is_open:
                self._idle.append(flight.line)
            else:
                self._drop(flight.line)
            if self._is_plain_success(flight):
                self._note(flight)
                accepted(flight.batch)
            else:
                self._give_up(flight)

    def judged(self) -> None:
        """It is clear what one of the attempts that were handed over means."""
        self._to_judge -= 1

    def _free_line(self) -> Line | None:
        while self._idle:
            line = self._idle[-1]
            if line.is_open:
                return line
            self._drop(self._idle.pop())
        return None

    def _drop(self, line: Line) -> None:
        self._lines.discard(line)
        line.close()

    def _launch_on(self, line: Line, take: Callable[[], Next]) -> Next | Turn | None:
        """Let one request leave; returns why it does not, if it does not."""
        batch = self.abandon()
        if batch is None:
            found = take()
            batch = found.batch
            if batch is None:
                return found
        if batch.history:
            self.for_couriers.append((batch, None))
            return Next()
        generation = self._tokens.generation
        try:
            request = self._dialect.encode(batch, self._tokens.current)
        except DialectError:
            self.for_couriers.append((batch, None))
            return Next()
        changes = len(batch)
        turn = self._gate.take_turn(changes)
        if turn.seconds > 0:
            self._held = batch
            return turn
        departed = self._gate.clock.now()
        flight = _Flight(line, batch, changes, departed, len(request.body), generation)
        self._health.tries(departed)
        self._departs(batch)
        self._attempts.requests.sent += 1
        self._flying += 1
        self._idle.pop()
        line.send(request, partial(self._arrives, flight))
        return None

    def _arrives(self, flight: _Flight, outcome: Response | Exception) -> None:
        flight.replied, flight.outcome = self._gate.clock.now(), outcome
        flight.beside = self._gate.in_flight
        self._gate.leave(flight.line, has_departed=True)  # at once: all workers may be waiting for a place
        self._arrived.append(flight)
        self._wake()

    def _is_plain_success(self, flight: _Flight) -> bool:
        response = flight.outcome
        if not isinstance(response, Response) or self._blame.holds or self._health.failures or self._to_judge:
            return False  # replies are judged in the order in which they came
        if response is self._plain:
            return True
        verdict = self._dialect.of_reply(flight.batch, response, self._gate.clock.utc())
        if not isinstance(verdict, Settled) or verdict.details or (verdict.statuses != Status.APPLIED).any():
            return False
        if self._dialect.success_is_uniform:
            self._plain = response
        return True

    def _note(self, flight: _Flight) -> None:
        batch, took = flight.batch, flight.replied - flight.departed
        self._attempts.requests.ok += 1
        self._attempts.requests.fast += 1
        self._attempts.took.add(took)
        if self._attempts.exchanged is not None:
            self._attempts.exchanged(batch, _exchange(flight))
        self._health.succeeded()
        self._gate.succeeded(took, flight.changes, flight.beside)
        self.accepted.add(batch, self._gate.clock.utc(), cast("Response", flight.outcome).status)

    def _give_up(self, flight: _Flight) -> None:
        outcome = flight.outcome
        if not isinstance(outcome, Response | BatcherError):
            raise outcome or RuntimeError  # a fault of ours
        if isinstance(outcome, Response):
            self._gate.heed_reply(outcome)
        self._to_judge += 1
        sent = Sent(flight.departed, True, flight.size, flight.generation, outcome)
        self.for_couriers.append((flight.batch, sent))
