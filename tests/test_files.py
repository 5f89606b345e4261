"""Files are written completely or not at all, and are private from the first byte on; locks survive replaced files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from batcher import files
from batcher.core.errors import ConfigurationError, LedgerHeldError
from batcher.simulator.behaviour import Behaviour
from batcher.simulator.journal import opened
from batcher.simulator.server import serve
from batcher.small_files import read_small
from batcher.source.spool import Spool, was_whole
from batcher.state.holding import hold, lock_file
from batcher.state.store import Binding, StateStore


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("most", [1, 2, 9, 10, 11])
def test_a_write_that_takes_less_is_gone_on_with(most):
    taken = []

    def write(data):
        taken.append(data[:most])
        return len(data[:most])

    files.write_whole(write, b"0123456789")
    assert b"".join(taken) == b"0123456789"


def test_a_write_that_takes_nothing_is_an_error():
    with pytest.raises(OSError, match="does not accept more data"):
        files.write_whole(lambda _: None, b"x")


def test_a_spool_that_was_cut_behind_its_back_is_not_whole(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.append(b"add,1,2\nadd,3,4\n")
    os.truncate(spool.path, 11)
    with pytest.raises(OSError, match="11 of 16 bytes"):
        spool.close()
    spool.release()
    assert not was_whole(spool.path)


def test_a_library_that_makes_its_files_itself_makes_them_in_private(tmp_path):
    path = tmp_path / "it's"
    path.write_text("before")
    path.chmod(0o644)
    with files.replaced_privately(path) as made:
        assert mode(made.parent) == 0o700
        made.write_text("after")
        made.chmod(0o644)
        assert path.read_text() == "before"
    assert (path.read_text(), mode(path), list(tmp_path.iterdir())) == ("after", 0o600, [path])


def test_nothing_is_left_of_what_was_not_finished(tmp_path):
    with pytest.raises(FileNotFoundError), files.replaced_privately(tmp_path / "x") as made:
        made.with_name("half").write_text("half")
    assert not list(tmp_path.iterdir())


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path):
    with files.open_private(tmp_path / "new", "wb") as file:
        file.write(b"x")
    (tmp_path / "old").touch(0o644)
    (tmp_path / "old").chmod(0o640)
    with files.open_private(tmp_path / "old", "wb") as file:
        file.write(b"x")
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o600, 0o640)


@pytest.mark.parametrize(("size", "is_read"), [(9, True), (10, True), (11, False)])
def test_what_is_to_be_small_is_read_within_bounds(tmp_path, size, is_read):
    (tmp_path / "x").write_bytes(b"x" * size)
    if is_read:
        assert len(read_small(tmp_path / "x", 10)) == size
    else:
        with pytest.raises(ConfigurationError, match="is larger than"):
            read_small(tmp_path / "x", 10)


def test_what_never_ends_is_not_read_for_ever():
    with pytest.raises(ConfigurationError, match="is larger than"):
        read_small(Path("/dev/zero"))


def test_a_lock_file_that_was_replaced_is_not_what_others_lock(tmp_path):
    """Locking a file that is removed at that moment must not succeed, as others could hold the lock as well."""
    path = tmp_path / "lock"
    first = files.lock(path, create=True)
    path.unlink()
    second = files.lock(path, create=True)
    assert first is not None
    assert second is not None
    assert not files.is_same(path, first)
    assert files.is_same(path, second)
    assert files.lock(path, create=True) is None
    os.close(second)
    third = files.lock(path, create=True)
    assert third is not None
    for descriptor in (first, third):
        os.close(descriptor)


def test_a_refused_bootstrap_touches_nothing_of_the_running_one(tmp_path):
    from batcher.engine.sync.locked_state import LockedState  # noqa: PLC0415 — what this test is about

    state, binding = tmp_path / "hr.state", Binding("minapp", "https://x", "")
    with LockedState(state, binding, is_new=True) as running:
        with pytest.raises(LedgerHeldError), LockedState(state, binding, is_new=True):
            pass
        assert lock_file(state).exists()
        with pytest.raises(LedgerHeldError), LockedState(state, binding, is_new=True):
            pass
        running.keep()
    with StateStore.open(state, binding):
        pass
    assert not (tmp_path / "hr.state.new").exists()


def test_a_reader_does_not_keep_a_run_from_a_state(tmp_path):
    """A reader holds it only while copying it, and a run waits for that; a reader does not wait for a run."""
    path = tmp_path / "x.state"
    descriptor = hold(path)
    with pytest.raises(LedgerHeldError):
        hold(path)
    os.close(descriptor)


async def test_a_file_that_is_no_journal_keeps_its_last_line(tmp_path):
    """And nothing is left in a journal of a line that could not be written."""
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir,\nwithout an end")
    with pytest.raises(ConfigurationError, match="not a journal"):
        async with serve(Behaviour(), journal=letter):
            pass
    assert letter.read_text() == "Dear Sir,\nwithout an end"


def test_a_journal_is_held_by_one_server(tmp_path):
    with opened(tmp_path / "j") as journal:
        assert list(journal.lines()) == []
        journal.append(b"[true,[1],[2]]\n")
        with pytest.raises(LedgerHeldError), opened(tmp_path / "j"):
            pass
    with opened(tmp_path / "j") as journal:
        assert list(journal.lines()) == [b"[true,[1],[2]]\n"]
