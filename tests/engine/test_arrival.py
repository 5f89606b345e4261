"""Files that move while they are read, and what people use so that a feed is whole."""

from __future__ import annotations

import os

import anyio
import pytest
from harness import EPOCH, Play, Target, settings_for, write_changes
from hypothesis import given
from hypothesis import strategies as st
from nights import Nights

from batcher.core.errors import ConfigurationError, GuardrailError, InputError
from batcher.core.guardrails import Guardrail
from batcher.core.model import KeyKind, Position
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.core.wholeness import Arrived, Content, Demands, ExpectedRows, judge_arrival, judge_content
from batcher.engine.jobs.context import RunContext
from batcher.engine.preview.arrival import settle
from batcher.engine.sync.goal import Goal
from batcher.engine.sync.sync import Terms, sync
from batcher.sections import GuardSettings
from batcher.simulator.virtual_time import run_virtual
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.reader import read

HOW = Reading(Fields.of({}, KeyKind.INTEGER, is_feed=True))


def append(path):
    with path.open("a") as file:
        file.write("9,9\n")


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def replace(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def touch(path):
    path.write_bytes(path.read_bytes().replace(b"1,1\n", b"1,2\n", 1))
    os.utime(path, ns=(1, 1))


def remove(path):
    path.unlink()


MOVES = [
    (append, "appended to"),
    (cut, "truncated"),
    (replace, "replaced"),
    (touch, "modified"),
    (remove, "cannot be read"),
]


@pytest.mark.parametrize(("move", "told"), MOVES)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_file_that_moves_is_read_no_further(tmp_path, move, told, after):
    """Not one row is given that was read after it; with a small file the end tells."""
    path = tmp_path / "f.csv"
    path.write_text("user_id,group_id\n" + "1,1\n" * 600_000)
    steps = read(0, Input("f.csv", path), HOW, Position())
    for _ in range(after):
        next(steps)
    move(path)
    if after:
        with pytest.raises(InputError, match=f"f.csv.*{told}"):
            next(steps)
    elif move is not remove:
        assert sum(len(columns) for columns, _ in steps) > 0  # it had not been opened


@pytest.mark.parametrize(("move", "told"), MOVES[:4])
def test_a_run_stops_before_the_damage_and_says_which(tmp_path, move, told):
    first = write_changes(tmp_path / "a.jsonl", [("add", n, 1) for n in range(10)])
    second = tmp_path / "b.csv"
    second.write_text("op,user_id,group_id\n" + "add,1,1\n" * 600_000)
    target = Target()

    def answer(count, _):
        if count == 2:
            move(second)

    target.answer = answer
    play = Play(tmp_path, target, settings_for("minapp", limits_max_changes=5), window_rows=10)
    report = play.apply_files(first, second)
    assert (report.exit_code, report.stopped) == (6, Cause.INPUT)
    assert told in report.reason
    assert str(second) in report.reason


def test_a_feed_of_several_files_is_one(tmp_path):
    """One that changes while another is read was another when it was read: nothing of them counts."""
    nights = Nights(tmp_path)
    nights.sync(FEED)
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(FEED)
    second.write_text("user,group\n" + "1,7\n" * 600_000)
    before = nights.target.members()

    class Moving(type(second)):
        def open(self, *arguments, **options):
            append(first)
            return super().open(*arguments, **options)

    goal = Goal([first, Moving(second)], nights.state)
    context = lambda world: RunContext(nights.settings, Credentials("t"), tmp_path / "l", world)  # noqa: E731
    with pytest.raises(InputError, match=r"a\.csv was appended to"):
        nights.play(lambda world: sync(goal, context(world), Terms()))
    assert nights.target.members() == before


AGES = [("min-age", 59.9, True), ("min-age", 60.0, False), ("min-age", 60.1, False), ("min-age", -5.0, True),
        ("max-age", 3599.9, False), ("max-age", 3600.0, False), ("max-age", 3600.1, True)]  # fmt: skip


@pytest.mark.parametrize(("name", "age", "refuses"), AGES)
def test_ages_at_their_bounds(name, age, refuses):
    demands = Demands(min_age=60.0) if name == "min-age" else Demands(max_age=3600.0)
    rulings = judge_arrival([Arrived("hr.csv", age)], demands)
    assert [ruling.guardrail for ruling in rulings] == ([Guardrail(name)] if refuses else [])
    assert all("hr.csv was written" in ruling.figures for ruling in rulings)


@pytest.mark.parametrize(("done_age", "refuses"), [(None, True), (9.0, False), (10.0, False), (10.5, True)])
def test_done_files(done_age, refuses):
    """One that is older than the file is of an earlier one."""
    rulings = judge_arrival([Arrived("hr.csv", 10.0, done_age)], Demands(done_file="{name}.done"))
    assert bool(rulings) is refuses
    assert all("hr.csv.done" in ruling.figures for ruling in rulings)


@pytest.mark.parametrize("name", ["hr.csv.tmp", "HR.PART", "x.filepart", "x.partial"])
def test_names_of_what_is_still_being_written(name):
    assert judge_arrival([Arrived(name, 9.0)], Demands(takes_uploads=False))[0].guardrail is Guardrail.UPLOADING
    assert not judge_arrival([Arrived(name, 9.0)], Demands())


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 25))
def test_expected_rows(least, more, rows):
    for text, holds in (
        (f"{least}", rows == least),
        (f"{least}..{least + more}", least <= rows <= least + more),
        (f"{least}..", rows >= least),
        (f"..{least}", rows <= least),
    ):
        (ruling,) = judge_content([Content("a", rows)], Demands(rows=ExpectedRows.parse(text)))
        assert ruling.refuses is not holds
    assert ExpectedRows.parse("3..") != ExpectedRows.parse("..3")


@pytest.mark.parametrize("text", ["", "..", "a", "1...2", "-3", "1,5"])
def test_rows_that_are_no_number(text):
    with pytest.raises(ConfigurationError, match="expect_rows"):
        ExpectedRows.parse(text)


@pytest.mark.parametrize(("said", "refuses"), [(None, True), (4, True), (5, False), (6, True)])
def test_trailers_that_count(said, refuses):
    (ruling,) = judge_content([Content("a", 5, said)], Demands(trailer="Total: {rows}"))
    assert ruling.refuses is refuses
    assert "5" in ruling.figures


@pytest.mark.parametrize(("move", "told"), MOVES[:4])
def test_settling(tmp_path, move, told):
    path = tmp_path / "f.csv"
    path.write_text("user,group\n1,1\n")
    guard = GuardSettings(settle="10s")

    async def main(moves):
        async with anyio.create_task_group() as group:
            if moves:
                group.start_soon(later)
            started = anyio.current_time()
            rulings = await settle([path], guard)
            return rulings, anyio.current_time() - started

    async def later():
        await anyio.sleep(9)
        move(path)

    rulings, seconds = run_virtual(lambda: main(False), 0.0)
    assert (rulings, seconds) == ([], 10.0)
    rulings, _ = run_virtual(lambda: main(True), 0.0)
    assert [ruling.guardrail for ruling in rulings] == [Guardrail.SETTLE]
    assert told in rulings[0].figures


FEED = "user,group\n" + "".join(f"{n},7\n" for n in range(1, 31))


@pytest.mark.parametrize(
    ("feed", "options", "name"),
    [
        (FEED[:-1], {}, "open-end"),
        (FEED + "Total: 31\n", {"guard_trailer": "Total: {rows}"}, "trailer"),
        (FEED, {"guard_trailer": "Total: {rows}"}, "trailer"),
        (FEED, {"guard_expect_rows": "31.."}, "expect-rows"),
        (FEED, {"guard_max_age": "1s"}, "max-age"),
        (FEED, {"guard_done_file": "{name}.done"}, "done-file"),
    ],
)
def test_a_night_whose_feed_may_not_be_whole(tmp_path, feed, options, name):
    """Nothing is sent, whatever it says; once overridden it counts."""
    nights = Nights(tmp_path)
    nights.sync(FEED)
    before, sends = nights.target.members(), len(nights.target.sends)
    if "guard_max_age" in options:
        nights.number += 0
    with pytest.raises(GuardrailError, match=f"{name}: .*--override {name}"):
        nights.sync(feed, **options)
    assert (nights.target.members(), len(nights.target.sends)) == (before, sends)
    nights.sync(feed, override=[name], **options)
    assert not nights.lies()


def test_what_is_whole_passes(tmp_path):
    nights = Nights(tmp_path)
    nights.sync(FEED)
    options = {"guard_trailer": "Total: {rows}", "guard_expect_rows": "29..31", "guard_done_file": "{name}.ok"}
    done = tmp_path / f"feed-{nights.number + 1}.csv.ok"
    done.touch()
    os.utime(done, (EPOCH * 2, EPOCH * 2))
    assert nights.sync(FEED + "31,7\nTotal: 31", **options).exit_code == 0
    assert (31, 7) in nights.target.members()
    assert nights.sync(FEED[:-1], guard_open_end="allow").exit_code == 0


def test_lines_that_may_be_of_anybody_hold_removals(tmp_path, caplog):
    """What cannot be read never means nothing."""
    nights = Nights(tmp_path, options={"guard_max_rejected_share": "none"})
    nights.sync(FEED)
    less = FEED.replace("3,7\n", "x,7,\n", 1)
    report = nights.sync(less)
    assert report.exit_code == 3
    assert (3, 7) in nights.target.members()
    assert "1 removals are left out: 1 invalid lines do not show whose they are" in caplog.text
    assert nights.sync(less, guard_unread_lines="allow").exit_code == 3
    assert (3, 7) not in nights.target.members()


def test_apply_judges_files_too(tmp_path):
    path = write_changes(tmp_path / "a.jsonl", [("add", 1, 1)])
    for options, name in (({"guard_expect_rows": "2"}, "expect-rows"), ({"guard_done_file": "ok"}, "done-file")):
        play = Play(tmp_path, Target(), settings_for("minapp", **options))
        with pytest.raises(GuardrailError, match=name):
            play.apply_files(path)
        assert not play.target.sends


def test_an_override_is_suggested_once(tmp_path):
    paths = [write_changes(tmp_path / f"{name}.csv", [("add", 1, 1)]) for name in "ab"]
    play = Play(tmp_path, Target(), settings_for("minapp", guard_done_file="{name}.done"))
    with pytest.raises(GuardrailError, match=r"a\.csv\.done.*b\.csv\.done.*--override done-file --reason"):
        play.apply_files(*paths)
