"""Input that was made to hurt: it costs time, never memory, and the good rows beside it are sent."""

from __future__ import annotations

import json
import os

import pytest

MIB = 1 << 20
MOST = 420 * MIB
"""Bytes at the peak of a whole process; a plain run of a million rows takes about 300 MiB."""


def peak(shell, *arguments, **environment):
    """Exit code, summary, what was said, and the peak of the process in bytes."""
    process = shell.execute(*arguments, "--json", **environment)
    stdout, stderr = process.stdout, process.stderr
    out, err = stdout.read(), stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    stdout.close()
    stderr.close()
    assert b"Traceback" not in err, err
    return process.returncode, json.loads(out) if out else None, err.decode(), usage.ru_maxrss * 1024


SIMULATED = ("--target", "minapp", "--simulate", "--ledger", "l")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["c.csv", "c.jsonl"])
def test_a_gigabyte_in_one_line(shell, name):
    good = "add,{},1\n" if name == "c.csv" else '{{"op":"add","user":{},"group":1}}\n'
    with (shell.folder / name).open("wb") as file:
        file.write(b"op,user_id,group_id\n" * (name == "c.csv") + good.format(1).encode())
        for _ in range(1024):
            file.write(b"x" * MIB)
        file.write(b"\n" + good.format(2).encode())
    code, told, _, most = peak(shell, "apply", name, *SIMULATED)
    assert (code, told["changes"]["applied"], told["changes"]["rejected"]) == (3, 2, 1)
    assert most < MOST


def test_a_million_columns(shell):
    """In the header they are refused, in a row they are a rejected line."""
    many = ",".join(f"c{n}" for n in range(1_000_000))
    shell.write("c.csv", f"op,user_id,group_id,{many}\nadd,1,1\nadd,2,1{',' * 1_000_000}\n")
    code, told, said, most = peak(shell, "apply", "c.csv", *SIMULATED)
    assert (code, told) == (2, None)
    assert "1000003 columns, at most 10000" in said
    shell.write("d.csv", f"op,user_id,group_id\nadd,1,1\nadd,2,1,{many}\nadd,3,1\n")
    code, told, _, most_again = peak(shell, "apply", "d.csv", *SIMULATED[:-1], "m")
    assert (code, told["changes"]["applied"], told["changes"]["rejected"]) == (3, 2, 1)
    assert max(most, most_again) < MOST


def test_an_op_of_ten_to_the_tenth_pairs(shell):
    """It unfolds as it is sent; the deadline ends it, and the ledger holds what was done."""
    many = list(range(1, 100_001))
    shell.write("c.jsonl", json.dumps({"op": "add", "users": many, "groups": many}) + "\n")
    with shell.simulator() as url:
        options = ("--target", "minapp", "--url", url, "--rate", "none", "--deadline", "4s", "--ledger", "l")
        code, told, said, most = peak(shell, "apply", "c.jsonl", *options, BATCHER_TOKEN="t")
    assert code == 6, said
    assert told["changes"]["applied"] > 0
    assert not told["input_complete"]
    assert most < MOST
