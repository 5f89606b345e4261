"""One arrival of a load run, and the transport that sends its first request when it is due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from batcher.core.http import Request, Response
from batcher.delivery.delivery import Exchange
from batcher.transport import Transport
from batcher.transport.protocol import Line, OffersLines


@dataclass(slots=True, eq=False)
class Flight:
    """An arrival: a batch with all of its retries and pieces. Times are monotonic seconds.

    In an open loop it is `due` at a given time; in a closed one (None) its intended start is the actual one.
    """

    due: float | None
    free: float
    """Until when all places in flight were taken; infinity if they were at its launch, or a rate or a wait applied."""
    is_counted: bool
    """Whether it is measured, that is, not part of the warm-up."""
    released: float | None = None
    """When its first request was ready to be sent and due, before it waited for its turn."""
    departed: float | None = None
    """When its first request left."""
    ended: float | None = None
    """When its last reply came, or it was clear that there would be none."""
    parts: int = 1
    """How many of its batches are not delivered yet."""
    accepted: int = 0
    """How many of its changes the target accepted."""

    def note(self, exchange: Exchange) -> None:
        """One of its requests was answered, or its reply was lost."""
        if self.departed is None:
            self.departed = exchange.departed
        self.ended = exchange.ended

    @property
    def intended(self) -> float | None:
        """Its intended start; None if it is part of a closed loop and has not left yet."""
        return self.departed if self.due is None else self.due

    @property
    def lag(self) -> float:
        """By how many seconds the generator itself was late in sending it."""
        if self.released is None or self.due is None:
            return 0.0
        return max(0.0, self.released - max(self.due, self.free))


CURRENT: ContextVar[Flight] = ContextVar("flight")
"""The flight whose requests the running task sends."""


class Punctual:
    """A transport that holds an arrival's first request, ready to be sent, until it is due.

    `now` returns monotonic seconds; `until` waits for a moment of that clock.
    """

    def __init__(
        self, transport: Transport, now: Callable[[], float], until: Callable[[float], Awaitable[None]]
    ) -> None:
        self._transport = transport
        self._now = now
        self._until = until

    def __repr__(self) -> str:
        return f"<Punctual {self._transport!r}>"

    async def line(self, url: str) -> Line | None:
        """See `OffersLines`: for the closed loop, in which nothing is due."""
        return await self._transport.line(url) if isinstance(self._transport, OffersLines) else None

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        flight = CURRENT.get(None)

        async def depart() -> None:
            if flight is not None and flight.released is None:
                if flight.due is not None:
                    await self._until(flight.due)
                flight.released = self._now()
            await turn()

        return await self._transport.exchange(request, depart)
