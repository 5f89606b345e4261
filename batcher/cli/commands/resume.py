"""`batcher resume` and `batcher retry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say
from batcher.cli.flags import Speaking, is_of_environment, overrides
from batcher.cli.option_types import together

if TYPE_CHECKING:
    from batcher.engine.jobs.reaching import Reach

_going_on = together(opt.ledger, opt.reaching, opt.sending, opt.despite_later_runs, opt.speaking)


@click.command()
@_going_on
def resume(ledger: Path, **options: Any) -> None:  # noqa: ANN401 — see `_go_on`
    """Continue an interrupted run.

    LEDGER is the ledger of the run. Its own settings and the same input are used; only how to reach and verify the
    target, and where the credentials are, is taken from --config if that is given.
    """
    _go_on("resume", ledger, **options)


@click.command()
@_going_on
def retry(ledger: Path, **options: Any) -> None:  # noqa: ANN401 — see `_go_on`
    """Send failed and unknown changes again.

    LEDGER is the ledger of the run. Its own settings are used; only how to reach and verify the target, and where the
    credentials are, is taken from --config if that is given.
    """
    _go_on("retry", ledger, **options)


def _go_on(
    name: str,
    ledger: Path,
    *,
    config: Path | None,
    url: str | None,
    despite_later_runs: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    said.set_up()

    def work() -> int:
        from batcher.cli.runs.resume import go_on
        from batcher.cli.runs.runner import Output
        from batcher.engine.jobs.reaching import Anew

        output = Output(said.json, said.quiet, is_simulated=False)
        reach = reach_of(ledger, config, url, is_certain=is_certain)
        return go_on(name, ledger, Anew(reach, _overrides(flags), despite_later_runs), output)

    is_certain = not is_of_environment("config")
    guarded(work, verbose=said.verbose)


def reach_of(ledger: Path, config: Path | None, url: str | None, *, is_certain: bool) -> Reach:
    """The settings that reach and verify the target, where the user gives new ones.

    A configuration that is only named in the environment (not `is_certain`) may be for other runs; it is ignored if it
    does not fit.
    """
    from batcher.core.errors import ConfigurationError
    from batcher.engine.jobs.job import settings_of
    from batcher.engine.jobs.reaching import reach_anew
    from batcher.settings import Settings

    if config is None and url is None:
        return {}
    given = {} if url is None else {"target.url": url}
    try:
        run, now = settings_of(ledger), Settings.load(config, given)
        if config is None:
            return {"target": {"url": now.target.url}}
        return reach_anew(run, now, url or "")
    except ConfigurationError as error:
        if is_certain or url is not None:
            raise
        say(f"batcher: ignoring BATCHER_CONFIG: {error}")
        return {}


def _overrides(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Deadline and failure budget are those of this invocation: earlier ones do not apply again."""
    sections: dict[str, dict[str, Any]] = {"guard": {"max_failures": "", "deadline": ""}}
    for key, value in overrides(flags).items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections
