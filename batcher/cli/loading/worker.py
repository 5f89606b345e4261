"""One of several generators: reads its order from standard input, writes its measurement to standard output.

It works as long as its standard input is open.
"""

from __future__ import annotations

import os
import sys

import anyio
import click
import msgspec

from batcher import streams
from batcher.cli.console import guarded, set_up
from batcher.cli.runs.runner import run_async
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.host.run_registry import state_folder
from batcher.load.load_run import Looking, measure
from batcher.load.real import Spinning, load_runtime, quietly
from batcher.load.worker_processes import WorkerOrder


async def _main(order: WorkerOrder) -> int:
    shutdown, spinning = Shutdown(), Spinning()
    given = Credentials(order.token, order.client_id, order.client_secret)
    async with anyio.create_task_group() as group:
        group.start_soon(_end_with_the_input, shutdown)
        runtime = load_runtime(None if order.spec.is_simulated else state_folder(os.environ), spinning)
        with quietly():
            found = await measure(order.spec, given, runtime, spinning.watch(), shutdown, Looking())
        group.cancel_scope.cancel()
        sys.stdout.buffer.write(msgspec.json.encode(found))
        sys.stdout.buffer.flush()  # whoever reads it may be gone; the ledger has it
    return 0


async def _end_with_the_input(shutdown: Shutdown) -> None:
    descriptor = sys.stdin.fileno()
    while True:
        await anyio.wait_readable(descriptor)
        if not os.read(descriptor, 1024):
            break
    shutdown.stop(Cause.INTERRUPT, "the run was ended")


if __name__ == "__main__":
    streams.open_all()
    set_up(quiet=True)
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # unbuffered, as its end is awaited later
        told = stdin.readline()
    try:
        guarded(lambda: run_async(lambda: _main(msgspec.json.decode(told, type=WorkerOrder))))
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
