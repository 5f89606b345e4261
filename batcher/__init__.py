"""Brings very many user-group membership changes to an API that takes them in bounded batches.

The tour. Data goes one way, from file to ledger:

    files, stdin ── source ──▶ windows of columns ── core.coalesce ──▶ one wish per pair ── core.pack ──▶ batches
                                                                                                            │
    ledger ◀── committer ◀── outcomes ◀── targets.interpret ◀── reply ◀── transport ◀── delivery ◀── core.schedule

- `core` decides: pure functions and small state machines, no await, clock, dice or files. What each outcome of a change
  means is said in `core.status`.
- `source` reads CSV, JSON Lines, documents and sheets as columns; what a cell or a name may be is decided in
  `source.cells` and `source.rules`, and said in docs/input.md; `targets` know the dialects; `ledger` keeps the results;
  `transport` is one HTTP exchange; `settings` is TOML, environment and flags as one value; `files` writes whole and in
  private, and locks; `small_files`, `streams` and `machine` are what people and machines do to the rest.
- `delivery` brings one batch to a final word: its turn, attempts, retries, splitting, blame of the run or of rows. What
  a target's plug-in says passes `delivery.dialect`, which takes secrets out and nonsense for what it is.
- `state` knows a target from night to night: what is in, out or uncertain, and how that differs from a feed
  (`difference`), whatever the spelling of names (`spelling`, `core.look_alikes`).
- `engine` wires the stages into one task group, and holds the jobs: `apply`, `resume`, `retry`, and `sync` and `undo`,
  whose changes come from a state (`drafting`) and pass the guardrails (`arrival`, `guarding`) before they are applied
  as any. A job is told once what it needs to know (`context.RunContext`); who looks on sees frozen `RunningParts`
  (`observing`). Runs of one host know of each other (`register`) and share a rate (`shared_pace`).
- `load` is a run with arrivals by the clock and a stop-watch on every request; `report` shows runs and load runs.
- `cli` turns arguments into settings, and reports into text and exit codes.
- `simulator` is the other side, for trying, testing, and predicting a run on virtual time (`engine.jobs.prediction`).
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
    """Public names are imported when they are first asked for (PEP 562): `batcher --help` needs none of them."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    home = next((module for module, names in _HOMES.items() if name in names), "batcher.core.errors")
    return getattr(import_module(home), name)
