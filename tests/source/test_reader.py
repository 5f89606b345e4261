"""Inputs as streams: formats, compression, restarting anywhere, and growing spools."""

from __future__ import annotations

import gzip

import anyio
import orjson
import pyarrow as pa
import pytest
from columns import listed
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.errors import InputError
from batcher.core.model import Position
from batcher.source import lines as lines_module
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import WAITS, Waits
from batcher.source.reader import read
from batcher.source.spool import Spool, spool_changes
from batcher.source.windows import Windower

HOW = Reading(Fields.of({}))
SMALL = b"op,user_id,group_id\nadd,5,53\nremove,6,54\n"
ROWS = [(2, "add", 5, 53), (3, "remove", 6, 54)]


def stretches(path, start=Position(), name=None, **options):  # noqa: B008
    return list(read(0, Input(name or path.name, path, **options), HOW, start))


def rows(path, start=Position(), **options):  # noqa: B008
    return [row for part, _ in stretches(path, start, **options) for row in listed(part)]


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", SMALL),
        ("a.csv", b"\xef\xbb\xbf" + SMALL),
        ("a.csv", SMALL.rstrip()),
        ("a.csv", SMALL.replace(b"\n", b"\r\n")),
        ("a.csv.gz", gzip.compress(SMALL, mtime=0)),
        ("a.csv.gz", gzip.compress(SMALL[:25], mtime=0) + gzip.compress(SMALL[25:], mtime=0)),
        ("a.csv.zst", zstd(SMALL)),
        ("a", SMALL),
        ("a.tsv", SMALL.replace(b",", b"\t")),
    ],
)
def test_csv_in_all_its_wrappings(tmp_path, name, content):
    assert rows(put(tmp_path, name, content)) == ROWS


@pytest.mark.parametrize("name", ["a.json", "a", "a.jsonl"])
def test_json_is_recognised(tmp_path, name):
    """By its suffix, else by its first character."""
    ops = [{"op": "add", "users": [5], "groups": [53]}]
    expected = [(1, "add", 5, 53)]
    if name != "a.jsonl":
        assert rows(put(tmp_path, name, orjson.dumps(ops, option=orjson.OPT_INDENT_2))) == expected
    assert rows(put(tmp_path, name, orjson.dumps(ops) + b"\n")) == expected
    assert rows(put(tmp_path, name, b'{"op":"add","user":5,"group":53}\n' * 2)) == [*expected, (2, "add", 5, 53)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", b"a,b\n1,2\n", "no column for the op"),
        ("a.csv", b'"a,b\n', "header cannot be read"),
        ("a.csv.gz", gzip.compress(SMALL * 99, mtime=0)[:-20], "cannot be read"),
        ("a.json", b"[1,", "not valid JSON"),
        ("a.csv", b"PK\x03\x04...", "spreadsheet"),
        ("a.csv", "op,user".encode("utf-16"), "no column for the group"),
        ("a.csv", b"op,user,group\radd,1,1\r", "CR alone"),
        ("a.csv", b"sep=;\nop;user;group\n", "--skip-rows 1"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        rows(put(tmp_path, name, content))


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        rows(tmp_path / "none.csv")


def test_only_a_header_is_no_error(tmp_path):
    """A quiet night."""
    ((part, position),) = stretches(put(tmp_path, "a.csv", b"op,user,group\n"))
    assert (len(part), position.end, position.offset) == (0, True, 14)


@pytest.mark.parametrize(("length", "is_read"), [(-1, True), (0, True), (1, False)])
def test_the_longest_line(tmp_path, monkeypatch, length, is_read):
    """n−1, n, n+1; what is longer is passed over in pieces, and the rest goes on."""
    monkeypatch.setattr(lines_module, "LONGEST_LINE", 100_000)
    monkeypatch.setattr(lines_module, "BLOCK", 1 << 12)
    monkeypatch.setattr(lines_module, "FIRST_BLOCK", 1 << 12)
    start = b"add,5,53,"
    line = start + b"x" * (100_000 + length - len(start))
    path = put(tmp_path, "a.csv", b"op,user_id,group_id,more\n" + line + b"\nadd,6,54,\n")
    found = rows(path)
    assert found[-1] == (3, "add", 6, 54)
    assert (found[0] == (2, "add", 5, 53)) is is_read


def test_a_long_line_is_passed_over_wherever_reading_starts_or_pauses(tmp_path, monkeypatch):
    """After whole lines, after an open quote, and where a pipe pauses within it."""
    monkeypatch.setattr(lines_module, "LONGEST_LINE", 1000)
    monkeypatch.setattr(lines_module, "BLOCK", 64)
    monkeypatch.setattr(lines_module, "FIRST_BLOCK", 64)
    content = b"op,user_id,group_id\n" + b"add,1,1\n" * 10 + b'add,"2\n' + b"y" * 3000 + b"\nadd,3,3\n" * 2
    path = put(tmp_path, "a.csv", content)
    whole = stretches(path)
    everything = [row for part, _ in whole for row in listed(part)]
    assert [row[0] for row in everything] == [*range(2, 15), 16]
    assert "never closed" in everything[10][1]
    assert "longer than" in everything[11][1]
    seen = 0
    for part, position in whole:
        seen += len(part)
        assert rows(path, position) == everything[seen:]
    growing = put(tmp_path, "spool", b"")
    steps = read(
        0, Input("-", growing, "csv", lambda: growing.stat().st_size == len(content), is_spool=True), HOW, Position()
    )
    found = []
    for start in range(0, len(content), 100):
        with growing.open("ab") as file:
            file.write(content[start : start + 100])
        while not isinstance(step := next(steps, WAITS), Waits):
            found += listed(step[0])
    assert found == everything


def test_a_document_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "LARGEST_DOCUMENT", 100)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        rows(put(tmp_path, "a.json", b"[\n" + b" \n" * 100 + b"]"))


_LINE = st.sampled_from(
    ["add,5,3", "remove,6,4", 'add,"7",3', "add,x", "", 'add,"8\n', "add,9,9\r", "add,ü,1", "add,10,10"]
)


@given(st.lists(_LINE, max_size=30), st.sampled_from([2, 5, 16, 64]))
def test_reading_can_start_again_at_every_position(tmp_path_factory, lines, block):
    """From any position on come exactly the rows that had not come before, whatever the blocks."""
    path = put(tmp_path_factory.mktemp("r"), "a.csv", ("op,user_id,group_id\n" + "\n".join(lines)).encode())
    before = (lines_module.FIRST_BLOCK, lines_module.BLOCK)
    lines_module.FIRST_BLOCK = lines_module.BLOCK = block
    try:
        whole = stretches(path)
        everything = [row for part, _ in whole for row in listed(part)]
        seen = 0
        for part, position in whole:
            seen += len(part)
            assert rows(path, position) == everything[seen:]
    finally:
        lines_module.FIRST_BLOCK, lines_module.BLOCK = before
    assert rows(path) == everything


def test_reading_can_start_again_within_an_op_line(tmp_path):
    """An op that unfolds into several stretches has positions within itself."""
    line = orjson.dumps({"op": "add", "users": list(range(300_000)), "groups": [1, 2]})
    path = put(tmp_path, "a.jsonl", b'{"op":"add","user":1,"group":9}\n' + line + b"\n")
    whole = stretches(path)
    assert len(whole) > 4
    position = whole[2][1]
    assert position.skip > 0
    again = stretches(path, position)
    assert [len(part) for part, _ in again] == [len(part) for part, _ in whole[3:]]
    assert again[0][0].user.codes.tolist() == whole[3][0].user.codes.tolist()


def test_a_changed_input_is_noticed_before_anything_comes(tmp_path):
    path = put(tmp_path, "a.csv", SMALL)
    position = stretches(path)[0][1]
    put(tmp_path, "a.csv", SMALL.replace(b"5,53", b"5,52"))
    with pytest.raises(InputError, match="was changed since it was read"):
        rows(path, position)


def test_a_growing_spool_is_read_as_far_as_it_goes(tmp_path):
    """And a compressed one is refused, whether it is whole by then or not."""
    path = put(tmp_path, "spool", b"op,user_id,group_id\nadd,5,53\nremove,6")
    whole = [False]
    steps = read(0, Input("-", path, "csv", lambda: whole[0], is_spool=True), HOW, Position())
    assert listed(next(steps)[0]) == ROWS[:1]
    assert isinstance(next(steps), Waits)
    with path.open("ab") as file:
        file.write(b",54")
    whole[0] = True
    assert listed(next(steps)[0]) == ROWS[1:]
    packed = put(tmp_path, "spool", gzip.compress(SMALL))
    for is_whole in (False, True):
        with pytest.raises(InputError, match="zcat"):
            next(read(0, Input("-", packed, "csv", lambda done=is_whole: done, is_spool=True), HOW, Position()))


@pytest.mark.real_time
async def test_an_iterable_becomes_json_lines(tmp_path):
    """What is no triple becomes a line that is rejected by itself."""
    spool = Spool(tmp_path / "spool")
    await spool_changes(spool, [("add", 5, "x"), "nonsense", ("add", object(), 1), ["remove", 6, 7]])
    assert spool.is_whole
    await spool.grown(spool.version)
    found = rows(spool.path, format="jsonl")
    assert found[0] == (1, "add", 5, "x")
    assert "not an object" in found[1][1]
    assert "not an object" in found[2][1]
    assert found[3] == (4, "remove", 6, 7)
    assert spool.path.stat().st_mode & 0o777 == 0o400  # its owner only, and nothing more comes


async def test_a_reader_of_a_spool_is_woken(tmp_path):
    spool = Spool(tmp_path / "spool")
    seen = spool.version
    async with anyio.create_task_group() as group:
        group.start_soon(spool.grown, seen)
        await anyio.sleep(1)
        spool.append(b"x\n")
    spool.close()


def test_windows_start_small_and_then_fill_up(tmp_path):
    path = put(tmp_path, "a.csv", b"op,user_id,group_id\n" + b"add,5,53\n" * 10)
    parts = stretches(path)
    windower = Windower(window_rows=25)
    windows = []
    for _ in range(6):
        windows += windower.feed(*parts[0])
    assert [len(window.columns) for window in windows] == [10, 30]
    assert [window.first_row for window in windows] == [0, 10]
    windows += windower.flush()
    assert [window.id for window in windows] == [0, 1, 2]
    assert list(windower.flush()) == []
    list(windower.feed(*parts[1]))
    assert [end.source for end in windower.ended] == [0]
