"""One of several generators: told what to do on standard input, tells what it found on standard output."""

from __future__ import annotations

import os
import sys

import anyio
import click
import msgspec

from batcher.cli.console import guarded, set_up
from batcher.cli.runner import run_async, watch_signals
from batcher.core.target import Credentials
from batcher.delivery.stopping import Stopping
from batcher.engine.register import state_folder
from batcher.load.bench import Looking, measure
from batcher.load.crew import Order
from batcher.load.real import load_surroundings, quietly, real_watch


async def _main(order: Order) -> int:
    stopping = Stopping()
    given = Credentials(order.token, order.client_id, order.client_secret)
    async with anyio.create_task_group() as group:
        group.start_soon(watch_signals, stopping, group.cancel_scope)
        surroundings = load_surroundings(None if order.wish.is_simulated else state_folder(os.environ))
        with quietly():
            found = await measure(order.wish, given, surroundings, real_watch(), stopping, Looking())
        group.cancel_scope.cancel()
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    set_up(quiet=True)
    told = sys.stdin.buffer.read()
    try:
        guarded(lambda: run_async(lambda: _main(msgspec.json.decode(told, type=Order))))
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
