"""Load runs on virtual time: the real generator against a target that is a function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from harness import EPOCH, inline, settings_for

from batcher.core.clock import Clock
from batcher.core.errors import ReplyLostError
from batcher.core.http import Request, Response
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.host.runtime import Executor, Runtime
from batcher.load.flight import Punctual
from batcher.load.load_run import LoadSpec, Looking, measure
from batcher.load.measurement import Measurement
from batcher.load.plan import Stopwatch
from batcher.simulator.virtual_time import run_virtual


@dataclass
class Server:
    """Answers after `takes(now)` seconds with `status(number)`; None loses the reply."""

    takes: Callable[[float], float] = lambda _: 0.01
    status: Callable[[int], int | None] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    sends: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def exchange(self, request: Request, turn: Callable[[], Awaitable[None]]) -> Response:
        await anyio.lowlevel.checkpoint()
        await turn()
        now = anyio.current_time()
        number = len(self.sends)
        self.sends.append(now)
        self.bodies.append(request.body)
        await anyio.sleep(self.takes(now))
        status = self.status(number)
        if status is None:
            raise ReplyLostError("no complete reply: connection reset")
        return Response(status, self.headers if status >= 400 else {}, b"" if status == 204 else b"no")


def play(
    folder: Path,
    server: Any,
    *,
    kind: str = "minapp",
    settings: dict[str, Any] | None = None,
    stop: Callable[[Shutdown], Awaitable[None]] | None = None,
    name: str = "load.ledger",
    executor: Executor = inline,
    **wish: Any,
) -> Measurement:
    """Make a load run; `settings` as for `settings_for`, `wish` the fields of `LoadSpec`."""
    given = {"rate_max_in_flight": 256, "limits_max_changes": 5} | (settings or {})
    wished = LoadSpec(settings_for(kind, **given), str(folder / name), **({"starts": EPOCH} | wish))

    async def main() -> Measurement:
        @asynccontextmanager
        async def transport(*_: object):
            yield Punctual(server, anyio.current_time, anyio.sleep_until)

        clock = Clock(anyio.current_time, lambda: EPOCH + anyio.current_time())
        runtime = Runtime(clock, lambda: 0.5, executor, transport)
        watch = Stopwatch(0.0, lambda: 0.0)
        shutdown = Shutdown()
        async with anyio.create_task_group() as group:
            if stop is not None:
                group.start_soon(stop, shutdown)
            found = await measure(wished, Credentials(token="a-token"), runtime, watch, shutdown, Looking())
            group.cancel_scope.cancel()
        return found

    return run_virtual(main)
