"""`batcher state`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, write_json, write_lines
from batcher.cli.flags import Speaking, load_settings
from batcher.cli.option_types import FILE


@click.group()
def state() -> None:
    """Work with the state of nightly syncs."""


@state.command()
@click.argument("file", metavar="STATE", type=FILE)
@opt.target
@opt.rate
@click.option("--master-group", multiple=True, metavar="PATTERN", help="Read only matching groups.")
@opt.speaking
def refresh(
    file: Path,
    config: Path | None,
    *,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Let a STATE learn from the target.

    Reads who is in the groups that the state knows of: uncertain pairs become certain, and what others have changed is
    taken over. Nothing is changed at the target.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.runs.plan_text import told_drift
        from batcher.cli.runs.runner import run_async
        from batcher.credentials import credentials
        from batcher.engine.jobs.asking import Access
        from batcher.engine.sync.refresh import refresh_state
        from batcher.host.run_registry import state_folder
        from batcher.host.runtime import real_runtime

        settings = load_settings(config, flags)
        given = credentials(settings.auth, os.environ)
        content: dict[str, Any] = {}

        async def main() -> int:
            access = Access(settings, given, real_runtime(state_folder(os.environ)))
            live, uncertain = await refresh_state(file, access)
            content.update({"drift": live.as_dict(), "uncertain": uncertain})
            return 0

        run_async(main)
        if said.json:
            write_json(content)
        else:
            lines = told_drift(content["drift"]) or ["the state knows of no groups"]
            write_lines([*lines, f"{content['uncertain']:,} pairs are uncertain"])
        return 0

    guarded(work, verbose=said.verbose)
