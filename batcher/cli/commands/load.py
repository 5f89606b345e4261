"""`batcher load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded
from batcher.cli.flags import Speaking, is_of_environment, load_settings
from batcher.cli.option_types import FILE


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]")
@opt.target
@opt.simulate
@opt.ledger_path
@click.option(
    "--arrivals", metavar="SCHEDULE", help="Schedule: 200/s; 50..500/s for 1m, 500/s for 30s; @FILE. Default 10/s."
)
@click.option("--closed", is_flag=True, help="No schedule: keep --max-in-flight requests in flight.")
@click.option(
    "--duration",
    default="30s",
    metavar="TIME",
    help="Duration of a closed loop, or of a stage without its own; default 30s.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000_000),
    metavar="N",
    help="End after N requests, not counting the warm-up.",
)
@click.option("--warm-up", default="0s", metavar="TIME", help="Time at the start that is not measured; default 0s.")
@click.option("--users", type=click.IntRange(min=1), metavar="N", help="Number of synthetic users; default 10,000.")
@click.option("--groups", type=click.IntRange(min=1), metavar="N", help="Number of synthetic groups; default 100.")
@click.option(
    "--first-user", type=click.IntRange(min=0), metavar="ID", help="First id of the synthetic users; default 1."
)
@click.option(
    "--first-group", type=click.IntRange(min=0), metavar="ID", help="First id of the synthetic groups; default 1."
)
@click.option(
    "--skew", type=float, metavar="S", help="Zipf exponent of how often groups occur; default 0, all equally."
)
@click.option("--remove-share", metavar="N%", help="Share of removals among the changes; default 10%.")
@click.option(
    "--bad-share", metavar="N%", help="Share of changes that use one of the 100 ids after the last user; default 0%."
)
@click.option("--profiles", is_flag=True, help="Change each user with all groups of a profile, as in an onboarding.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Random seed of the changes; default 0.")
@click.option(
    "--changes-per-request",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Maximum changes per request (limits.max_changes).",
)
@opt.rate
@opt.max_in_flight
@opt.reading
@click.option(
    "--expect", multiple=True, metavar="FIGURE", help="Exit with 8 unless this holds: p99<500ms, errors<=0.1%, …."
)
@click.option("--find-limit", is_flag=True, help="Raise the load until an expectation no longer holds.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    metavar="N",
    help="Number of processes that generate load; default 1.",
)
@click.option("--clean-up", is_flag=True, help="At the end, remove what was added.")
@click.option("--i-own-this-target", is_flag=True, help="Required for any target that is not on this machine.")
@click.option("--output", "-o", type=FILE, metavar="FILE", help="Write the measurement to this file, as JSON.")
@click.option("--hdr-log", type=FILE, metavar="FILE", help="Write the histograms as a log for HdrHistogram's tools.")
@opt.speaking
def load(
    files: tuple[str, ...],
    config: Path | None,
    output: Path | None,
    hdr_log: Path | None,
    *,
    simulate: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the load's and the settings' own flags
) -> None:
    """Measure how much load a target can take.

    Sends synthetic changes, or those of each FILE, on a schedule. If every FILE is the ledger of a load run, --clean-up
    removes what these runs added, however they ended.

    Latencies are measured from the intended start (what users who arrive on schedule would have seen) and from the
    actual one. Everything that is sent is recorded in a ledger, as in any run. Use ids of users and groups that nobody
    needs.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.loading import run as loading
        from batcher.cli.loading.flags import LoadFlags
        from batcher.cli.runs.runner import Output, run_async
        from batcher.ledger.facts import is_ledger
        from batcher.load.latencies import histograms

        if flags["clean_up"] and files and all(is_ledger(Path(file)) for file in files):
            from batcher.cli.commands.resume import reach_of
            from batcher.cli.loading.clean_up import clean_up_ledgers

            ledgers = [Path(file) for file in files]
            reach = reach_of(ledgers[0], config, url, is_certain=is_certain)
            return run_async(
                lambda: clean_up_ledgers(ledgers, reach, Output(said.json, said.quiet, is_simulated=False))
            )
        histograms()
        load_flags = LoadFlags.of(files, flags)
        settings = loading.settings_for_load(load_settings(config, flags), load_flags, is_simulated=simulate)
        reported = Output(said.json, said.quiet, simulate)
        outputs = loading.Outputs(output, hdr_log)
        return run_async(lambda: loading.load(load_flags, settings, config, outputs, reported))

    is_certain = not is_of_environment("config")
    url = None if is_of_environment("url") else flags["url"]  # the ledgers know their target
    guarded(work, verbose=said.verbose)
