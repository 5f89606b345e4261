"""Runs several generators at the same time, each in a process of its own, and merges their measurements."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import cast

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, ByteSendStream

from batcher.core.errors import BatcherError
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.load.load_run import LoadSpec
from batcher.load.measurement import Measurement, merged

START_SECONDS = 2.0
"""How long it takes until all generators have been started and have something to send."""
LOST = "lost"
"""The value of `stopped` in a merged measurement if one of the generators ended without a result."""


class WorkerOrder(msgspec.Struct, frozen=True):
    """What a generator's process gets on its standard input, so that the credentials are on no command line."""

    spec: LoadSpec
    token: str
    client_id: str
    client_secret: str


class _GeneratorError(BatcherError):
    """A generator's process ended without a result; it has reported the reason itself."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a generator ended with exit code {code} and without a result")
        self.exit_code = code if code > 0 else BatcherError.exit_code


async def measure_together(
    specs: Sequence[LoadSpec], credentials: Credentials, command: Sequence[str], shutdown: Shutdown
) -> Measurement:
    """Run `command` once for each of `specs`, and merge the measurements.

    A generator works as long as its standard input is open, so it ends when its parent process does, for whatever
    reason. If one ends without a result, the results of the others are returned, marked as stopped.

    Raises:
        BatcherError: When all of them end without a result; they have reported the reason on standard error.

    """
    orders = [WorkerOrder(spec, credentials.token, credentials.client_id, credentials.client_secret) for spec in specs]
    found: list[Measurement] = []
    codes: list[int] = []

    async def run(order: WorkerOrder) -> None:
        # In a session of its own: a signal from the terminal goes to the parent process only, which passes it on.
        process = await anyio.open_process(
            [sys.executable, *command], stdin=subprocess.PIPE, stderr=None, start_new_session=True
        )
        async with process, anyio.create_task_group() as around:
            stdin, stdout = cast("ByteSendStream", process.stdin), cast("ByteReceiveStream", process.stdout)
            await stdin.send(msgspec.json.encode(order) + b"\n")
            around.start_soon(_close_when_stopped, stdin, shutdown)
            answer = b"".join([part async for part in stdout])
            await process.wait()
            around.cancel_scope.cancel()
        if answer:
            found.append(msgspec.json.decode(answer, type=Measurement))
        else:
            codes.append(process.returncode or 1)

    async with anyio.create_task_group() as group:
        for order in orders:
            group.start_soon(run, order)
    if not found:
        raise _GeneratorError(codes[0])
    whole = merged(sorted(found, key=lambda part: part.ledgers))
    if codes and not whole.stopped:
        return msgspec.structs.replace(whole, stopped=LOST, reason=f"{len(codes)} of the generators ended early")
    return whole


async def _close_when_stopped(stdin: ByteSendStream, shutdown: Shutdown) -> None:
    await shutdown.wait()
    await stdin.aclose()
