"""`batcher resume` and `batcher retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up


def resume(
    ledger: opt.Ledger,
    rate: opt.Rate = None,
    max_in_flight: opt.MaxInFlight = None,
    max_failures: opt.MaxFailures = None,
    deadline: opt.Deadline = None,
    max_wait: opt.MaxWait = None,
    despite_later_runs: opt.DespiteLaterRuns = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    no_color: opt.NoColor = False,
) -> None:
    """Go on with an interrupted run, with its own settings and the same input."""
    overrides = _overrides(rate, max_in_flight, max_failures, deadline, max_wait)
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)
    _go_on("resume", ledger, overrides, despite=despite_later_runs, as_json=json, quiet=quiet, verbose=verbose)


def retry(
    ledger: opt.Ledger,
    rate: opt.Rate = None,
    max_in_flight: opt.MaxInFlight = None,
    max_failures: opt.MaxFailures = None,
    deadline: opt.Deadline = None,
    max_wait: opt.MaxWait = None,
    despite_later_runs: opt.DespiteLaterRuns = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    no_color: opt.NoColor = False,
) -> None:
    """Send again what is failed or unknown, with the run's own settings."""
    overrides = _overrides(rate, max_in_flight, max_failures, deadline, max_wait)
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)
    _go_on("retry", ledger, overrides, despite=despite_later_runs, as_json=json, quiet=quiet, verbose=verbose)


def _overrides(
    rate: str | None, most: str | None, failures: str | None, deadline: str | None, max_wait: str | None
) -> dict[str, dict[str, Any]]:
    """Deadline and failure budget are of this invocation: the old ones do not come back."""
    given: dict[str, dict[str, Any]] = {
        "rate": {"requests": rate, "max_in_flight": opt.max_in_flight(most)},
        "retry": {"max_wait": max_wait},
    }
    chosen = {
        section: {key: value for key, value in keys.items() if value is not None} for section, keys in given.items()
    }
    return chosen | {"guard": {"max_failures": failures or "", "deadline": deadline or ""}}


def _go_on(
    name: str,
    ledger: Path,
    overrides: dict[str, dict[str, Any]],
    *,
    despite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    def work() -> int:
        from batcher.cli import sending

        return sending.go_on(name, ledger, overrides, despite=despite, as_json=as_json, quiet=quiet)

    guarded(work, verbose=verbose)
