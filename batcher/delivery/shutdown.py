"""How a run is asked to end: once, with a cause; every wait is abandoned, what is in flight may come back."""

from __future__ import annotations

import anyio

from batcher.core.verdict import Cause


class Abandoned(Exception):  # noqa: N818 — not an error: the run ends, and what was waited for stays pending
    """The run ends; this was not sent."""


class Shutdown:
    """Shared by all that wait."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.reason = ""
        self.ledger_is_dead = False
        """Nothing can be recorded any more, whatever stopped the run in the end."""
        self._event = anyio.Event()

    def __repr__(self) -> str:
        return f"<Shutdown {self.cause}>"

    @property
    def is_set(self) -> bool:
        """Whether the run is to end."""
        return self.cause is not None

    def stop(self, cause: Cause, reason: str) -> None:
        """End the run. The first cause stays, but for a signal, which beats every other."""
        self.ledger_is_dead = self.ledger_is_dead or cause is Cause.LEDGER
        if self.cause is None or (cause.is_signal and not self.cause.is_signal):
            self.cause, self.reason = cause, reason
        self._event.set()

    def check(self) -> None:
        """Raise `Abandoned` when the run is to end."""
        if self.is_set:
            raise Abandoned

    async def pause(self, seconds: float) -> None:
        """Wait so long, or raise `Abandoned` as soon as the run is to end."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self.check()

    async def wait(self) -> None:
        """Until the run is to end."""
        await self._event.wait()
