"""How a run is asked to end: once, with a cause. All waits are abandoned; requests in flight may still be answered."""

from __future__ import annotations

import anyio

from batcher.core.verdict import Cause


class Abandoned(Exception):  # noqa: N818 — not an error: the run ends, and the changes stay pending
    """The run is ending, and this was not sent."""


class Shutdown:
    """The request to end a run; shared by all parts that wait."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.reason = ""
        self.ledger_is_dead = False
        """Whether nothing can be recorded any more, whatever cause the run stopped for."""
        self._event = anyio.Event()

    def __repr__(self) -> str:
        return f"<Shutdown {self.cause}>"

    @property
    def is_set(self) -> bool:
        """Whether the run is to end."""
        return self.cause is not None

    def stop(self, cause: Cause, reason: str) -> None:
        """End the run. The first cause is kept, unless it is followed by a signal, which overrides any other cause."""
        self.ledger_is_dead = self.ledger_is_dead or cause is Cause.LEDGER
        if self.cause is None or (cause.is_signal and not self.cause.is_signal):
            self.cause, self.reason = cause, reason
        self._event.set()

    def check(self) -> None:
        """Raise `Abandoned` if the run is to end."""
        if self.is_set:
            raise Abandoned

    async def pause(self, seconds: float) -> None:
        """Wait for this many seconds, or raise `Abandoned` as soon as the run is to end."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self.check()

    async def wait(self) -> None:
        """Wait until the run is to end."""
        await self._event.wait()
