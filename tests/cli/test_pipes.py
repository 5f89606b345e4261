"""What cannot be read twice survives a crash in its spool."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from pathlib import Path

import pytest
from shell import PROGRAM, state_of, wait

from batcher import api
from batcher.core.errors import InputError
from batcher.core.status import Status
from batcher.settings import Settings

CONFIG = "[limits]\nmax_changes = 10\n[retry]\ngrace_seconds = 0.1\n"


def _start(shell, url):
    shell.write("b.toml", CONFIG)
    command = [
        *PROGRAM,
        "apply",
        "-",
        "-c",
        "b.toml",
        "--target",
        "minapp",
        "--url",
        url,
        "--rate",
        "none",
        "--ledger",
        "l",
    ]
    return subprocess.Popen(
        command,
        cwd=shell.folder,
        env=shell.environment(BATCHER_TOKEN="t"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("is_whole", [True, False])
def test_standard_input_and_a_kill(shell, is_whole):
    """Half a line at the end may look like another change: it is dropped, unless the input had ended there."""
    rows = "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(60)) + "add,999,1"
    with shell.simulator("--latency-ms", "300") as url:
        process = _start(shell, url)
        process.stdin.write(rows.encode())
        process.stdin.flush()
        if is_whole:
            process.stdin.close()
        while state_of(url)["requests"] < 2:
            wait(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        process.stderr.close()
        if not is_whole:
            process.stdin.close()
        spool = shell.folder / "l.spool"
        assert spool.stat().st_mode & 0o077 == 0
        resumed = shell.run("resume", "l", "--json", BATCHER_TOKEN="t")
        told = json.loads(resumed.stdout)
        assert told["input_complete"] is is_whole
        assert resumed.returncode == (0 if is_whole else 6), resumed.stderr
        assert told["changes"]["applied"] == (61 if is_whole else 60)
        assert len(state_of(url)["groups"]["1"]) == (61 if is_whole else 60)
        retried = shell.run("retry", "l", BATCHER_TOKEN="t")  # what was cut off stays cut off
        assert retried.returncode == resumed.returncode, retried
        if is_whole:
            assert not spool.exists()
        else:
            assert told["next"] is None
            assert b"apply what was not read in a new run" in resumed.stderr


def test_a_slow_pipe_is_sent_as_it_comes(shell):
    """Nobody waits for the end of the input."""
    with shell.simulator() as url:
        process = _start(shell, url)
        process.stdin.write(b"op,user_id,group_id\nadd,1,1\n")
        process.stdin.flush()
        while state_of(url)["changes"] < 1:
            wait(0.05)
        process.stdin.write(b"add,2,1\nadd,3,1\n")
        process.stdin.flush()
        while state_of(url)["changes"] < 3:
            wait(0.05)
        process.stdin.close()
        assert process.wait(timeout=20) == 0
        process.stderr.close()


def test_compressed_standard_input_is_refused_with_the_remedy(shell):
    result = shell.run("apply", "-", "--simulate", stdin=gzip.compress(b"op,user,group\nadd,1,1\n" * 1000))
    assert result.returncode == 2
    assert b"zcat" in result.stderr


@pytest.fixture
def settings(shell, monkeypatch):
    monkeypatch.setenv("BATCHER_TOKEN", "t")
    monkeypatch.chdir(shell.folder)
    with shell.simulator() as url:
        yield Settings.load(None, {"target.kind": "minapp", "target.url": url, "rate.requests": "none"})


@pytest.mark.real_time
async def test_async_iterables_and_paths(settings, shell):
    async def changes():
        for user in range(100):
            yield ("add", user, 1)

    report = await api.apply(changes(), settings)
    assert report.changes[Status.APPLIED] == 100
    assert (await api.resume(Path(report.ledger))).exit_code == 0
    assert (await api.retry(Path(report.ledger))).exit_code == 0
    path = shell.folder / "c.csv"
    path.write_bytes(b"op,user_id,group_id\nadd,1,1\n")
    assert (await api.apply([path, str(path)], settings, ledger=shell.folder)).total == 2


@pytest.mark.real_time
async def test_an_iterable_that_fails_keeps_what_it_gave(settings):
    """The ledger stays, the run stops with 6, and says why."""

    def changes():
        for user in range(20_000):
            yield ("add", user, 1)
        raise OSError("the database has gone")

    report = await api.apply(changes(), settings)
    assert report.exit_code == 6
    assert "the database has gone" in report.reason
    assert not report.input_complete


@pytest.mark.real_time
async def test_errors_of_a_job_leave_as_themselves(settings):
    """Not inside a group of errors."""
    strict = settings.replace(input={"strict": True})
    with pytest.raises(InputError, match="nothing was sent"):
        await api.apply([("x", 1, 1)], strict)


def test_an_interrupt_while_reading_exits_as_the_shell_expects(shell):
    command = [*PROGRAM, "plan", "-", "--simulate"]
    process = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(b"op,user_id,group_id\n")
    process.stdin.flush()
    wait(1.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, b"")
