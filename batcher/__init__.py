"""Sends large numbers of user-group membership changes to an API that takes them in bounded batches.

A tour of the code. Data flows one way, from file to ledger:

    files, stdin ── source ──▶ windows of columns ── core.coalesce ──▶ one wish per pair ── core.pack ──▶ batches
                                                                                                            │
    ledger ◀── committer ◀── outcomes ◀── targets.interpret ◀── reply ◀── transport ◀── delivery ◀── core.schedule

- `core` makes the decisions: pure functions and small state machines without await, clock, randomness or files. What
  each outcome of a change means is documented in `core.status`.
- `source` reads CSV, JSON Lines, documents and sheets as columns; which cells and names are valid is decided in
  `source.cells` and `source.rules`, and documented in docs/input.md; `targets` know the APIs' dialects; `ledger` keeps
  the results; `transport` is one HTTP exchange; `settings` is TOML, environment and flags as one value; `files` writes
  completely and privately, and locks; `small_files`, `streams` and `machine` deal with the environment: files that
  people write, standard streams, and the limits of the machine.
- `delivery` brings one batch to its final outcome: its turn, attempts, retries, splitting, and whether the run or
  single rows are to blame. What a target's plug-in returns passes `delivery.dialect`, which masks secrets and rejects
  nonsense.
- `state` remembers a target between runs: which pairs are in, out or uncertain, and how that differs from a feed
  (`difference`), allowing for different spellings of names (`spelling`, `core.look_alikes`).
- `engine` wires the stages into one task group, and contains the jobs: `apply`, `resume`, `retry`, and `sync` and
  `undo`, whose changes come from a state (`drafting`) and pass the guardrails (`arrival`, `guarding`) before they are
  applied like any others. A job gets everything it needs in a `context.RunContext`; observers see frozen
  `RunningParts` (`observing`). Runs on one host know of each other (`register`) and share a rate (`shared_pace`).
- `load` is a run with scheduled arrivals in which every request is timed; `report` shows runs and load runs.
- `cli` turns arguments into settings, and reports into text and exit codes.
- `simulator` imitates the targets, for trying out, testing, and predicting a run (`engine.jobs.prediction`).
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
