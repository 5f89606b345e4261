"""Several runs on one host keep the rate together, and over a restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.limit import Meter, Rate, Waiting
from batcher.engine.shared_pace import SharedPacer

RATE = Rate(10, 1)


def pacer(folder, offset=1_800_000_000.0, rate=RATE):
    return SharedPacer(Meter(rate), None, folder / "state" / "pace", offset)


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


def test_a_damaged_or_missing_file_costs_the_sharing_not_the_run(tmp_path, caplog):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pace").write_bytes(b"[1,")
    one = pacer(tmp_path)
    assert one.try_take(0.0, 1).seconds == 0
    assert one.try_take(0.0, 1).seconds == pytest.approx(0.103, abs=1e-4)
    one.close()
    assert "damaged" in caplog.text
    (tmp_path / "file").write_bytes(b"")
    alone = SharedPacer(Meter(RATE), None, tmp_path / "file" / "pace", 0.0)
    assert alone.try_take(0.0, 1).seconds == 0
    assert "cannot be shared" in caplog.text
    alone.close()
