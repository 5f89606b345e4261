"""Commands in processes of their own, without their start-up: forked from a process that has imported everything.

A command does the same as usual, but its half a second of imports is not repeated a thousand times. Tests of the
start-up itself run `shell.PROGRAM`.
"""

from __future__ import annotations

import atexit
import gc
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, NoReturn, Self

_MOST = 1 << 20
"""The most bytes of a command with its environment."""
_STREAMS = 3
_MODULES = (
    "aiohttp.web",
    "anyio._backends._asyncio",
    "anyio.to_thread",
    "batcher.cli",
    "batcher.cli.runs.resume",
    "batcher.cli.loading.clean_up",
    "batcher.cli.loading.work",
    "batcher.cli.loading.run",
    "batcher.cli.outlets.metrics_port",
    "batcher.cli.runs.apply",
    "batcher.cli.runs.simulated",
    "batcher.cli.runs.sync",
    "batcher.cli.outlets.job",
    "batcher.engine.jobs.prediction",
    "batcher.engine.sync.undo",
    "batcher.load.limit_search",
    "batcher.report.of_ledger",
    "batcher.report.of_load",
    "batcher.simulator.scenario",
    "batcher.targets.minapp",
    "batcher.targets.scrutinizer",
    "batcher.simulator.server",
    "hdrh.histogram",
    "numpy.ma",
    "numpy.random",
    "pyarrow.parquet",
    "python_calamine",
    "rich.console",
    "rich.live",
    "rich.progress_bar",
    "uvloop",
)


class Forked:
    """A running command, with the interface of `subprocess.Popen`."""

    def __init__(self, status: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self._status = status
        self.pid = int(status.recv(64))
        self.returncode: int | None = None
        self._stdin = os.fdopen(stdin, "wb", buffering=0)
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._close()

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([f"process {self.pid}"], timeout or 0.0)
            self.returncode = int(self._status.recv(64))
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, content: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """What the command writes until it ends; on a time-out it is killed, and `subprocess.TimeoutExpired` raised."""
        found: dict[str, bytes] = {}

        def read(name: str, stream: IO[bytes]) -> None:
            found[name] = stream.read()

        streams = [("out", self.stdout), ("err", self.stderr)]
        readers = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams]
        for reader in readers:
            reader.start()
        with suppress(BrokenPipeError):
            self._stdin.write(content or b"")
        self._stdin.close()
        ends = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.join(None if ends is None else max(0.0, ends - time.monotonic()))
        try:
            self.wait(None if ends is None else max(0.01, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._close()
        return found["out"], found["err"]

    def _close(self) -> None:
        for stream in (self._stdin, self.stdout, self.stderr):
            stream.close()


def start(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Forked:
    """Start `batcher` with these arguments."""
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    given = [stdin[0], stdout[1], stderr[1]]
    status = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    status.connect(_place())
    wanted = [str(folder), str(len(arguments)), *arguments, *(f"{name}={value}" for name, value in environment.items())]
    socket.send_fds(status, [os.fsencode("\0".join(wanted))], given)
    for descriptor in given:
        os.close(descriptor)
    return Forked(status, stdin[1], stdout[0], stderr[0])


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Run `batcher` with these arguments to its end."""
    process = start(arguments, folder, environment)
    out, err = process.communicate(stdin, timeout)
    return subprocess.CompletedProcess(["batcher", *arguments], process.wait(), out, err)


_PROGRAM = """#!{python} -IS
import os, socket, sys
status = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
status.connect({place!r})
wanted = [os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:], *(f"{{k}}={{v}}" for k, v in os.environ.items())]
socket.send_fds(status, [os.fsencode("\\0".join(wanted))], [0, 1, 2])
status.recv(64)
code = int(status.recv(64))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def write_program(path: Path) -> None:
    """Write an executable file that runs `batcher`, for scripts."""
    path.write_text(_PROGRAM.format(python=sys.executable, place=_place()), encoding="utf-8")
    path.chmod(0o700)


@cache
def _place() -> str:
    """The address of the process that forks, which this process has for itself and which ends together with it."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    place = f"{folder.name}/socket"
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    process = subprocess.Popen(
        [sys.executable, __file__, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **measured},
        cwd="/",
    )
    process.stdout.readline()

    def end() -> None:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        folder.cleanup()

    atexit.register(end)
    return place


def _serve(listening: socket.socket) -> tuple[list[str], list[int]] | None:
    """Fork for each request; returns what to do in a child, and None in the parent when standard input has ended."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    return None
                if key.fileobj is not listening:
                    pid, status = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _, code = os.waitpid(pid, 0)
                    with suppress(BrokenPipeError):
                        status.send(str(os.waitstatus_to_exitcode(code)).encode())
                    status.close()
                    continue
                status, _ = listening.accept()
                content, given, _, _ = socket.recv_fds(status, _MOST, _STREAMS)
                pid = os.fork()
                if not pid:
                    for descriptor, (_, other) in running.items():
                        os.close(descriptor)
                        other.close()
                    status.close()
                    listening.close()
                    return os.fsdecode(content).split("\0"), given
                for descriptor in given:
                    os.close(descriptor)
                status.send(str(pid).encode())
                watched = os.pidfd_open(pid)
                running[watched] = (pid, status)
                selector.register(watched, selectors.EVENT_READ)


def _become(wanted: Sequence[str], streams: Sequence[int]) -> NoReturn:
    """Become the command."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    folder, count, *rest = wanted
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(entry.split("=", 1) for entry in rest[int(count) :])
    time.tzset()
    sys.argv = ["batcher", *rest[: int(count)]]
    from batcher.__main__ import main  # noqa: PLC0415 — not needed by a process that only starts commands

    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:  # Python's other clean-up takes longer than most commands
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for module in _MODULES:
        __import__(module)
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(sys.argv[1])
        listener.listen(100)
        os.write(1, b"\n")  # from now on it is listening
        request = _serve(listener)
    if request is not None:
        _become(*request)
