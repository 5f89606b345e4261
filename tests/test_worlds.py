"""Every world in `tests/worlds/` ends as it specifies, and the docs show what happened."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace

import pytest
from harness import Play, Target, settings_for
from worlds import HEAD, changes_of, documented, files, play

from batcher.simulator.behaviour import Behaviour


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_world(path):
    """The table in the docs agrees; `python tests/worlds.py --write` creates it."""
    outcome = play(path)
    assert outcome.disagreements() == []
    assert outcome.row() in documented().splitlines(keepends=True)


def test_the_docs_tell_of_these_worlds_and_no_others_in_their_order():
    text = documented()
    assert text.startswith(HEAD)
    rows = text.removeprefix(HEAD).splitlines()
    about = [tomllib.loads(path.read_text("utf-8"))["about"] for path in files()]
    assert len(rows) == len(about)
    assert all(row.startswith(f"| {told} | ") for row, told in zip(rows, about, strict=True))


LATENCIES = {
    "constant": Behaviour(latency_seconds=0.1),
    "jittery": Behaviour(latency_seconds=0.05, jitter_seconds=0.4),
    "slow": Behaviour(latency_seconds=5.0),
    "ramping": Behaviour(latency_seconds=0.1, latency_growth=0.02),
    "busy": Behaviour(latency_seconds=0.1, capacity=8),
    "busy and jittery": Behaviour(latency_seconds=0.05, jitter_seconds=0.1, capacity=8),
    "crowded": Behaviour(latency_seconds=0.1, most_at_once=8),
    "crowded and jittery": Behaviour(latency_seconds=0.1, jitter_seconds=0.1, most_at_once=20),
}
BEST = {"busy": 8, "busy and jittery": 8, "crowded": 8, "crowded and jittery": 20}
"""The best fixed setting, as the slow test determines it; in all other worlds it is the maximum, 32."""


def _seconds(folder, behaviour, in_flight, count, *, offers_lines=False):
    """How long a run takes, and the share of its requests that was refused as too many."""
    folder.mkdir()
    target = Target(behaviour, offers_lines=offers_lines)
    settings = settings_for("minapp", limits_max_changes=1, rate_max_in_flight=in_flight)
    run = Play(folder, target, settings)
    if run.apply(changes_of({"changes": count})).exit_code:
        return math.inf, 1.0  # so slow that the target's replies take longer than any time-out
    return run.seconds, target.world.traffic.refused / len(target.sends)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LATENCIES)
def test_auto_is_nearly_as_fast_as_the_best_fixed_setting(tmp_path, name):
    """It has at least nine tenths of that throughput, and requests are hardly ever refused as too many."""
    count = 3000 if "crowded" in name else 1200
    auto, refused = _seconds(tmp_path / "auto", LATENCIES[name], "auto", count)
    fixed, _ = _seconds(tmp_path / "fixed", LATENCIES[name], BEST.get(name, 32), count)
    assert fixed / auto >= 0.9
    assert refused < 0.02


@pytest.mark.thorough
@pytest.mark.parametrize("name", LATENCIES)
def test_auto_is_as_fast_on_the_fast_lane(tmp_path, name):
    """Chance decides when it meets the bound, so the mean over some seeds is compared with that of the other way."""
    count = 3000 if "crowded" in name else 1200
    total = {False: 0.0, True: 0.0}
    for seed in range(4):
        behaviour = replace(LATENCIES[name], seed=seed)
        for lines in total:
            folder = tmp_path / f"{seed}-{lines}"
            seconds, refused = _seconds(folder, behaviour, "auto", count, offers_lines=lines)
            assert refused < 0.02
            total[lines] += seconds
    assert total[True] <= 1.02 * total[False]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LATENCIES)
def test_the_best_fixed_setting_is_what_we_think(tmp_path, name):
    """Tries all fixed settings."""
    found = {n: _seconds(tmp_path / str(n), LATENCIES[name], n, 800)[0] for n in (1, 2, 4, 6, 8, 12, 16, 20, 24, 32)}
    assert found[BEST.get(name, 32)] <= 1.02 * min(found.values())
