"""The command line as users run it, and the simulator as another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import forked

PROGRAM = [sys.executable, "-m", "batcher"]


@dataclass
class Shell:
    """Runs commands in a folder of its own."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        known = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        passed = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        return known | passed | more

    def run(self, *arguments: str, stdin: bytes = b"", timeout: float = 60, **more: str) -> subprocess.CompletedProcess:
        return forked.run(arguments, self.folder, self.environment(**more), stdin, timeout)

    def start(self, *arguments: str, **more: str) -> forked.Forked:
        return forked.start(arguments, self.folder, self.environment(**more))

    def execute(self, *arguments: str, **more: str) -> subprocess.Popen:
        """Run a command with its own start-up, as users do."""
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def simulator(self, *arguments: str) -> Iterator[str]:
        """Run a server in a process of its own; returns its address."""
        process = self.start("simulate", "--port", "0", *arguments)
        try:
            yield process.stdout.readline().decode().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name


def state_of(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/_state", timeout=10) as reply:  # noqa: S310 — loopback
        return json.load(reply)


def wait(seconds: float) -> None:
    """Wait in real time, for other processes."""
    threading.Event().wait(seconds)
