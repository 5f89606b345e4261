"""The simulator in a process of its own: in ours, it would be measured with the run.

Run as a program, it serves as long as its standard input is open.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from batcher import streams
from batcher.core.errors import ConfigurationError


@asynccontextmanager
async def simulator() -> AsyncIterator[str]:
    """Serve while the body runs; gives the address."""
    command = [sys.executable, "-m", "batcher.cli.runs.simulated"]
    # A session of its own: a signal from the terminal is for the run, which ends the simulator at its end.
    process = await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None, start_new_session=True)
    async with process:
        try:
            line = await process.stdout.receive() if process.stdout else b""
        except anyio.EndOfStream:
            raise ConfigurationError("the simulator did not start") from None
        try:
            yield line.decode().strip()
        finally:
            with anyio.CancelScope(shield=True):
                if process.stdin is not None:
                    await process.stdin.aclose()
                await process.wait()


async def _serve() -> int:
    from batcher.simulator.behaviour import Behaviour
    from batcher.simulator.server import serve

    async with serve(Behaviour()) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
    return 0


if __name__ == "__main__":
    streams.open_all()
    from batcher.cli.runs.runner import run_async

    sys.exit(run_async(_serve))
