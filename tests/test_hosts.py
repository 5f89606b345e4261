"""That the simulation of several runs finds faults; its seeds are played by `test_simulations.py`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import hosts
import pytest
from hosts import Plan
from people import GRACE
from processes import LawBrokenError

import batcher.engine.run.parts
from batcher.core.rate import Rate
from batcher.host.run_registry import RunRegistry
from batcher.host.shared_rate import make_pacer
from batcher.simulator.behaviour import Fault, Stage


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Suppress the log, which would fill the report."""
    monkeypatch.setattr(logging.getLogger("batcher"), "propagate", False)


def test_runs_that_do_not_know_of_each_other_are_found(monkeypatch):
    """Nobody would notice a simulation in which nothing can go wrong."""
    _play(range(10), _everything_is_late)
    monkeypatch.setattr(RunRegistry, "unquiet", lambda *_: [])
    with pytest.raises(LawBrokenError, match=r"should be (in|out), and is not"):
        _play(range(10), _everything_is_late)


def test_runs_that_do_not_share_their_rate_are_found(monkeypatch):
    _play(range(10), _slow)
    monkeypatch.setattr(
        batcher.engine.run.parts,
        "make_pacer",
        lambda settings, target, runtime: make_pacer(settings, target, replace(runtime, state_folder=None)),
    )
    with pytest.raises(LawBrokenError, match="more than 2/s"):
        _play(range(10), _slow)


def _play(seeds: Iterable[int], change: Callable[[Plan], Plan]) -> None:
    for seed in seeds:
        hosts.run_seed(seed, change=change)


def _everything_is_late(plan: Plan) -> Plan:
    calm = replace(plan.behaviour, late_seconds=GRACE - 0.5)
    stages = (Stage(replace(calm, faults=(Fault("late", 0.5),)), 0.0), Stage(calm, 200.0))
    return replace(plan, behaviour=calm, stages=stages, crashes=0.0, stops=0.0, rate=None, habits=("apply",))


def _slow(plan: Plan) -> Plan:
    return replace(plan, rate=Rate(2, 1))
