"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with exact time and no sleeping. It raises instead of hanging if nothing can happen any more."""

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The current virtual time in seconds."""
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            msg = "deadlock: every task waits and no timer is set"
            raise RuntimeError(msg)
        if not ready and timeout is not None:
            self._loop.now += timeout
        return ready


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]], start: float = 0.0) -> T:
    """Run a coroutine on virtual time, which starts at `start`."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(main())
