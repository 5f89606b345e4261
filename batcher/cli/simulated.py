"""The simulator in a process of its own: one that shares ours would be measured with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from batcher.core.errors import ConfigurationError


@asynccontextmanager
async def simulator() -> AsyncIterator[str]:
    """Serve while the body runs; gives the address."""
    command = [sys.executable, "-m", "batcher", "simulate", "--port", "0"]
    # A group of its own: a signal from the terminal is for the run, which ends the simulator at its end.
    async with await anyio.open_process(
        command, stdin=subprocess.DEVNULL, stderr=None, start_new_session=True
    ) as process:
        line = await process.stdout.receive() if process.stdout else b""
        address = line.decode().split()[-1]
        if not address.startswith("http"):
            raise ConfigurationError(f"the simulator did not start: {line.decode()!r}")
        try:
            yield address
        finally:
            with anyio.CancelScope(shield=True):
                process.send_signal(signal.SIGTERM)
                await process.wait()
