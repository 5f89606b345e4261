"""What a target announces about itself, asked for once in a run, and not before somebody wants to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import orjson

from batcher.core.discovery import Announcement
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry


async def _nobody(_: str, __: str) -> None:
    pass


class Announced:
    """The announcement of one target."""

    def __init__(
        self, dialect: Dialect, inquiry: Inquiry, note: Callable[[str, str], Awaitable[None]] = _nobody
    ) -> None:
        """`note` records a fact of the run."""
        self._dialect = dialect
        self._inquiry = inquiry
        self._note = note
        self._asking = anyio.Lock()
        self._has_asked = False
        self._found: Announcement | None = None

    def __repr__(self) -> str:
        return f"<Announced {self._found!r}>"

    async def get(self) -> Announcement | None:
        """The announcement; None if there is none.

        Raises:
            Abandoned: When the run ends first.

        """
        async with self._asking:
            if not self._has_asked and self._dialect.announces:
                found = await self._inquiry.once(self._dialect.discovery, self._dialect.of_discovery)
                if isinstance(found, Announcement):
                    self._found = found
                    await self._note("announced", orjson.dumps(found.facts).decode())
            self._has_asked = True
        return self._found
