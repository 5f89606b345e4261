"""Several runs on one host keep the rate together, and over a restart."""

from __future__ import annotations

import fcntl
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.clock import Clock
from batcher.core.rate import Meter, Rate, Waiting
from batcher.host.shared_rate import SharedPacer

RATE = Rate(10, 1)


def clock(offset, boot="a-start", now=0.0):
    """One by which the clock that processes share is ahead by `offset`."""
    return Clock(lambda: now, lambda: 1.8e9, lambda: now + offset, boot)


def pacer(folder, offset=1_800_000_000.0, rate=RATE, boot="a-start"):
    return SharedPacer(Meter(rate), None, folder / "state" / "pace", clock(offset, boot))


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.3), st.booleans()), min_size=1, max_size=60))
def test_no_window_of_all_processes_together_holds_more_than_the_rate(tmp_path_factory, steps):
    """Three processes with clocks of their own, each of which may restart at any time."""
    folder = tmp_path_factory.mktemp("pace")
    offsets = [1_800_000_000.0, 1_800_000_100.0, 1_799_999_000.0]
    pacers = [pacer(folder, offset) for offset in offsets]
    utc, sends = 1_800_000_200.0, []
    for which, pause, restarts in steps:
        if restarts:
            pacers[which].close()
            pacers[which] = pacer(folder, offsets[which])
        utc += pause
        while (turn := pacers[which].try_take(utc - offsets[which], 1)).seconds > 0:
            utc += turn.seconds
        sends.append(utc)
    for start in sends:
        assert sum(start <= t < start + RATE.seconds - 1e-5 for t in sends) <= RATE.count
    for one in pacers:
        one.close()


def test_quiet_is_for_all(tmp_path):
    one, other = pacer(tmp_path), pacer(tmp_path)
    one.quiet(30.0, Waiting.RETRY_AFTER)
    turn = other.turn(10.0, 1)
    assert (round(turn.seconds, 3), turn.because) == (20.0, Waiting.RETRY_AFTER)
    one.close()
    other.close()


def test_a_damaged_file_costs_a_window_and_none_at_all_the_sharing(tmp_path, caplog):
    """What cannot be read may say that as much as is allowed was just sent."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pace").write_bytes(b"[1,")
    one = pacer(tmp_path)
    turn = one.try_take(0.0, 1)
    assert turn.seconds == pytest.approx(1.03, abs=1e-4)
    assert one.try_take(turn.seconds, 1).seconds == 0
    one.close()
    assert "damaged" in caplog.text
    (tmp_path / "file").write_bytes(b"")
    alone = SharedPacer(Meter(RATE), None, tmp_path / "file" / "pace", clock(0.0))
    assert alone.try_take(0.0, 1).seconds == 0
    assert "cannot be shared" in caplog.text
    alone.close()


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[]\n", b"[1,2,3,4]\n", b"null\n", b'["a-start",0,["x"],[],0,"rate"]\n', b"\xff\n"]
)
def test_no_content_of_the_file_lets_a_run_hurry(tmp_path, content):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pace").write_bytes(content)
    one = pacer(tmp_path)
    assert one.try_take(0.0, 1).seconds == pytest.approx(1.03, abs=1e-4)
    one.close()


def test_who_does_not_get_the_lock_stands_still_and_joins_again(tmp_path, caplog):
    """A process that was stopped with the lock holds up the others; it does not let them hurry."""
    one = pacer(tmp_path)
    holder = os.open(tmp_path / "state" / "pace", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    for tick in range(1, 1000):
        assert one.try_take(tick / 100, 1).seconds == 0.01
        assert one.blocked_since == 0.01
        assert ("does not release it" in caplog.text) is (tick > 501)
    assert "does not release it" in one.blocked_by
    os.close(holder)
    assert one.try_take(10.0, 1).seconds == 0
    assert one.blocked_since is None
    other = pacer(tmp_path)
    assert other.try_take(10.0, 1).seconds == pytest.approx(0.103, abs=1e-4)
    one.close()
    other.close()


def test_a_file_that_was_replaced_is_not_paced_by(tmp_path):
    one = pacer(tmp_path)
    assert one.try_take(0.0, 1).seconds == 0
    (tmp_path / "state" / "pace").unlink()
    other = pacer(tmp_path)
    assert other.try_take(0.0, 1).seconds == 0
    assert one.try_take(0.0, 1).seconds > 0
    one.close()
    other.close()


def test_a_link_in_its_place_is_not_followed(tmp_path, caplog):
    (tmp_path / "state").mkdir()
    (tmp_path / "letter").write_text("Dear Sir")
    (tmp_path / "state" / "pace").symlink_to(tmp_path / "letter")
    one = pacer(tmp_path)
    assert one.try_take(0.0, 1).seconds == 0
    one.close()
    assert (tmp_path / "letter").read_text() == "Dear Sir"
    assert "cannot be shared" in caplog.text


@pytest.mark.parametrize("uptime", [0.5, 1.0, 1.029, 1.031, 2.0])
def test_what_was_sent_before_the_machine_was_started_was_sent_by_then_at_the_latest(tmp_path, uptime):
    """n−1, n, n+1 of a window; the wall clock is not asked, whatever it says."""
    before = SharedPacer(Meter(RATE, burst=10), None, tmp_path / "state" / "pace", clock(0.0, "one start", 5000.0))
    for _ in range(10):
        assert before.try_take(5000.0, 1).seconds == 0
    before.quiet(5100.0, Waiting.RETRY_AFTER)
    before.close()
    after = pacer(tmp_path, offset=0.0, boot="another")
    turn = after.turn(uptime, 1)
    assert turn.because is Waiting.RETRY_AFTER
    assert turn.seconds + uptime == pytest.approx(100)
    after._pacer.quiet_until = 0.0
    assert (after._pacer._requests.delay(uptime) > 0) is (uptime < 1.03)
    after.close()


def test_quiet_that_could_not_be_written_is_written_later(tmp_path):
    one, other = pacer(tmp_path), pacer(tmp_path)
    holder = os.open(tmp_path / "state" / "pace", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    one.quiet(30.0, Waiting.RETRY_AFTER)
    os.close(holder)
    assert one.turn(0.0, 1).seconds == pytest.approx(30.0)
    assert one.try_take(31.0, 1).seconds == 0.0
    assert other.turn(0.0, 1).seconds > 0
    one.close()
    other.close()


def test_a_clock_that_was_set_back_costs_no_more_than_a_window(tmp_path):
    one = pacer(tmp_path, offset=1_800_086_400.0)
    for _ in range(3):
        now = 0.0
        while (turn := one.try_take(now, 1)).seconds > 0:
            now += turn.seconds
    one.quiet(100_000.0, Waiting.RETRY_AFTER)
    one.close()
    other = pacer(tmp_path)
    assert other.turn(0.0, 1).seconds <= 3600.0
    other.close()


@pytest.mark.parametrize("written", [OSError(28, "No space left on device"), 3])
def test_a_full_disk_stops_who_cannot_tell_the_others(tmp_path, caplog, monkeypatch, written):
    one = pacer(tmp_path)
    before = os.pwrite

    def full(*arguments):
        if isinstance(written, OSError):
            raise written
        return before(arguments[0], arguments[1][:written], arguments[2])

    monkeypatch.setattr(os, "pwrite", full)
    for tick in range(600):
        assert one.try_take(tick / 100, 1).seconds > 0
    assert one.blocked_since == 0.0
    assert caplog.text.count("nothing is sent") >= 1
    monkeypatch.undo()
    now = 6.0
    while (turn := one.try_take(now, 1)).seconds > 0:
        now += turn.seconds
    assert now < 8
    one.close()


def test_what_other_meters_hold_is_kept(tmp_path):
    """A run without a rate of changes does not wipe out what one with such a rate has sent."""
    both = SharedPacer(Meter(RATE), Meter(Rate(60, 60)), tmp_path / "state" / "pace", clock(0.0))
    assert both.try_take(0.0, 60).seconds == 0.0
    one = pacer(tmp_path, offset=0.0)
    assert one.try_take(1.0, 1).seconds == 0.0
    one.close()
    assert both.turn(2.0, 1).seconds > 50.0
    both.close()


def test_without_any_meter_quiet_is_still_shared(tmp_path):
    one = SharedPacer(None, None, tmp_path / "state" / "pace", clock(0.0))
    one.quiet(30.0, Waiting.RETRY_AFTER)
    one.close()
    other = SharedPacer(None, None, tmp_path / "state" / "pace", clock(0.0))
    assert other.turn(10.0, 5).seconds == pytest.approx(20.0)
    assert not other.is_limited
    other.close()


def test_without_any_meter_the_file_is_looked_at_now_and_then(tmp_path):
    """n−1, n, n+1: what another run was told is seen within a fiftieth of a second."""
    for pause, seen in ((0.0199, False), (0.02, True), (0.0201, True)):
        file = tmp_path / str(pause) / "pace"
        one, other = SharedPacer(None, None, file, clock(0.0)), SharedPacer(None, None, file, clock(0.0))
        assert other.try_take(0.0, 5).seconds == 0
        one.quiet(30.0, Waiting.RETRY_AFTER)
        assert (other.turn(pause, 5).seconds > 0) is seen
        assert (other.try_take(pause, 5).seconds > 0) is seen
        one.close()
        other.close()


def test_a_look_that_failed_is_no_look(tmp_path):
    """While somebody else holds the file nobody knows whether there is quiet."""
    file = tmp_path / "state" / "pace"
    one, other = SharedPacer(None, None, file, clock(0.0)), SharedPacer(None, None, file, clock(0.0))
    one.quiet(30.0, Waiting.RETRY_AFTER)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for now in (0.0, 0.01, 0.015):
            assert other.turn(now, 5).seconds > 0
            assert other.try_take(now, 5).seconds > 0
    assert other.try_take(0.016, 5).seconds > 20
    one.close()
    other.close()
