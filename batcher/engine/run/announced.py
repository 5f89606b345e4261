"""What a target announces about itself, asked for once in a run, and not before somebody wants to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import orjson

from batcher.core.discovery import Announcement
from batcher.core.verdict import Retry, Verdict
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry

_ATTEMPTS = 3
"""Some services fail at this for ever, and can be used all the same."""


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
                found, attempts = await self._ask(), 1
                while isinstance(found, Retry) and attempts < _ATTEMPTS:
                    found, attempts = await self._ask(), attempts + 1
                if isinstance(found, Announcement):
                    self._found = found
                    await self._note("announced", orjson.dumps(found.facts).decode())
            self._has_asked = True
        return self._found

    async def _ask(self) -> Announcement | Verdict | None:
        return await self._inquiry.once(self._dialect.discovery, self._dialect.of_discovery)
