"""The request gate, which every request to the target passes: it waits for its turn and for a place in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from batcher.core.clock import Clock
from batcher.core.concurrency import ConcurrencyLimit
from batcher.core.http import Request, Response
from batcher.core.rate import Pace, Turn, Waiting
from batcher.core.report import Waited
from batcher.core.retry import wish_of
from batcher.core.units import spoken
from batcher.core.verdict import Retry
from batcher.delivery.log_once import LogOnce
from batcher.delivery.shutdown import Shutdown
from batcher.transport import Transport
from batcher.transport.protocol import Line, OffersLines

_REFUSED = 400
"""From this status on, a reply's `Retry-After` applies to all sends, whatever else the reply means."""


@dataclass(slots=True)
class _Together:
    """How many are waiting for the same reason, and since when at least one has been."""

    count: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """What sends are waiting for, and until when (monotonic seconds)."""

    because: Waiting
    until: float


class RequestGate:
    """Combines the pacer, the limit in flight and the transport.

    If there is a rate, only one request at a time is between its wait for the rate and its departure; the others
    queue behind it without holding a connection.
    """

    def __init__(
        self, transport: Transport, pacer: Pace, limit: ConcurrencyLimit, clock: Clock, shutdown: Shutdown
    ) -> None:
        self.pacer = pacer
        self.limit = limit
        self.waited = Waited()
        self.waiting: Wait | None = None
        self.in_flight = 0
        self.highest_in_flight = 0
        self.log_once = LogOnce()
        self._transport = transport
        self.clock = clock
        self.shutdown = shutdown
        self._line = anyio.Lock()
        self._permits = anyio.CapacityLimiter(limit.limit)
        self._together: dict[str, _Together] = {}

    def __repr__(self) -> str:
        return f"<RequestGate {self.in_flight} in flight, {self.limit!r}, {self.pacer!r}>"

    async def send(self, request: Request, changes: int, departed: Callable[[], None] | None = None) -> Response:
        """Make one exchange when it is its turn. `departed` is called when the request is handed to the connection.

        Raises:
            Abandoned: When the run ends before that.
            TransportError: Whatever the transport raises.

        """
        permit = object()
        try:
            self._permits.acquire_on_behalf_of_nowait(permit)
        except anyio.WouldBlock:
            await self._queue(permit)
        try:
            response = await self._exchange(request, changes, departed)
        finally:
            self._permits.release_on_behalf_of(permit)
        self.heed_reply(response)
        return response

    async def line(self, url: str) -> Line | None:
        """See `OffersLines`; None if the transport does not."""
        return await self._transport.line(url) if isinstance(self._transport, OffersLines) else None

    def enter(self, permit: object) -> bool:
        """Take a place in flight if one is free and nobody queues for it."""
        try:
            self._permits.acquire_on_behalf_of_nowait(permit)
        except anyio.WouldBlock:
            return False
        return True

    def leave(self, permit: object, *, has_departed: bool) -> None:
        """Give the place back."""
        self._permits.release_on_behalf_of(permit)
        self.in_flight -= has_departed

    def take_turn(self, changes: int) -> Turn:
        """The turn of a request with so many changes; if it is now, it counts as departed."""
        turn = self.pacer.try_take(self.clock.now(), changes)
        if turn.seconds <= 0:
            self._depart()
        return turn

    async def wait_for_turn(self, turn: Turn, changed: Callable[[], Awaitable[None]]) -> None:
        """Wait until it is the turn, or until something has changed."""
        self.waiting = Wait(turn.because, self.clock.now() + turn.seconds)
        try:
            with self.waiting_for(turn.because.value), anyio.move_on_after(turn.seconds):
                await changed()
        finally:
            self.waiting = None

    def heed_reply(self, response: Response) -> None:
        """Respect a wait that a refusal asks for, whatever else it means."""
        wish = wish_of(response.headers, self.clock.utc()) if response.status >= _REFUSED else None
        if wish is not None and wish.seconds:
            self.keep_quiet(wish.seconds, f"{response.status}; {wish}" if wish.is_cut else str(response.status))

    async def _queue(self, permit: object) -> None:
        """Wait for a place in flight; time is counted once, however many wait, and not while the rate is the reason."""
        if self._line.locked():
            await self._permits.acquire_on_behalf_of(permit)
            return
        with self.waiting_for("concurrency"):
            await self._permits.acquire_on_behalf_of(permit)

    @contextmanager
    def waiting_for(self, reason: str) -> Iterator[None]:
        """Count the time spent waiting; while several wait for the same reason, it is counted once."""
        together = self._together.setdefault(reason, _Together())
        if not together.count:
            together.since = self.clock.now()
        together.count += 1
        try:
            yield
        finally:
            together.count -= 1
            if not together.count:
                setattr(self.waited, reason, getattr(self.waited, reason) + self.clock.now() - together.since)

    async def _exchange(self, request: Request, changes: int, departed: Callable[[], None] | None) -> Response:
        gated = self.pacer.is_limited
        flying = False

        async def depart() -> None:
            nonlocal gated, flying
            await self._await_turn(self.pacer.try_take, changes)
            if not flying:  # aiohttp sends a GET again when a kept connection turns out to be closed
                self._depart()
            flying = True
            if departed is not None:
                departed()
            if gated:
                gated = False
                self._line.release()

        if gated:
            await self._line.acquire()
        try:
            await self._await_turn(self.pacer.turn, changes)
            return await self._transport.exchange(request, depart)
        finally:
            if gated:
                self._line.release()
            if flying:
                self.in_flight -= 1

    def _depart(self) -> None:
        self.in_flight += 1
        self.highest_in_flight = max(self.highest_in_flight, self.in_flight)

    async def _await_turn(self, ask: Callable[[float, int], Turn], changes: int) -> None:
        self.shutdown.check()
        while (turn := ask(self.clock.now(), changes)).seconds > 0:
            self.waiting = Wait(turn.because, self.clock.now() + turn.seconds)
            try:
                with self.waiting_for(turn.because.value):
                    await self.shutdown.pause(turn.seconds)
            finally:
                self.waiting = None

    def succeeded(self, took: float, changes: int, in_flight: int) -> None:
        """A request with this many changes was answered properly after `took` seconds, while so many were in flight."""
        self.limit.succeeded(self.clock.now(), took, changes, in_flight)
        self._permits.total_tokens = self.limit.limit

    def pushed_back(self, took: float) -> None:
        """The target signalled that it is overloaded, on a request that took this many seconds."""
        before = self.limit.limit
        self.limit.pushed_back(self.clock.now(), took)
        self._permits.total_tokens = self.limit.limit
        if self.limit.limit < before:
            self.log_once.say("back-pressure: limiting to %d requests in flight", self.limit.limit)

    def heed(self, verdict: Retry) -> None:
        """Respect a wait that the target asked for: it applies to all workers and all runs on this host, even later."""
        if verdict.back_pressure and verdict.after:
            self.keep_quiet(verdict.after, verdict.reason)

    def keep_quiet(self, seconds: float, reason: str) -> None:
        """Pause the sends of all workers, and of all runs on this host, for this many seconds."""
        self.pacer.quiet(self.clock.now() + seconds, Waiting.RETRY_AFTER)
        self.log_once.say("the target asked us to wait (%s): pausing all sends for %s", reason, spoken(seconds))
