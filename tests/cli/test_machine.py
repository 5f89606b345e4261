"""Machines that lack something: each is told in a sentence, and what can go on goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess

import pytest
from shell import PROGRAM

from batcher.core.clock import Clock
from batcher.core.errors import LedgerError, StateError
from batcher.core.rate import Meter
from batcher.core.units import Rate
from batcher.files import NoLocksError, lock, shortened
from batcher.host.shared_rate import SharedPacer
from batcher.ledger.writer import LedgerWriter
from batcher.state.holding import hold

STRANGER = 54_321
"""A user of whom the system knows nothing."""


def _as_stranger(folder, *arguments, **environment):
    """Without a name, a home, or the right to write anywhere but where everybody may; it may read the program."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv of util-linux, can be somebody else")
    who = ["--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups"]
    reads = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    known = {"PATH": os.environ["PATH"]}  # it could not write down what of the program was covered
    return subprocess.run(
        ["setpriv", *who, *reads, *PROGRAM, *arguments],
        cwd=folder,
        env=known | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def theirs(shell):
    """A folder of the stranger's, with changes and a feed in it."""
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\nadd,3,4\n")
    shell.write("feed.csv", "user_id,group_id\n1,2\n")
    os.chown(shell.folder, STRANGER, STRANGER)
    for place in shell.folder.parents:
        if place.stat().st_uid == os.geteuid() and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    return shell


NOWHERE = ("--target", "minapp", "--url", "http://127.0.0.1:9", "--max-wait", "1s")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("check", "--target", "minapp", "--url", "http://127.0.0.1:9"), 6),
        (("apply", "two.csv", *NOWHERE, "--ledger", "l"), 6),
        (("sync", "feed.csv", *NOWHERE, "--state", "s", "--bootstrap", "--from-nothing", "--ledger", "l"), 6),
    ],
)
def test_a_user_without_a_home(theirs, command, code):
    done = _as_stranger(theirs.folder, *command, BATCHER_TOKEN="t")
    assert done.returncode == code, done.stderr
    assert b"no home folder" in done.stderr
    assert b"XDG_STATE_HOME" in done.stderr
    if command[0] != "check":
        assert done.stderr.splitlines()[-1] == b"batcher resume l"


def test_a_folder_that_cannot_be_written_to(theirs):
    theirs.folder.chmod(0o555)
    done = _as_stranger(theirs.folder, "apply", "two.csv", "--simulate")
    assert done.returncode == 2
    assert b"Permission denied; use --ledger FOLDER/ to put it elsewhere" in done.stderr
    theirs.folder.chmod(0o700)


def test_names_that_leave_no_room(shell):
    """The default names are made shorter; those that are asked for are refused."""
    name = "张" * 83 + ".csv"  # 253 bytes
    shell.write(name, "op,user_id,group_id\nadd,1,2\n")
    assert shell.run("apply", name, "--simulate").returncode == 0
    (ledger,) = (path.name for path in shell.folder.glob("*.ledger"))
    assert shell.run("undo", ledger, "--simulate", "--target", "minapp").returncode == 0
    assert shell.run("report", ledger).returncode == 0
    assert shell.run("apply", name, "--simulate", "--ledger", "x" * 251).returncode == 2
    for size in (249, 250, 251):
        assert len(os.fsencode(shortened("x" * size, 5))) == min(size, 250)
    assert len(os.fsencode(shortened("张" * 100, 5))) == 249  # no character is cut in two


def test_a_working_folder_that_is_gone(shell):
    gone = shell.folder / "gone"
    gone.mkdir()
    line = 'rmdir "$0" && exec "$@"'
    command = ["sh", "-c", line, str(gone), *PROGRAM, "apply", "two.csv", "--simulate"]
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    done = subprocess.run(command, cwd=gone, env=shell.environment(), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"internal error" not in done.stderr


@pytest.mark.parametrize("most", [14, 20, 63])
def test_too_few_descriptors(shell, most):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    command = ["sh", "-c", f'ulimit -n {most} && exec "$@"', "sh", *PROGRAM, "apply", "two.csv", "--simulate"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment(), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"ulimit -n" in done.stderr


@pytest.mark.parametrize("most", [120, 240, 400, 511])
def test_too_little_memory(shell, most):
    """Refused at once: libraries abort where they get none."""
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    told = _limited(shell, f"-v {most << 10}", "apply", "two.csv", "--simulate", "--ledger", "l")
    assert "ulimit -v 524288" in told
    assert not (shell.folder / "l").exists()


def test_memory_that_is_enough_for_all_but_a_state(shell):
    shell.write("one.csv", "user_id,group_id\n1,2\n")
    told = _limited(
        shell, "-v 1048575", "sync", "one.csv", "--simulate", "--state", "s", "--bootstrap", "--from-nothing"
    )
    assert "ulimit -v 1048576" in told
    assert [path.name for path in shell.folder.iterdir()] == ["one.csv"]
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    command = ["sh", "-c", 'ulimit -v 524288 && exec "$@"', "sh", *PROGRAM, "plan", "two.csv", "--simulate"]
    assert subprocess.run(command, cwd=shell.folder, env=shell.environment(), check=False).returncode == 0


def test_too_few_threads(shell):
    """Not for root, whom Linux does not limit; what the user has already counts, so that one is too few."""
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    as_another = ["setpriv", "--reuid", "54321", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    tried = subprocess.run([*as_another, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this user cannot become another one")
    command = [*as_another, "prlimit", "--nproc=20", *PROGRAM, "apply", "two.csv", "--simulate"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment(), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"may not start enough threads" in done.stderr


def _limited(shell, limit, *arguments):
    command = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", *PROGRAM, *arguments]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment(), capture_output=True, check=False)
    assert done.returncode == 2
    return done.stderr.decode()


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    """It is told as what it is, and no other run is blamed; nor does a run wait for a pace that nobody can share."""

    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(NoLocksError, match="does not support locks"):
        lock(tmp_path / "file", create=True)
    with pytest.raises(LedgerError, match="does not support locks"):
        LedgerWriter.create(tmp_path / "ledger")
    with pytest.raises(StateError, match="does not support locks"):
        hold(tmp_path / "state")
    pacer = SharedPacer(Meter(Rate(5, 1.0), 1, 0.0), None, tmp_path / "pace", Clock(lambda: 5.0, lambda: 5.0))
    assert "does not support locks" in caplog.text
    assert pacer.try_take(5.0, 1).seconds <= 0
    assert pacer.try_take(5.0, 1).seconds > 0
    pacer.close()


@pytest.mark.parametrize(
    "environment",
    [
        {"COLUMNS": "0"},
        {"LANG": "xx_YY", "LC_ALL": "xx_YY"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"TZ": "No/Where"},
        {"HOME": ""},
    ],
)
def test_environments_that_make_no_sense(shell, environment):
    shell.write("two.csv", "op,user_name,group_name\nadd,张,Ä\n")
    apply = ("apply", "two.csv", "--simulate", "--target", "scrutinizer", "--ledger", "l")
    assert shell.run(*apply, **environment).returncode == 0
    assert "张" in shell.run("results", "l", **environment).stdout.decode()
    assert b"no such file" in shell.run("apply", "none.csv", "--simulate", **environment).stderr


def test_names_with_a_dash_before_them(shell):
    """The command that is printed can be pasted."""
    shell.write("-f.csv", "op,user_id,group_id\nadd,1,2\n")
    done = shell.run("apply", "--simulate", "--ledger=-l", "--", "-f.csv")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == b"batcher results ./-l"


@pytest.fixture
def small_disk(shell):
    """A folder on a disk of 64 KiB, and how to make it larger."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a disk")
    place = shell.folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_was_full(shell, small_disk):
    """What could not be made is in nobody's way once there is room; what was good stays until its better is whole."""
    shell.write("many.csv", "op,user_id,group_id\n" + "".join(f"add,{n},1\n" for n in range(30_000)))
    apply = ("apply", "many.csv", "--simulate", "--ledger", "disk/l", "-q")
    assert shell.run(*apply).returncode == 2
    assert not [*(shell.folder / "disk").iterdir()]
    small_disk("40m")
    assert shell.run(*apply).returncode == 0
    shell.run("results", "disk/l", "-o", "disk/r.csv")
    before = shell.read("disk/r.csv")
    used = sum(path.stat().st_size for path in (shell.folder / "disk").iterdir())
    small_disk(f"{used // 1024 + 200}k")
    for command in (("results", "disk/l", "-o", "disk/r.csv"), ("results", "disk/l", "-o", "disk/new.csv")):
        done = shell.run(*command)
        assert done.returncode == 2
        assert b"No space left" in done.stderr
    assert shell.read("disk/r.csv") == before
    assert not (shell.folder / "disk" / "new.csv").exists()


def test_what_is_replaced_keeps_its_mode_and_its_link(shell):
    shell.write("two.csv", "op,user_id,group_id\nadd,1,2\n")
    shell.run("apply", "two.csv", "--simulate", "--ledger", "l")
    shell.write("real.csv", "old")
    (shell.folder / "real.csv").chmod(0o640)
    (shell.folder / "link.csv").symlink_to("real.csv")
    assert shell.run("results", "l", "-o", "link.csv").returncode == 0
    assert (shell.folder / "link.csv").is_symlink()
    assert b"applied" in shell.read("real.csv")
    assert (shell.folder / "real.csv").stat().st_mode & 0o777 == 0o640
    assert b"applied" in shell.run("results", "l", "-o", "/dev/stdout").stdout
