"""One arrival on its way, and the stop-watch that every request of it passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from batcher.core.errors import NotSentError, ReplyLostError
from batcher.core.http import Request, Response
from batcher.transport import Transport

NOT_SENT, LOST = "no connection", "no reply"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with changes. Times are monotonic seconds; `departed` is None when it never left."""

    departed: float | None
    ended: float
    status: int | None
    error: str
    """What came instead of a reply."""
    bytes_sent: int
    bytes_received: int


@dataclass(slots=True, eq=False)
class Flight:
    """An arrival: when it was due, and its exchanges so far."""

    due: float
    exchanges: list[Exchange] = field(default_factory=list)


CURRENT: ContextVar[Flight] = ContextVar("flight")
"""Whose requests the running task sends."""


class Watched:
    """A transport whose exchanges are noted in the current flight."""

    def __init__(self, transport: Transport, now: Callable[[], float]) -> None:
        self._transport = transport
        self._now = now

    def __repr__(self) -> str:
        return f"<Watched {self._transport!r}>"

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        """See `Transport`."""
        departed: float | None = None

        async def depart() -> None:
            nonlocal departed
            await turn()
            departed = self._now()

        try:
            response = await self._transport.exchange(request, depart)
        except NotSentError:
            self._note(departed, self._now(), None, NOT_SENT, request, 0)
            raise
        except ReplyLostError:
            self._note(departed, self._now(), None, LOST, request, 0)
            raise
        ended = self._now() if response.received_at is None else response.received_at
        self._note(departed, ended, response.status, "", request, len(response.body))
        return response

    def _note(
        self, departed: float | None, ended: float, status: int | None, error: str, request: Request, received: int
    ) -> None:
        flight = CURRENT.get(None)
        if flight is not None:
            flight.exchanges.append(Exchange(departed, ended, status, error, len(request.body), received))
