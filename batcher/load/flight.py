"""One arrival on its way, and the transport that lets it leave when it is due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from batcher.core.http import Request, Response
from batcher.delivery.delivery import Exchange
from batcher.transport import Transport


@dataclass(slots=True, eq=False)
class Flight:
    """An arrival. Times are monotonic seconds.

    In an open loop it is `due` by the clock; in a closed one (None) its intended start is the actual one.
    """

    due: float | None
    free: float
    """Until when there was no place for it, or no leave to send; infinity when there was none at its start."""
    is_counted: bool
    """Not part of the warm-up."""
    released: float | None = None
    """When its first request was let go, neither early nor held up by the target."""
    departed: float | None = None
    """When its first request left."""
    ended: float | None = None
    """When its last reply came, or it was clear that none would."""
    parts: int = 1
    """Its batches that are not back."""
    accepted: int = 0
    """Its changes that the target accepted."""

    def note(self, exchange: Exchange) -> None:
        """One of its requests was answered, or not."""
        if self.departed is None:
            self.departed = exchange.departed
        self.ended = exchange.ended

    @property
    def intended(self) -> float | None:
        """Its intended start; None while a closed loop's has not left."""
        return self.departed if self.due is None else self.due

    @property
    def lag(self) -> float:
        """Seconds by which it left too late although nothing was against it."""
        if self.released is None or self.due is None:
            return 0.0
        return max(0.0, self.released - max(self.due, self.free))


CURRENT: ContextVar[Flight] = ContextVar("flight")
"""Whose requests the running task sends."""


class Punctual:
    """A transport that holds an arrival's first request, ready to be sent, until it is due."""

    def __init__(
        self, transport: Transport, now: Callable[[], float], until: Callable[[float], Awaitable[None]]
    ) -> None:
        self._transport = transport
        self._now = now
        self._until = until

    def __repr__(self) -> str:
        return f"<Punctual {self._transport!r}>"

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
