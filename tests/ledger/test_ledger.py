"""The ledger's file: whole, locked, readable by anybody, and clear about what it is not."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet
import pytest
from harness import Play, Target, final_state, settings_for
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.clock import Stamp
from batcher.core.errors import LedgerError, LedgerHeldError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.engine.jobs.job import check_new, settings_of
from batcher.ledger import arrays
from batcher.ledger.history import story
from batcher.ledger.reader import LedgerReader
from batcher.ledger.results import write_results
from batcher.ledger.schema import VERSION
from batcher.ledger.verify import differences
from batcher.ledger.writer import LedgerWriter
from batcher.simulator.behaviour import Behaviour, Fault

MIXED = [("add", 5, 53), ("remove", "=cmd", 53), ("add", 5, 53), ("x", 1, 1), ("add", 'q"u,o te', "g")]
_NOBODY = 65534
PLAIN = [("add", 5, 53), ("add", 6, 53), ("remove", 6, 53), ("add", 7, 54)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_arrays_come_back_as_they_were(values):
    column = np.array(values, np.int64)
    assert arrays.unpack_ints(arrays.pack_ints(column)).tolist() == values
    if all(abs(value) < 2**60 for value in values):
        assert arrays.unpack_steps(arrays.pack_steps(column)).tolist() == values


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 5000])
def test_arrays_of_any_size_come_back_as_they_were(count):
    """n−1, n, n+1 of the bytes from which a blob is compressed, and columns that are the same throughout."""
    for column in (np.arange(count) % 100, np.full(count, 7), np.full(count, -(2**63))):
        assert arrays.unpack_ints(arrays.pack_ints(column)).tolist() == column.tolist()
    text = "x" * count
    assert arrays.unpack_json(arrays.pack_json(text)) == text


def test_clean_columns_are_small():
    """A million line numbers take next to nothing."""
    assert len(arrays.pack_steps(np.arange(2, 1_000_002))) < 500


@pytest.fixture
def played(tmp_path):
    """A finished run with one refused pair."""

    def make(changes, kind="scrutinizer", **behaviour):
        play = Play(tmp_path, Target(Behaviour(**behaviour)), settings_for(kind))
        play.apply(changes)
        return play

    return make


def results(path, kind="csv", statuses=(), **options):
    out = io.BytesIO()
    with LedgerReader(path) as reader:
        write_results(reader, out, kind, list(statuses), **options)
    return out.getvalue()


def test_one_file_readable_by_its_owner_only(played, tmp_path):
    play = played(PLAIN, "minapp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changes.jsonl", "run.ledger"]
    assert play.ledger.stat().st_mode & 0o777 == 0o600


def test_results_in_input_order(played):
    lines = list(
        csv.DictReader(results(played(PLAIN, "minapp", bad_users=frozenset({7})).ledger).decode().splitlines())
    )
    assert list(lines[0]) == [
        "op",
        "user",
        "group",
        "status",
        "detail",
        "source",
        "line",
        "attempts",
        "http_status",
        "batch",
        "settled_at",
    ]
    assert [(r["op"], r["user"], r["group"], r["status"]) for r in lines] == [
        ("add", "5", "53", "applied"),
        ("add", "6", "53", "superseded"),
        ("remove", "6", "53", "applied"),
        ("add", "7", "54", "failed"),
    ]
    assert lines[1]["detail"] == "superseded by line 3"
    assert lines[1]["attempts"] == "0"
    assert lines[3]["detail"] == "400: user 7 does not exist"
    assert lines[3]["http_status"] == "400"
    assert int(lines[3]["attempts"]) >= 2
    assert lines[0]["settled_at"].startswith("2027-01-15T08:00:")


def test_a_run_with_both_forms_has_columns_for_both(played):
    play = played(MIXED)
    rows = list(csv.DictReader(io.StringIO(results(play.ledger).decode())))
    assert list(rows[0])[:5] == ["op", "user_id", "user_name", "group_id", "group_name"]
    assert [(r["user_id"], r["user_name"]) for r in rows] == [
        ("5", ""),
        ("", "=cmd"),
        ("5", ""),
        ("", ""),
        ("", 'q"u,o te'),
    ]
    assert rows[3]["status"] == "rejected"
    assert "neither add nor remove" in rows[3]["detail"]


@pytest.mark.parametrize("changes", [PLAIN, MIXED, [("add", "a", "b"), ("remove", "=c", "b")]])
def test_csv_can_be_fed_to_apply_again(played, tmp_path, changes):
    """And means the same."""
    again = tmp_path / "again"
    again.mkdir()
    (again / "results.csv").write_bytes(results(played(changes).ledger))
    play = Play(again, Target(), settings_for("scrutinizer"))
    play.apply_files(again / "results.csv")
    assert play.target.members() == final_state(c for c in changes if c[0] != "x")


def test_other_formats_hold_the_same(played, tmp_path):
    play = played(MIXED)
    lines = [orjson.loads(line) for line in results(play.ledger, "jsonl").splitlines()]
    path = tmp_path / "results.parquet"
    path.write_bytes(results(play.ledger, "parquet"))
    assert pyarrow.parquet.read_table(path).to_pylist() == lines
    assert [line["status"] for line in lines] == ["superseded", "applied", "applied", "rejected", "applied"]
    only = results(play.ledger, "jsonl", [Status.REJECTED])
    assert [orjson.loads(line)["line"] for line in only.splitlines()] == [4]


def test_formulas_are_neutralised_for_spreadsheets(played):
    ledger = played(MIXED).ledger
    assert b"'=cmd" in results(ledger, for_spreadsheet=True)
    assert b"'=cmd" not in results(ledger)


def test_the_story_of_a_pair(played):
    play = played([*PLAIN, ("add", "6", 53)], bad_users=frozenset({7}))
    with LedgerReader(play.ledger) as reader:
        told = story(reader, "6", "53")
        assert [(r["line"], r["op"], r["status"]) for r in told] == [
            (2, "add", "superseded"),
            (3, "remove", "applied"),
            (5, "add", "applied"),
        ]
        assert told[0]["decided_by_line"] == 3
        assert told[1]["settled"][0]["attempts"][0]["http_status"] == 200
        assert story(reader, "7", "54")[0]["settled"][0]["detail"] == "Error: user 7 does not exist"
        assert story(reader, "nobody", "53") == []


def test_a_ledger_agrees_with_itself_until_somebody_meddles(played):
    play = played(PLAIN)
    with LedgerReader(play.ledger) as reader:
        assert differences(reader) == []
    for meddling, said in [
        ("UPDATE tally SET changes = changes + 1 WHERE status = 1", "changes as applied"),
        ("UPDATE window SET first_row = 9", "starts at row 9, not 0"),
        (
            "INSERT INTO settlement SELECT 99, window, batch, at, lost_at, rows, status, details, history, lost_mark,"
            " receipts FROM settlement",
            "settled before",
        ),
        ("UPDATE window SET action = x'00'", "is damaged"),
    ]:
        with sqlite3.connect(play.ledger) as connection:
            connection.execute(meddling)
        connection.close()
        with LedgerReader(play.ledger) as reader:
            assert any(said in line for line in differences(reader)), said


def test_what_is_no_ledger(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"hello" * 1000)
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    before = other.read_bytes()
    for path, said in [(text, "ledger"), (other, "is not a ledger"), (tmp_path / "none", "no such ledger")]:
        with pytest.raises(LedgerError, match=said):
            LedgerReader(path)
    with pytest.raises(LedgerError, match="is not a ledger"):
        LedgerWriter.create(other)
    assert other.read_bytes() == before
    with pytest.raises(LedgerError, match="cannot be written"):
        LedgerWriter.create(tmp_path / "folder" / "x")


@pytest.mark.parametrize(("change", "age"), [(-4, "an older"), (1, "a newer")])
def test_a_ledger_of_another_format(played, change, age):
    """They may be sound ledgers, and nobody calls them damaged."""
    play = played(PLAIN)
    with sqlite3.connect(play.ledger) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + change}")
    connection.close()
    with pytest.raises(LedgerError, match=f"{age} batcher; use that version"):
        LedgerReader(play.ledger)


def test_one_at_a_time_and_readers_in_between(played):
    play = played(PLAIN)
    writer = LedgerWriter.open(play.ledger)
    with pytest.raises(LedgerHeldError, match="another run holds"):
        LedgerWriter.open(play.ledger)
    assert results(play.ledger)
    writer.close()
    LedgerWriter.open(play.ledger).close()


def test_a_created_ledger_without_a_run_is_simply_used(tmp_path):
    path = tmp_path / "run.ledger"
    path.touch()
    LedgerWriter.create(path).close()
    play = Play(tmp_path, Target(), settings_for("minapp"))
    assert play.apply(PLAIN).exit_code == 0


def test_what_a_killed_run_left_can_be_read_where_nothing_may_be_written():
    """The log beside the file is read too. Root may write anywhere, so root becomes somebody else for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        play = Play(folder, Target(answer=lambda *_: Response(402)), settings_for("minapp"))
        play.apply(PLAIN)
        script = (
            "import os, sys; from pathlib import Path; from batcher.ledger.writer import LedgerWriter\n"
            "w = LedgerWriter.open(Path(sys.argv[1])); w.set_fact('mark', 'here'); os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", script, str(play.ledger)], check=False)
        assert (folder / "run.ledger-wal").stat().st_size > 0
        (folder / "run.ledger-shm").unlink()
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(_NOBODY)
        try:
            with pytest.raises(PermissionError):
                (folder / "new").touch()
            with LedgerReader(play.ledger) as reader:
                assert reader._opened.copy is not None
                assert reader.facts()["mark"] == "here"
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o700)


def test_no_token_in_the_settings_of_a_ledger(played):
    play = played(PLAIN)
    with LedgerReader(play.ledger) as reader:
        assert "a-token" not in repr(reader.facts())


@pytest.mark.parametrize("lossy", [True, False])
def test_a_ledger_of_the_version_before_is_read_and_gone_on_with(tmp_path, lossy):
    """People have them. Read as they are; brought to the present version, all at once, by whoever goes on."""
    behaviour = Behaviour(faults=(Fault("drop-after", 0.4),) if lossy else (), bad_users=frozenset([7]))
    play = Play(tmp_path, Target(behaviour), settings_for("minapp", limits_max_changes=4, retry_base_seconds=0.1))
    before = play.apply([("add", user, 1) for user in range(20)])
    with closing(sqlite3.connect(play.ledger)) as connection:
        connection.execute("ALTER TABLE window DROP COLUMN given")
        connection.execute("ALTER TABLE settlement DROP COLUMN receipts")
        connection.execute("ALTER TABLE settlement DROP COLUMN lost_mark")
        connection.execute("ALTER TABLE session DROP COLUMN ended_mark")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    with LedgerReader(play.ledger) as reader:
        assert differences(reader) == []
        assert reader.tally() == before.changes
        assert all(session.ended_mark == Stamp(session.ended) for session in reader.sessions())
        assert bool(list(reader.losses(lambda _: 0.0, 1.0))) is lossy
    play.target.world.behave(Behaviour())
    after = play.retry()
    assert after.exit_code == 0
    with closing(sqlite3.connect(play.ledger)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_whoever_is_killed_while_a_ledger_is_made_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    """Its files as they are before each statement; the last are those of a ledger that has no run yet."""
    path, copies = tmp_path / "ledger", []

    def copied(*_):
        folder = tmp_path / f"{len(copies)}"
        folder.mkdir()
        for part in tmp_path.glob("ledger*"):
            shutil.copyfile(part, folder / part.name)
        copies.append(folder / "ledger")

    class Traced(sqlite3.Connection):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.set_trace_callback(copied)

    genuine = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *arguments, **more: genuine(*arguments, factory=Traced, **more))
    LedgerWriter.create(path).close()
    copied()
    monkeypatch.undo()
    assert len({tuple(copy.parent.iterdir()) for copy in copies}) > 2
    for copy in copies:
        check_new(copy)
        with pytest.raises(LedgerError, match=r"holds no run|no such ledger"):
            settings_of(copy)
        ledger = LedgerWriter.create(copy)
        ledger.begin_run({"run": "r"}, [])
        ledger.close()
        with pytest.raises(LedgerError, match="already exists"):
            check_new(copy)
        with pytest.raises(LedgerError, match="already holds a run"):
            LedgerWriter.create(copy)


def test_what_is_no_ledger_is_never_taken_for_a_new_one(tmp_path):
    path = tmp_path / "other"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 7")
    for content in (path.read_bytes(), b"text", b"SQLite format 3\0" + bytes(84)):
        path.write_bytes(content)
        with pytest.raises(LedgerError, match="already exists"):
            check_new(path)
        with pytest.raises(LedgerError, match="is not a ledger"):
            LedgerWriter.create(path)
        assert path.read_bytes() == content
