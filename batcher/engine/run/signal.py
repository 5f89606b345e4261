"""A signal that something has changed, so that waiting tasks check again."""

from __future__ import annotations

import anyio


class Signal:
    """Wakes all tasks that are waiting at that moment. Costs nothing if none are."""

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
        """Wait until the next `wake`."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
