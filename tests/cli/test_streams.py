"""Whatever the three standard streams are, a command does what it is for, and ends with a code that is documented."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys

import pytest
from shell import PROGRAM

FULL = "/dev/full"
WORST = [("<&-", ">&-", "2>&-"), ("", f">{FULL}", f"2>{FULL}")]
ALONE = [("<&-", "", ""), ("", ">&-", "")]
OTHERS = [
    streams
    for streams in itertools.product(("", "<&-"), ("", ">&-", f">{FULL}"), ("", "2>&-", f"2>{FULL}"))
    if any(streams) and streams not in WORST + ALONE
]
every = pytest.mark.parametrize(
    "streams",
    [
        *WORST,
        *(pytest.param(streams, marks=pytest.mark.thorough) for streams in ALONE),
        *(pytest.param(streams, marks=pytest.mark.slow) for streams in OTHERS),
    ],
    ids=" ".join,
)


def _run(shell, streams, *arguments, **more):
    """By a shell, as a job's line in a crontab may say it."""
    redirected = ["sh", "-c", f'exec "$@" {" ".join(streams)}', "sh", *PROGRAM, *arguments]
    return subprocess.run(
        redirected,
        cwd=shell.folder,
        env=shell.environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def _reading(streams) -> int:
    """The code of a command that is there for its output."""
    return 2 if f">{FULL}" in streams else 0


@every
def test_a_run_ends_as_it_would_and_what_follows_happens(shell, streams):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\nadd,3,4\n")
    after = ("--metrics-file", "m.prom", "--run-after", "cat > after.json", "--log-file", "l.jsonl")
    assert _run(shell, streams, "apply", "two.csv", "--simulate", "--ledger", "l", *after).returncode == 0
    assert json.loads(shell.read("after.json"))["changes"]["applied"] == 2
    assert b"batcher_exit_code 0.0" in shell.read("m.prom")
    assert b"ended with 0" in shell.read("l.jsonl")
    shell.write("bad.csv", "op,user_id,group_id\nadd,x,2\n")
    assert _run(shell, streams, "apply", "bad.csv", "--simulate", "--ledger", "b", *after).returncode == 3
    assert b"batcher_exit_code 3.0" in shell.read("m.prom")
    assert _run(shell, streams, "apply", "none.csv", "--simulate", "--ledger", "n", *after).returncode == 2
    assert json.loads(shell.read("after.json"))["exit_code"] == 2
    assert _run(shell, streams, "results", "l").returncode == _reading(streams)
    assert _run(shell, streams, "results", "l", "-o", "r.csv").returncode == 0
    assert shell.read("r.csv").count(b"applied") == 2
    assert _run(shell, streams, "verify", "l").returncode == _reading(streams)
    assert _run(shell, streams, "explain", "l", "1", "2", "--json").returncode == _reading(streams)
    assert _run(shell, streams, "report", "l").returncode == 0
    assert (shell.folder / "l.html").stat().st_size > 1000


@every
def test_feeds_plans_loads_and_checks(shell, streams):
    shell.write("feed.csv", "user_id,group_id\n1,2\n")
    first = ("--simulate", "--bootstrap", "--from-nothing", "--run-after", "cat > after.json")
    assert _run(shell, streams, "sync", "feed.csv", "--state", "s", "--ledger", "l", *first).returncode == 0
    assert json.loads(shell.read("after.json"))["changes"]["applied"] == 1
    plan = _run(shell, streams, "plan", "feed.csv", "--state", "s", "--simulate", "-o", "plan.json")
    assert plan.returncode == _reading(streams)
    assert json.loads(shell.read("plan.json"))["command"] == "sync"
    load = ("load", "--simulate", "--closed", "--requests", "3", "--duration", "5s", "--ledger", "o", "-o", "o.json")
    assert _run(shell, streams, *load).returncode == 0
    assert json.loads(shell.read("o.json"))["requests"]["ok"] == 3
    unreachable = ("check", "--target", "minapp", "--url", "http://127.0.0.1:9")
    assert _run(shell, streams, *unreachable, BATCHER_TOKEN="t").returncode == 6
    assert _run(shell, streams, "--help").returncode == _reading(streams)
    assert _run(shell, streams, "apply", "--no-such-flag").returncode == 2


def test_closed_standard_input_is_not_an_empty_one(shell):
    """What cannot be read never means nothing: a feed of it would remove everybody."""
    for command in (("apply", "-"), ("plan", "-"), ("sync", "-", "--state", "s", "--bootstrap", "--from-nothing")):
        result = _run(shell, ("<&-",), *command, "--simulate")
        assert result.returncode == 2
        assert b"standard input is closed" in result.stderr


def test_the_last_word_says_why_output_is_missing(shell):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    told = _run(shell, (f">{FULL}",), "apply", "two.csv", "--simulate", "--ledger", "l").stderr.decode()
    assert "standard output cannot be written: No space left on device" in told
    assert told.splitlines()[-1] == "batcher results l"


@pytest.mark.parametrize("command", [("results", "l"), ("plan", "many.csv", "--simulate"), ("--help",)])
def test_a_reader_who_leaves_is_no_fault(shell, command):
    shell.write("many.csv", "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(20_000)))
    shell.run("apply", "many.csv", "--simulate", "--ledger", "l", "-q")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, *command],
        cwd=shell.folder,
        env=shell.environment(),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert b"cannot be written" not in done.stderr


def test_streams_that_others_made_non_blocking(shell):
    """A shell's other jobs share them; nothing yet is not the end."""
    shell.write(
        "slow.py",
        "import time\nfor line in ('op,user_id,group_id', 'add,1,1', 'add,2,1'):\n"
        "    print(line, flush=True)\n    time.sleep(0.5)\n",
    )
    shell.write(
        "wrap.py",
        "import os, sys\nos.set_blocking(0, False)\nos.set_blocking(1, False)\nos.execv(sys.argv[1], sys.argv[1:])\n",
    )
    line = f'"{sys.executable}" slow.py | "{sys.executable}" wrap.py "$@"'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, "plan", "-", "--simulate"],
        cwd=shell.folder,
        env=shell.environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"2 changes")


def test_a_locale_that_lacks_characters(shell):
    """Text becomes escapes, JSON is UTF-8 always."""
    shell.write("names.csv", "op,user_name,group_name\nadd,张三,Öl\n")
    apply = ("apply", "names.csv", "--simulate", "--target", "scrutinizer", "--ledger", "l")
    assert shell.run(*apply, PYTHONIOENCODING="latin-1").returncode == 0
    told = shell.run("explain", "l", "张三", "Öl", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(told.stdout)["user"] == "张三"
    assert shell.run("explain", "l", "张三", "Öl", PYTHONIOENCODING="ascii").returncode == 0
    assert "张三" in shell.run("results", "l", PYTHONIOENCODING="ascii").stdout.decode()


def test_a_reader_who_does_not_read_holds_nothing_up(shell):
    """Standard output and error are one pipe that is full already; what follows a run happens all the same."""
    shell.write("bad.csv", "op,user_id,group_id\nadd,1,2\n" + "add,x,2\n" * 10)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    after = ("--metrics-file", "m.prom", "--run-after", "touch after", "--ledger", "l")
    with subprocess.Popen(
        [*PROGRAM, "apply", "bad.csv", "--simulate", *after],
        cwd=shell.folder,
        env=shell.environment(),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    ) as run:
        os.close(writer)
        while not (shell.folder / "after").exists():
            assert run.poll() is None
        assert b"batcher_exit_code 3.0" in shell.read("m.prom")
        with os.fdopen(reader, "rb") as read:
            told = read.read().lstrip(b"\0").decode()
        assert run.wait(30) == 3
    assert told.splitlines()[-1] == "batcher results l"
    assert "11 changes: 1 applied · 10 rejected" in told


def test_the_command_that_goes_on_is_the_last_line(shell):
    shell.write("one.csv", "op,user_id,group_id\nadd,1,2\n")
    hooks = ("--metrics-file", "m.prom", "--run-after", "exit 7")
    told = shell.run("apply", "one.csv", "--simulate", "--ledger", "l", *hooks).stderr.decode().splitlines()
    assert "the run_after command exited with 7" in told[-3]
    assert told[-1] == "batcher results l"


def test_what_nobody_reads_is_kept_for_a_while_and_then_lost():
    """Sixteen pages fit into a pipe, as many are kept; of a line that is lost in part nothing is shown."""
    script = (
        "import os, sys\nfrom batcher import streams\nstreams.open_all()\n"
        "for n in range(40_000):\n    print(f'line {n}', file=sys.stderr)\nprint(flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.readline()
        *lines, last = run.stderr.read().decode().splitlines()
    assert last == "line 39999"
    lost = next(number for number, line in enumerate(lines) if line.startswith("..."))
    assert lines[:lost] == [f"line {n}" for n in range(lost)]
    kept = [int(line.removeprefix("line ")) for line in [*lines[lost + 1 :], last]]
    assert kept == list(range(kept[0], 40_000))
    assert kept[0] > lost


@pytest.mark.parametrize(
    ("flag", "value"), [("--settle", "1s"), ("--min-age", "1s"), ("--max-age", "1h"), ("--done-file", "{name}.done")]
)
def test_what_only_a_file_can_tell_is_not_passed_over_on_a_stream(shell, flag, value):
    """Standard input and a pipe of a name; an override could say nothing that is true of them."""
    state = ("--state", "s", "--bootstrap", "--from-nothing")
    os.mkfifo(shell.folder / "pipe")
    with subprocess.Popen(["sh", "-c", "echo op,user_id,group_id > pipe"], cwd=shell.folder) as writer:
        commands = [("apply", "-"), ("sync", "-", *state), ("plan", "-"), ("plan", "-", *state), ("apply", "pipe")]
        for command in commands:
            done = shell.run(*command, "--simulate", flag, value, stdin=b"op,user_id,group_id\nadd,1,2\n")
            assert done.returncode == 2
            assert f"guard.{flag[2:].replace('-', '_')} cannot be checked" in done.stderr.decode()
        writer.wait(10)
    assert {path.name for path in shell.folder.iterdir()} <= {"pipe", "state"}
