"""Sends large numbers of user-group membership changes to an API that takes them in bounded batches.

A tour of the code. Data flows one way, from file to ledger:

    files, stdin ── source ──▶ windows of columns ── core.coalesce ──▶ one wish per pair ── core.pack ──▶ batches
                                                                                                            │
    ledger ◀── committer ◀── outcomes ◀── targets.interpret ◀── reply ◀── transport ◀── delivery ◀── core.schedule

- `core` makes the decisions: pure functions and small state machines without await, clock, randomness or files. What
  each outcome of a change means is documented in `core.status`.
- `source` reads inputs as columns. Each format registers a parser (`source.formats`); which cells and names are valid
  is decided in `source.cells` and `source.rules`, and documented in docs/input.md.
- `targets` know the APIs' dialects, `simulator` is their other side; both are found by entry points. What a target
  tells of itself (order, kind of keys, shape and bounds of requests, what a reply means) is in `core.target`.
- `transport` is one HTTP exchange, or a line that carries one after the other. `delivery` brings one batch to its final
  outcome: its turn (`request_gate`), attempts, retries, splitting, and whether the run or single rows are to blame;
  what is answered with plain success takes the `fast_lane`. What a target's plug-in returns passes `delivery.dialect`,
  which masks secrets and rejects nonsense.
- `engine.run` is one run at work (`pipeline`): `admission` of windows, a `pool` of workers, the `outcome_handler`, the
  `committer`, which alone opens and closes windows; observers see frozen `RunningParts`. Where a target has ids for
  names, the `resolver` looks them up before a window is coalesced (`name_lookup`); where it can be read, the
  `group_reader` reads who is in a group, and a `skipper` leaves out what is so already. What leaves when is decided by
  a `dispatch`: at once, or for load runs by the clock. All parts are made in `engine.run.parts`, in the order in which
  they need each other.
- `engine.jobs` are what a user asks for (`apply`, `resume`, `retry`, `check`, a `prediction`); a job gets everything
  it needs in a `RunContext`. What a run has changed is read back by `proving` (`reading_back`, `state.proof`);
  whoever asks a target outside of a run does so by `asking`. `engine.preview` judges inputs before anything is sent.
  `engine.sync` makes changes from a feed and a state (`diff`), or who is in the groups now (`live`), has them pass
  the guardrails, and applies them like any others; it also undoes runs.
- `ledger` keeps the results. `state` remembers a target between runs: which pairs are in, out or uncertain, and how
  that differs from a feed (`difference`), allowing for different spellings of names (`spelling`, `core.look_alikes`).
- `host` is what runs on one machine share: the outer world as arguments (`runtime`), the registry of runs, the rate.
- `load` is a run with scheduled arrivals in which every request is timed; `report` shows runs and load runs.
- `settings` is TOML, environment and flags as one value; `files` writes completely and privately, and locks;
  `small_files`, `streams` and `machine` deal with files that people write, standard streams, and the machine's limits.
- `cli` turns arguments into settings, and reports into text and exit codes: `commands` are the arguments, `runs` what
  they start, `outlets` where a run is watched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.api import apply, resume, retry
    from batcher.core.errors import (
        BatcherError,
        ConfigurationError,
        GuardrailError,
        InputError,
        LedgerError,
        LedgerHeldError,
        UsageError,
    )
    from batcher.core.model import Action
    from batcher.core.report import Report
    from batcher.core.status import Status
    from batcher.engine.run.outcomes import Outcome
    from batcher.settings import Settings

__all__ = [
    "Action",
    "BatcherError",
    "ConfigurationError",
    "GuardrailError",
    "InputError",
    "LedgerError",
    "LedgerHeldError",
    "Outcome",
    "Report",
    "Settings",
    "Status",
    "UsageError",
    "apply",
    "resume",
    "retry",
]

_HOMES = {
    "batcher.api": ("apply", "resume", "retry"),
    "batcher.core.model": ("Action",),
    "batcher.core.status": ("Status",),
    "batcher.core.report": ("Report",),
    "batcher.engine.run.outcomes": ("Outcome",),
    "batcher.settings": ("Settings",),
}


def __getattr__(name: str) -> object:
    """Import public names when they are first used (PEP 562): `batcher --help` needs none of them."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    home = next((module for module, names in _HOMES.items() if name in names), "batcher.core.errors")
    return getattr(import_module(home), name)
