"""`batcher load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]")
@opt.target
@opt.simulate
@opt.ledger_path
@click.option("--arrivals", metavar="SCHEDULE", help="200/s; 50..500/s for 1m, 500/s for 30s; @FILE. Default 10/s.")
@click.option("--closed", is_flag=True, help="No schedule: send as soon as a place is free (--max-in-flight).")
@click.option("--duration", default="30s", metavar="TIME", help="Of a closed loop, or a stage that does not say.")
@click.option(
    "--requests", type=click.IntRange(1, 1_000_000_000), metavar="N", help="End after so many, warm-up not counted."
)
@click.option("--warm-up", default="0s", metavar="TIME", help="At first, not counted.")
@click.option("--users", type=click.IntRange(min=1), metavar="N", help="Synthetic users; default 10,000.")
@click.option("--groups", type=click.IntRange(min=1), metavar="N", help="Synthetic groups; default 100.")
@click.option("--first-user", type=click.IntRange(min=0), metavar="ID", help="Their first id; default 1.")
@click.option("--first-group", type=click.IntRange(min=0), metavar="ID", help="The same of groups; default 1.")
@click.option("--skew", type=float, metavar="S", help="Of the groups, Zipf's exponent; default 0, all alike.")
@click.option("--remove-share", metavar="N%", help="Removals among the changes; default 10%.")
@click.option("--bad-share", metavar="N%", help="Changes of one of the 100 users after the last; default 0%.")
@click.option("--profiles", is_flag=True, help="Users come with all groups of a profile, as in an onboarding.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of the changes; default 0.")
@click.option(
    "--changes-per-request", type=click.IntRange(1, 1_000_000), metavar="N", help="At most; limits.max_changes."
)
@opt.rate
@opt.max_in_flight
@opt.reading
@click.option("--expect", multiple=True, metavar="FIGURE", help="Exit 8 unless p99<500ms, errors<=0.1%, ….")
@click.option("--find-limit", is_flag=True, help="Raise the load until what is expected breaks.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, metavar="N", help="Generators side by side.")
@click.option("--clean-up", is_flag=True, help="Remove at the end what was added.")
@click.option("--i-own-this-target", is_flag=True, help="Needed for any target but this machine.")
@click.option("--output", "-o", type=opt.FILE, metavar="FILE", help="Write what was found, as JSON.")
@click.option("--hdr-log", type=opt.FILE, metavar="FILE", help="Write the histograms, for HdrHistogram's tools.")
@opt.speaking
def load(
    files: tuple[str, ...],
    config: Path | None,
    output: Path | None,
    hdr_log: Path | None,
    *,
    simulate: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
    **flags: Any,  # noqa: ANN401 — the load's and the settings' own flags
) -> None:
    """Measure what a target bears: synthetic changes, or those of each FILE, by the clock.

    With --clean-up, FILEs that are ledgers of load runs are cleaned up after, however those have ended.

    Latencies are told from the intended start (what a schedule's users would have seen) and from the actual one. All
    that is sent stands in a ledger, as in any run. Choose ids of users and groups that nobody needs.
    """
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> int:
        from batcher.cli import loading
        from batcher.cli.load_flags import LoadFlags
        from batcher.cli.runner import Output, run_async
        from batcher.ledger.facts import is_ledger
        from batcher.load.latencies import histograms

        if flags["clean_up"] and files and all(is_ledger(Path(file)) for file in files):
            from batcher.cli.load_clean_up import clean_up_ledgers
            from batcher.cli.resume import reach_of

            ledgers = [Path(file) for file in files]
            reach = reach_of(ledgers[0], config, url, is_certain=is_certain)
            return run_async(lambda: clean_up_ledgers(ledgers, reach, Output(json, quiet, is_simulated=False)))
        histograms()
        order = LoadFlags.of(files, flags)
        settings = loading.settings_for_load(opt.load_settings(config, flags), order, is_simulated=simulate)
        said = Output(json, quiet, simulate)
        return run_async(lambda: loading.load(order, settings, config, loading.Outputs(output, hdr_log), said))

    is_certain = not opt.is_of_environment("config")
    url = None if opt.is_of_environment("url") else flags["url"]  # the ledgers know their target
    guarded(work, verbose=verbose)
