"""What the disk and the files can do to a run: a clear error, the right exit code, and nothing lost that was there."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess

import pytest
from shell import PROGRAM

ROWS = "".join(f"add,{number},{number % 7}\n" for number in range(20_000))


def limited(shell, blocks, *arguments):
    """Run with files bounded to so many KiB, as on a disk that is full; what measures coverage has no room there."""
    environment = {name: value for name, value in shell.environment().items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "_", *PROGRAM, *arguments],
        cwd=shell.folder,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


def no_traceback(done):
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text


@pytest.mark.parametrize("blocks", [60, 150, 300])
def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(shell, blocks):
    """Ids at random, which no ledger holds in less than four bytes each: none fits, however few its commits."""
    ids = random.Random(blocks).sample(range(1 << 48), k=100_000)
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{user},{user % 7}\n" for user in ids))
    options = ("-c", "b.toml", "--target", "minapp", "--rate", "none", "--ledger", "l")
    with shell.simulator() as url:
        shell.write("b.toml", f'[limits]\nmax_changes = 500\n[target]\nurl = "{url}"\n[auth]\ntoken_file = "t"\n')
        shell.write("t", "any\n")
        (shell.folder / "t").chmod(0o600)
        done = limited(shell, blocks, "apply", "c.csv", *options)
        said = no_traceback(done)
        assert done.returncode == 6, said
        assert "batcher resume l" in said.splitlines()[-1]
        done = shell.run("resume", "l", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"]["applied"] == len(ids)
    assert shell.run("verify", "l").returncode == 0


def test_the_embedded_server_without_room_says_so(shell):
    """Its requests are refused until there is room; the run waits as for any outage, and goes on afterwards."""
    shell.write("c.csv", "op,user_id,group_id\n" + "".join(f"add,{user + 10**17},1\n" for user in range(20_000)))
    options = ("--target", "minapp", "--simulate", "--max-wait", "1s", "--ledger", "l")
    done = limited(shell, 200, "apply", "c.csv", *options)
    said = no_traceback(done)
    assert done.returncode == 6, said
    assert "cannot keep its memberships" in said
    assert "l.simulation" in said
    done = shell.run("resume", "l", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"]["applied"] == 20_000


def test_a_ledger_where_nothing_can_be_written(shell):
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    done = shell.run("apply", "c.csv", "--target", "minapp", "--simulate", "--ledger", "/proc/a.ledger")
    assert done.returncode == 2
    assert "/proc/a.ledger" in no_traceback(done)


def test_an_input_that_is_gone(shell):
    """Nothing of what is recorded changes; when it is back, the run goes on."""
    shell.write("c.csv", "op,user_id,group_id\n" + ROWS)
    shell.write("b.toml", '[guard]\ndeadline = "1s"\n')
    options = ("-c", "b.toml", "--target", "minapp", "--simulate", "--rate", "1/s", "--ledger", "l")
    assert shell.run("apply", "c.csv", *options).returncode == 6
    (shell.folder / "c.csv").rename(shell.folder / "d.csv")
    before = shell.run("results", "l").stdout
    done = shell.run("resume", "l")
    said = no_traceback(done)
    if done.returncode == 2:  # else every window was in the ledger already, and the input is not needed any more
        assert "c.csv" in said
        assert shell.run("results", "l").stdout == before
        (shell.folder / "d.csv").rename(shell.folder / "c.csv")
        assert shell.run("resume", "l", "--rate", "none").returncode == 0


@pytest.mark.parametrize("damage", ["truncated", "scribbled", "empty", "text"])
def test_a_damaged_ledger_is_said_to_be_one_by_every_command(shell, damage):
    shell.write("c.csv", "op,user_id,group_id\n" + ROWS)
    assert shell.run("apply", "c.csv", "--target", "minapp", "--simulate", "--ledger", "l").returncode == 0
    path = shell.folder / "l"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "truncated":
        content = content[:middle]
    elif damage == "scribbled":
        content[4096:middle] = os.urandom(middle - 4096)
    else:
        content = bytearray(b"" if damage == "empty" else b"not a ledger\n" * 1000)
    path.write_bytes(content)
    for command in (["results", "l"], ["resume", "l"], ["retry", "l"], ["verify", "l"], ["explain", "l", "1", "1"]):
        done = shell.run(*command)
        said = no_traceback(done)
        assert done.returncode in {2, 8}, (command, done.returncode, said)
        assert "l" in said


def test_standard_input_that_ends_early_and_archives_that_break(shell):
    """The good rows are kept, the run says what happened, and its exit code says that it is not whole."""
    whole = gzip.compress(b"op,user_id,group_id\n" + ROWS.encode())
    shell.write("c.csv.gz", whole[: len(whole) // 2])
    done = shell.run("apply", "c.csv.gz", "--target", "minapp", "--simulate", "--ledger", "l")
    said = no_traceback(done)
    assert done.returncode in {2, 6}, said
    assert "c.csv.gz" in said
    shell.write("c.csv.gz", whole)
    command = ["resume", "l"] if done.returncode == 6 else ["apply", "c.csv.gz", "--target", "minapp", "--simulate"]
    done = shell.run(*command, "--json")
    assert json.loads(done.stdout)["changes"]["applied"] == 20_000
    half = b"op,user_id,group_id\nadd,1,1\nadd,2,1\nadd,3"
    done = shell.run("apply", "-", "--target", "minapp", "--simulate", "--ledger", "m", "--json", stdin=half)
    told = json.loads(done.stdout)
    assert done.returncode == 3
    assert (told["changes"]["applied"], told["changes"]["rejected"]) == (2, 1)
