"""Something has changed, whatever it is: who waits looks again."""

from __future__ import annotations

import anyio


class Signal:
    """Wakes all who wait at that moment. Costs nothing while nobody does."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def __repr__(self) -> str:
        return f"<Signal {'somebody waits' if self._event else 'nobody waits'}>"

    def wake(self) -> None:
        """Something has changed."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Until it is said the next time."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
