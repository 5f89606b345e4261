"""Several generators side by side, each a process of its own, and their findings as one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import anyio
import msgspec
from anyio.abc import Process

from batcher.core.errors import BatcherError
from batcher.core.target import Credentials
from batcher.delivery.stopping import Stopping
from batcher.load.bench import Wish
from batcher.load.measurement import Measurement, merged

START_SECONDS = 2.0
"""Until all generators have been started and have something to send."""


class Order(msgspec.Struct, frozen=True):
    """What a generator's process is told on its standard input; the credentials are on no command line."""

    wish: Wish
    token: str
    client_id: str
    client_secret: str


class _GeneratorError(BatcherError):
    """A generator's process ended without a finding; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a generator ended with {code} before it found anything")
        self.exit_code = code if code > 0 else BatcherError.exit_code


async def measure_together(
    wishes: Sequence[Wish], credentials: Credentials, command: Sequence[str], stopping: Stopping
) -> Measurement:
    """Run `command` once for each wish, and merge what they find.

    Raises:
        BatcherError: When one of them ends without a finding; it has said why on standard error.

    """
    orders = [Order(wish, credentials.token, credentials.client_id, credentials.client_secret) for wish in wishes]
    found: list[Measurement] = []
    processes: list[Process] = []

    async def run(order: Order) -> None:
        async with await anyio.open_process([sys.executable, *command], stdin=subprocess.PIPE, stderr=None) as process:
            processes.append(process)
            if process.stdin is not None:
                await process.stdin.send(msgspec.json.encode(order))
                await process.stdin.aclose()
            answer = b"".join([part async for part in process.stdout]) if process.stdout is not None else b""
            await process.wait()
            if not answer:
                raise _GeneratorError(process.returncode or 1)
            found.append(msgspec.json.decode(answer, type=Measurement))

    async def end_when_stopped() -> None:
        await stopping.wait()
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)

    async with anyio.create_task_group() as around:
        around.start_soon(end_when_stopped)
        async with anyio.create_task_group() as group:
            for order in orders:
                group.start_soon(run, order)
        around.cancel_scope.cancel()
    return merged(sorted(found, key=lambda part: part.ledgers))
