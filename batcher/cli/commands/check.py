"""`batcher check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, write_json, write_lines
from batcher.cli.flags import Speaking, load_settings

if TYPE_CHECKING:
    from batcher.settings import Settings


@click.command()
@opt.target
@opt.speaking
def check(
    config: Path | None,
    *,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Check the configuration, the credentials and the target.

    Sends no changes.
    """
    said.set_up()

    def work() -> int:
        return _check(load_settings(config, flags), as_json=said.json, quiet=said.quiet)

    guarded(work, verbose=said.verbose)


def _check(settings: Settings, *, as_json: bool, quiet: bool) -> int:
    from batcher.cli.runs.runner import run_async
    from batcher.credentials import credentials
    from batcher.engine.jobs.asking import Access
    from batcher.engine.jobs.check import probe
    from batcher.engine.run.session import make_target
    from batcher.host.run_registry import state_folder
    from batcher.host.runtime import real_runtime, way_of

    destination = make_target(settings)
    settings.limits_for(destination)
    given = credentials(settings.auth, os.environ)

    async def main() -> int:
        probed = await probe(Access(settings, given, real_runtime(state_folder(os.environ))))
        stop, way = probed.stop, way_of(settings, probed.peer)
        reason = "" if stop is None else stop.reason
        if as_json:
            answer = {
                "target": destination.name,
                "url": destination.url,
                "ok": stop is None,
                "reason": reason,
                "way": way,
            }
            write_json(answer)
        elif stop is None:
            told = [f"{name.replace('_', ' ')}: {what}" for name, what in way.items() if what]
            write_lines([f"{destination.name} at {destination.url}: reachable, credentials accepted", *told])
        else:
            say(f"batcher: {destination.name} at {destination.url}: {reason}; {stop.cause.remedy}")
            if way["proxy"]:
                say(f"batcher: the connection goes through the proxy {way['proxy']}")
        if not quiet:
            for hint in destination.hints:
                say(f"note: {hint}")
        return 0 if stop is None else stop.cause.exit_code

    return run_async(main)
