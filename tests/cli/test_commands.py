"""Each command as a user runs it: streams, exit codes, and what comes next."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from shell import state_of, wait

CHANGES = "op,user_id,group_id\nadd,5,53\nadd,6,53\nremove,6,53\nadd,7,54\nadd,nobody,1\n"


def summary(result):
    """Standard output is one JSON object and nothing else."""
    return json.loads(result.stdout)


def last_line(result):
    return result.stderr.decode().strip().splitlines()[-1]


def test_apply_simulated_and_everything_that_can_be_asked_afterwards(shell):
    shell.write("c.csv", CHANGES)
    applied = shell.run("apply", "c.csv", "--simulate", "--ledger", "run.ledger", "--json")
    assert applied.returncode == 3
    told = summary(applied)
    assert told["changes"] == {
        "total": 5,
        "applied": 3,
        "unchanged": 0,
        "superseded": 1,
        "rejected": 1,
        "failed": 0,
        "unknown": 0,
        "pending": 0,
    }
    assert list(told) == [
        "run",
        "target",
        "ledger",
        "exit_code",
        "seconds",
        "input_complete",
        "changes",
        "requests",
        "waited",
        "next",
    ]
    assert told["requests"] == {"sent": 1, "ok": 1, "retried": 0, "split": 0}
    assert shell.run("verify", "run.ledger").returncode == 0
    rows = shell.run("results", "run.ledger", "--status", "rejected,superseded").stdout.decode().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["superseded", "rejected"]
    assert b"line 4: remove: applied" in shell.run("explain", "run.ledger", "6", "53").stdout
    assert (
        json.loads(shell.run("explain", "run.ledger", "6", "53", "--json").stdout)["lines"][0]["decided_by_line"] == 4
    )
    assert shell.run("results", "run.ledger", "-o", "out.parquet").returncode == 0
    again = shell.run("apply", "c.csv", "--simulate", "--ledger", "run.ledger")
    assert again.returncode == 2
    assert b"batcher resume run.ledger" in again.stderr
    assert shell.run("resume", "run.ledger").returncode == 3
    assert shell.run("retry", "run.ledger").returncode == 3


def test_results_never_replace_a_ledger_or_an_input(shell):
    """Both would be gone for good."""
    shell.write("c.csv", CHANGES)
    shell.run("apply", "c.csv", "--simulate", "--ledger", "run.ledger")
    before = (shell.folder / "run.ledger").read_bytes()
    for name, said in (("run.ledger", b"is a ledger"), ("c.csv", b"is an input of this run")):
        result = shell.run("results", "run.ledger", "-o", name)
        assert (result.returncode, said in result.stderr) == (2, True)
    assert (shell.folder / "run.ledger").read_bytes() == before
    assert (shell.folder / "c.csv").read_text() == CHANGES


def test_an_outage_says_why_and_the_ledger_folder_is_made(shell):
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    options = ("--target", "minapp", "--url", "http://127.0.0.1:9", "--rate", "none", "--max-wait", "3s")
    result = shell.run("apply", "c.csv", *options, "--ledger", "ledgers/", BATCHER_TOKEN="t")
    assert result.returncode == 6
    assert b"no request was accepted for 3 s; last reason: no connection: 127.0.0.1:9: " in result.stderr
    assert last_line(result).startswith("batcher resume ledgers/c.csv.")
    assert len(list((shell.folder / "ledgers").iterdir())) == 1
    missing = shell.run("apply", "c.csv", "--simulate", "--ledger", "none/x")
    assert (missing.returncode, b"cannot be written" in missing.stderr) == (2, True)


def test_plan_sends_nothing_and_says_what_would_happen(shell):
    shell.write("c.csv", CHANGES)
    told = summary(shell.run("plan", "c.csv", "--target", "minapp", "--json"))
    assert told["changes"] == {"total": 5, "add": 3, "remove": 1, "rejected": 1, "superseded": 1, "to_send": 3}
    assert (told["requests"], told["rate"]) == (1, "50/min")
    assert told["largest_groups"][0] == {"group": 53, "changes": 2}
    assert told["rejects"][0]["line"] == 6
    assert "user_id" in told["hints"][0]
    refused = shell.run("plan", "c.csv", "--target", "minapp", "--max-removals", "0")
    assert refused.returncode == 5
    assert b"would be refused: removals: 1 removal, guard.max_removals allows 0" in refused.stdout
    mixed = shell.run(
        "plan",
        "-",
        "--target",
        "scrutinizer",
        "--url",
        "https://x",
        stdin=b'{"op":"add","user":5,"group":1}\n{"op":"add","user":"a","group":1}\n',
    )
    assert b"user column holds both ids and names" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("apply", "c.csv"), 2, "--target minapp, scim or scrutinizer"),
        (("apply", "none.csv", "--simulate"), 2, "no such file"),
        (("apply", "c.csv", "--target", "nope"), 2, "available: minapp, scim, scrutinizer"),
        (("apply", "c.csv", "--simulate", "--rate", "fast"), 2, "invalid rate"),
        (("apply", "c.csv", "--simulate", "--map", "user"), 2, "--map 'user'"),
        (
            ("apply", "c.csv", "--simulate", "--max-in-flight", "0"),
            2,
            "max_in_flight = 0 is out of range; expected 1 to 10,000",
        ),
        (("apply", "c.csv", "--simulate", "--strict"), 2, "nothing was sent"),
        (("apply", "c.csv", "--simulate", "--max-removals", "0"), 5, "nothing was sent"),
        (("apply", "-", "c.csv", "--simulate"), 2, "must be the only input"),
        (("apply", "bad.csv", "--simulate"), 2, "no column for the op"),
        (("apply", "c.csv", "-c", "bad.toml", "--simulate"), 2, "did you mean 'margin'"),
        (("apply", "c.csv", "--target", "minapp", "--url", "http://example.org"), 2, "unencrypted"),
        (("apply", "c.csv", "--target", "scrutinizer"), 2, "--url https://"),
        (("resume", "c.csv"), 2, "ledger"),
        (("results", "none.ledger"), 2, "no such ledger"),
        (("results", "c.csv", "--status", "x"), 2, "expected one of pending"),
        (("explain", "none.ledger", "1", "2"), 2, "no such ledger"),
        (("explain", "none.ledger", "\udcff", "2", "--json"), 2, "is not valid text"),
        (("simulate", "--fault", "x"), 2, "--fault 'x'"),
        (("simulate", "--bad-pairs", "5"), 2, "USER:GROUP"),
        (("apply",), 2, "nothing to apply"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_to_do(shell, arguments, code, said):
    """No traceback, no ledger left behind, nothing on standard output."""
    shell.write("c.csv", CHANGES)
    shell.write("bad.csv", "a,b,c\n1,2,3\n")
    shell.write("bad.toml", "[rate]\nmargn = 1\n")
    result = shell.run(*arguments)
    assert result.returncode == code, result.stderr
    assert said in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""
    assert list(shell.folder.glob("*.ledger*")) == []


def test_standard_input_is_spooled_and_the_spool_goes_with_the_end(shell):
    result = shell.run("apply", "-", "--simulate", "--json", stdin=CHANGES.encode())
    assert summary(result)["changes"]["applied"] == 3
    assert [path.suffix for path in sorted(shell.folder.glob("stdin*"))] == [".ledger", ".simulation"]


def test_a_named_pipe_is_read_like_standard_input(shell):
    """Process substitution gives such files."""
    command = f"{sys.executable} -m batcher apply <(cat c.csv) --simulate --json"
    shell.write("c.csv", CHANGES)
    result = subprocess.run(
        ["bash", "-c", command], cwd=shell.folder, env=shell.environment(), capture_output=True, check=False, timeout=60
    )
    assert summary(result)["changes"]["applied"] == 3


def test_check_knows_good_from_bad(shell):
    with shell.simulator("--token", "good-token") as url:
        for kind in ("minapp", "scrutinizer"):
            good = shell.run("check", "--target", kind, "--url", url, BATCHER_TOKEN="good-token")
            assert (good.returncode, b"credentials accepted" in good.stdout) == (0, True)
            bad = shell.run("check", "--target", kind, "--url", url, "--json", BATCHER_TOKEN="bad-token")
            assert (bad.returncode, json.loads(bad.stdout)["ok"]) == (4, False)
        assert state_of(url)["changes"] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert shell.run("check", "--target", "minapp", "--url", url, BATCHER_TOKEN="t").returncode == 6
    assert shell.run("check", "--target", "minapp", "--url", url).returncode == 2


def test_the_login_with_client_id_and_secret(shell):
    """Redirects, cookies and all, over a real socket; the token is renewed when it ends."""
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(60)))
    shell.write("b.toml", "[limits]\nmax_changes = 10\n")
    with shell.simulator("--client-id", "me", "--client-secret", "s3cr3t-value", "--token-uses", "4") as url:
        result = shell.run(
            "apply",
            "c.csv",
            "-c",
            "b.toml",
            "--target",
            "minapp",
            "--url",
            url,
            "--rate",
            "none",
            "--json",
            "-v",
            BATCHER_CLIENT_ID="me",
            BATCHER_CLIENT_SECRET="s3cr3t-value",
        )
        assert result.returncode == 0, result.stderr
        assert len(state_of(url)["groups"]["1"]) == 60


def test_signals_drain_and_say_how_to_go_on(shell):
    """130, the exact command as the last line, and the command works."""
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{n},{n % 7}\n" for n in range(4000)))
    shell.write("b.toml", "[limits]\nmax_changes = 100\n[retry]\ngrace_seconds = 0.1\n")
    with shell.simulator("--latency-ms", "150") as url:
        options = ("-c", "b.toml", "--target", "minapp", "--url", url, "--rate", "none", "--max-in-flight", "2")
        process = shell.start("apply", "c.csv", *options, "--ledger", "my run.ledger", BATCHER_TOKEN="t")
        while state_of(url)["requests"] < 4:
            wait(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 130
        last = stderr.decode().strip().splitlines()[-1]
        assert last == "batcher resume 'my run.ledger'"
        assert b"at any time" in stderr
        held = shell.run("retry", "my run.ledger", BATCHER_TOKEN="t")
        assert (held.returncode, b"batcher resume 'my run.ledger'" in held.stderr) == (2, True)
        resumed = shell.run("resume", "my run.ledger", "--json", "--max-in-flight", "16", BATCHER_TOKEN="t")
        assert resumed.returncode == 0, resumed.stderr
        assert summary(resumed)["changes"]["applied"] == 4000
        assert sum(map(len, state_of(url)["groups"].values())) == 4000
    assert sorted(path.name for path in shell.folder.glob("my run*")) == ["my run.ledger"]


def test_a_second_signal_ends_at_once_and_the_ledger_stays_whole(shell):
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(500)))
    shell.write("b.toml", "[limits]\nmax_changes = 50\n[retry]\ngrace_seconds = 0.1\n")
    with shell.simulator("--latency-ms", "4000") as url:
        process = shell.start(
            "apply",
            "c.csv",
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
            BATCHER_TOKEN="t",
        )
        while state_of(url)["requests"] < 2:
            wait(0.05)
        process.send_signal(signal.SIGTERM)
        wait(0.3)
        started = monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
        assert monotonic() - started < 3
        assert process.returncode == 143, stderr
    assert shell.run("verify", "l").returncode == 0


def test_two_runs_on_one_ledger(shell):
    """The second is refused with 7."""
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    with shell.simulator("--latency-ms", "2000") as url:
        first = shell.start("apply", "c.csv", "--target", "minapp", "--url", url, "--ledger", "l", BATCHER_TOKEN="t")
        while state_of(url)["requests"] < 1:
            wait(0.05)
        second = shell.run("resume", "l", BATCHER_TOKEN="t")
        assert second.returncode == 7
        assert b"another run holds l" in second.stderr
        first.communicate(timeout=30)
        assert first.returncode == 0


def test_no_secret_anywhere_not_even_when_the_target_echoes_it(shell):
    """A byte search over everything that a verbose run leaves and says."""
    secret = "tok-5f1e9c0b7a"
    shell.write("c.csv", "op,user_name,group_name\nadd,eve,staff\nadd,bob,staff\n")
    shell.write("token", secret + "\n")
    shell.write("b.toml", '[auth]\ntoken_file = "token"\n')
    with shell.simulator("--token", secret, "--bad-pairs", f"eve:{secret}") as url:
        outputs = []
        for name in ("apply", "results", "explain", "retry", "check"):
            arguments = {
                "apply": ("c.csv", "-c", "b.toml", "--target", "scrutinizer", "--url", url, "--ledger", "l", "-v"),
                "results": ("l",),
                "explain": ("l", "eve", "staff"),
                "retry": ("l", "-v"),
                "check": ("-c", "b.toml", "--target", "scrutinizer", "--url", url),
            }[name]
            result = shell.run(name, *arguments)
            outputs += [result.stdout, result.stderr]
    left = [path.read_bytes() for path in shell.folder.rglob("*") if path.is_file() and path.name != "token"]
    assert len(left) >= 3
    assert all(secret.encode() not in data for data in [*outputs, *left])


def test_nobody_sees_the_token_in_the_process_list(shell):
    """And an unverified server is not accepted in silence."""
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    shell.write("b.toml", "[target]\ninsecure = true\n")
    with shell.simulator("--latency-ms", "1500") as url:
        options = ("-c", "b.toml", "--target", "minapp", "--url", url, "--ledger", "l")
        process = shell.start("apply", "c.csv", *options, BATCHER_TOKEN="tok-5f1e9c0b7a")
        wait(0.5)
        assert b"tok-5f1e9c0b7a" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"target.insecure: the server at" in said


def test_whoever_stops_reading_does_not_change_the_outcome(shell):
    """A closed standard output is no success."""
    shell.write("c.csv", CHANGES)
    command = f"{sys.executable} -m batcher apply c.csv --simulate --json | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], cwd=shell.folder, env=shell.environment(), capture_output=True, check=True
    )
    assert result.stdout.strip() == b"3"


def test_help_names_every_command(shell):
    text = shell.run("--help").stdout.decode()
    for name in ("apply", "plan", "resume", "retry", "results", "explain", "verify", "check", "simulate"):
        assert f"  {name} " in text
        assert shell.run(name, "--help").returncode == 0
    assert shell.run("apply", "--help").stdout.count(b"--") > 15
