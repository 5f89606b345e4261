"""`batcher resume` and `batcher retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up

_going_on = opt.together(opt.ledger, opt.sending, opt.despite_later_runs, opt.speaking)


@click.command()
@_going_on
def resume(ledger: Path, **options: Any) -> None:  # noqa: ANN401 — see `_go_on`
    """Go on with an interrupted run.

    With its own settings and the same input. LEDGER is the run's.
    """
    _go_on("resume", ledger, **options)


@click.command()
@_going_on
def retry(ledger: Path, **options: Any) -> None:  # noqa: ANN401 — see `_go_on`
    """Send again what is failed or unknown.

    With the run's own settings. LEDGER is the run's.
    """
    _go_on("retry", ledger, **options)


def _go_on(
    name: str,
    ledger: Path,
    *,
    despite_later_runs: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> int:
        from batcher.cli import sending
        from batcher.cli.runner import Output

        output = Output(json, quiet, is_simulated=False)
        return sending.go_on(name, ledger, _overrides(flags), output, despite=despite_later_runs)

    guarded(work, verbose=verbose)


def _overrides(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Deadline and failure budget are of this invocation: the old ones do not come back."""
    sections: dict[str, dict[str, Any]] = {"guard": {"max_failures": "", "deadline": ""}}
    for key, value in opt.overrides(flags).items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections
