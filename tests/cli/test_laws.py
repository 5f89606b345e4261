"""The laws, held against what other programs, people and machines do: with real processes, files and signals."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from shell import PROGRAM, state_of, wait

TLS = Path(__file__).parent.parent / "tls"
TOKEN = "tok-of-mine-12345"
MINAPP = {"BATCHER_TARGET": "minapp", "BATCHER_TOKEN": TOKEN}
CHANGES = "op,user,group\nadd,5,53\nadd,6,53\n"
CONFIG = '[retry]\nmax_attempts = 2\nbase_seconds = 0.05\nmax_wait = "2s"\n'
EMPTY = {"op,user,group\n": "", "user,group\n": ""}


@contextmanager
def answering(answer, context=None):
    """A server that answers every request with what `answer` makes of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def talk(plain):
            try:
                with plain if context is None else context.wrap_socket(plain, server_side=True) as connection:
                    while data := connection.recv(1 << 16):
                        connection.sendall(answer(data))
            except OSError:
                return

        def serve():
            while not ended.is_set():
                try:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http{'s' if context else ''}://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "form",
    [
        b"HTTP/1.1 500 Oops\r\n%s\r\n\r\n",
        b"HTTP/1.1 %s\r\n\r\n",
        b"HTTP/1.1 400 No\r\nContent-Length: 17\r\n\r\n%s",
        b"HTTP/1.1 302 No\r\nLocation: http://x/%s\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_token_that_comes_back_stays_where_it_was(shell, form):
    shell.write("c.csv", CHANGES)
    shell.write("c.toml", CONFIG)
    with answering(lambda _: form % TOKEN.encode()) as url:
        found = shell.run(
            "apply", "c.csv", "--url", url, "-c", "c.toml", "--ledger", "l", "--log-file", "log", "-v", **MINAPP
        )
    report = shell.run("report", "l")
    results = shell.run("results", "l")
    assert report.returncode == 0
    said = found.stdout + found.stderr + results.stdout + shell.read("l") + shell.read("log") + shell.read("l.html")
    assert TOKEN.encode() not in said
    assert b"Traceback" not in found.stderr


def test_an_unusable_certificate_file_is_found_before_anything_is_made(shell):
    shell.write("c.csv", CHANGES)
    shell.write("feed.csv", "user,group\n5,53\n")
    shell.write("c.toml", '[target]\nca_file = "nobody.pem"\n')
    before = sorted(path.name for path in shell.folder.iterdir())
    for command in (
        ("apply", "c.csv"),
        ("plan", "c.csv"),
        ("sync", "feed.csv", "--state", "s.state", "--bootstrap", "--from-nothing"),
        ("check",),
    ):
        found = shell.run(*command, "-c", "c.toml", "--url", "https://127.0.0.1:9", **MINAPP)
        assert found.returncode == 2, command
        assert b"ca_file" in found.stderr
        assert sorted(path.name for path in shell.folder.iterdir()) == before, command


def test_what_is_ignored_when_it_starts_stays_ignored(shell):
    """As under nohup, and in the background of a shell without job control."""
    shell.write("c.csv", "op,user,group\n" + "".join(f"add,{user},1\n" for user in range(60)))
    with shell.simulator() as url:
        shell.write("c.toml", "[limits]\nmax_changes = 1\n")
        command = [*PROGRAM, "apply", "c.csv", "--url", url, "--rate", "20/s", "--ledger", "l", "-c", "c.toml"]
        process = subprocess.Popen(
            ["sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh", *command],
            cwd=shell.folder,
            env=shell.environment(**MINAPP),
            stderr=subprocess.PIPE,
        )
        until(lambda: state_of(url)["requests"] > 3)
        for number in (signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said


def until(is_so, seconds=20):
    for _ in range(seconds * 20):
        if is_so():
            return
        wait(0.05)
    raise AssertionError("it never was so")


def test_an_interrupt_while_the_program_starts_is_no_traceback(shell):
    """From the first import after our handler on, which Python tells: before that it is Python that is interrupted."""
    for pause in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "batcher", "apply", "nothing.csv", "--simulate"],
            cwd=shell.folder,
            env=shell.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for mark in (b"batcher.streams", b"click"):
            while mark not in process.stderr.readline():
                assert process.poll() is None
        wait(pause)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode in {2, 130, -signal.SIGINT}  # the last: Python has ended everything already
        assert b"batcher/" not in said
        assert b"Abort" not in said


def test_several_runs_of_one_file_at_once_have_a_ledger_each(shell):
    shell.write("c.csv", CHANGES)
    with shell.simulator() as url:
        runs = [shell.start("apply", "c.csv", "--url", url, "--rate", "none", "-q", **MINAPP) for _ in range(4)]
        for run in runs:
            _, said = run.communicate(timeout=60)
            assert run.returncode == 0, said
    assert len(list(shell.folder.glob("c.csv.*.ledger"))) == 4


def test_a_run_goes_on_with_a_renewed_certificate(shell):
    """What proves the target is not the run's: it is taken anew."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    der = ssl.PEM_cert_to_DER_cert((TLS / "cert.pem").read_text(encoding="ascii"))
    shell.write("c.csv", CHANGES)
    shell.write("old.toml", f'[target]\ntls_fingerprint = "{"00" * 32}"\n')
    shell.write("new.toml", f'[target]\ntls_fingerprint = "{sha256(der).hexdigest()}"\n')
    with answering(lambda _: b"HTTP/1.1 204 No Content\r\n\r\n", context) as url:
        stopped = shell.run("apply", "c.csv", "--url", url, "-c", "old.toml", "--ledger", "l", **MINAPP)
        assert stopped.returncode == 6
        assert b"tls_fingerprint" in stopped.stderr
        assert shell.run("resume", "l", **MINAPP).returncode == 6
        assert shell.run("resume", "l", "-c", "new.toml", **MINAPP).returncode == 0
    shell.write("other.toml", '[target]\nkind = "minapp"\nurl = "https://127.0.0.1:1"\n')
    refused = shell.run("resume", "l", "-c", "other.toml", **MINAPP)
    assert refused.returncode == 2
    assert b"if this is the same system at another address: --url" in refused.stderr
    noted = shell.run("resume", "l", **MINAPP, BATCHER_CONFIG="other.toml")
    assert noted.returncode == 0
    assert b"ignoring BATCHER_CONFIG" in noted.stderr


def test_no_name_speaks_to_a_terminal(shell):
    """Neither a file's nor one that is in it; what people paste is still the file's name."""
    name = "a\x1b[31m\nbatcher: all is well\n.csv"
    shell.write(name, 'op,user_name,group_name\nadd,"\x1b]0;x\x07",g\nremove,,g\n')
    found = shell.run("apply", name, "--simulate", "--target", "scrutinizer", "--ledger", f"{name}.ledger", "-v")
    for command in (
        ("explain", f"{name}.ledger", "\x1b]0;x\x07", "g"),
        ("plan", name, "--target", "scrutinizer", "--url", "http://127.0.0.1:9"),
    ):
        more = shell.run(*command)
        assert b"\x1b" not in more.stdout + more.stderr
    assert found.returncode == 3
    assert b"\x1b" not in found.stdout + found.stderr
    assert b"\nbatcher: all is well" not in found.stderr
    last = found.stderr.decode().strip().splitlines()[-1]
    pasted = subprocess.run(
        ["bash", "-c", last.replace("batcher ", "printf '%s\\n' ", 1)], capture_output=True, check=True
    )
    assert f"{name}.ledger" in pasted.stdout.decode()


def test_what_a_killed_load_run_has_left_is_removed_by_its_ledgers(shell):
    with shell.simulator() as url:
        flags = ("--arrivals", "50/s", "--duration", "30s", "--changes-per-request", "10", "--clean-up")
        process = shell.start("load", "--url", url, *flags, "--ledger", "a.ledger", "-c", "c.toml", **MINAPP)
        shell.write("c.toml", "[retry]\ngrace_seconds = 0.5\n")
        until(lambda: state_of(url)["changes"] > 100)
        process.kill()
        _, said = process.communicate(timeout=20)
        assert b"batcher load --clean-up a.ledger" in said
        elsewhere = shell.run("load", "--clean-up", "a.ledger", **MINAPP, BATCHER_URL="http://127.0.0.1:9")
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert state_of(url)["groups"] == {}
        again = shell.run("load", "--clean-up", "a.ledger", **MINAPP)
        assert (again.returncode, b"cleaned up already" in again.stderr) == (0, True)
    shell.write("c.csv", CHANGES)
    assert shell.run("apply", "c.csv", "--simulate", "--ledger", "other").returncode == 0
    refused = shell.run("load", "--clean-up", "other", **MINAPP)
    assert refused.returncode == 2
    assert b"is not the ledger of a load run" in refused.stderr


def test_readers_and_copies_of_a_ledger_at_work(shell):
    shell.write("c.csv", "op,user,group\n" + "".join(f"add,{user},1\n" for user in range(3000)))
    shell.write("c.toml", "[limits]\nmax_changes = 10\n")
    with shell.simulator("--latency-ms", "20") as url:
        process = shell.start(
            "apply", "c.csv", "--url", url, "--rate", "none", "--ledger", "l", "-c", "c.toml", **MINAPP
        )
        until((shell.folder / "l").exists)
        until(lambda: state_of(url)["requests"] > 2)
        for _ in range(3):
            assert shell.run("verify", "l").returncode == 0
            assert shell.run("results", "l", "--status", "applied").returncode == 0
        shutil.copyfile(shell.folder / "l", shell.folder / "copy")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    copied = shell.run("verify", "copy")
    assert copied.returncode in {0, 2}
    shell.write("empty", b"")
    assert shell.run("verify", "empty").returncode == 2


def test_a_simulated_word_is_no_secret(shell):
    shell.write("c.csv", "op,user_name,group_name\nadd,simulated,g\n")
    shell.run("apply", "c.csv", "--simulate", "--target", "scrutinizer", "--ledger", "l")
    assert b"***" not in shell.run("results", "l").stdout + shell.run("explain", "l", "simulated", "g").stdout


def test_files_that_hold_people_are_private(shell):
    shell.write("feed.csv", "user,group\n5,53\nx,53\n" + "".join(f"{user},53\n" for user in range(100, 300)))
    flags = ("--state", "s.state", "--simulate", "--ledger")
    assert shell.run("sync", "feed.csv", *flags, "a", "--bootstrap", "--from-nothing").returncode == 3
    assert shell.run("undo", "a", "--simulate", "-o", "u.json").returncode == 0
    assert shell.run("plan", "feed.csv", "--state", "s.state", "--simulate", "-o", "p.json").returncode == 0
    assert shell.run("report", "a").returncode == 0
    assert shell.run("results", "a", "-o", "r.csv").returncode == 0
    shared = {path.name for path in shell.folder.iterdir() if path.is_file() and path.stat().st_mode & 0o077}
    assert shared == {"feed.csv"}
