"""`batcher plan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, write_json, write_lines
from batcher.cli.flags import Baseline, OverrideFlags, Speaking, load_settings
from batcher.cli.option_types import FILE, gathered
from batcher.cli.runs.standard_input import as_files

if TYPE_CHECKING:
    from batcher.settings import Settings

_DIFFERENT = 8


@dataclass(frozen=True, slots=True)
class PlanFlags:
    """What is wanted besides the plan on standard output."""

    output: Path | None
    simulate_target: Path | None
    detailed_exitcode: bool
    resolve: bool


@click.command()
@opt.files
@opt.target
@opt.simulate
@opt.rate
@opt.reading
@opt.guarding
@opt.arriving
@opt.comparing
@opt.meaning
@opt.feed_guarding
@opt.scope
@gathered(
    "wanted",
    PlanFlags,
    click.option(
        "--output",
        "-o",
        type=FILE,
        metavar="FILE",
        help="Write the plan to this file, for apply --plan or sync --plan.",
    ),
    click.option(
        "--simulate-target",
        type=FILE,
        metavar="FILE",
        help="Simulate the run, in virtual time, against the server that this scenario describes.",
    ),
    click.option("--detailed-exitcode", is_flag=True, help="Exit with 8 if there is anything to send."),
    click.option("--resolve", is_flag=True, help="Ask the target for the ids of names; nothing is changed there."),
)
@opt.speaking
def plan(
    files: tuple[str, ...],
    config: Path | None,
    override: OverrideFlags,
    baseline: Baseline,
    wanted: PlanFlags,
    *,
    simulate: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Show what a run would do; change nothing.

    Reads everything and prints counts, requests, duration, largest groups, rejected lines and guardrails. With --state
    or --current each FILE is a feed, and the plan is for batcher sync.

    Each FILE is CSV, JSON Lines, .json or a spreadsheet, optionally compressed (.gz, .zst); - is standard input.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.runs.plan_content import Wanted, of_changes, of_sync, prediction, write_plan
        from batcher.core.errors import InputError
        from batcher.engine.preview.arrival import check_streams

        given, output, simulate_target = override.parsed(), wanted.output, wanted.simulate_target
        if output is not None and "-" in files:
            raise InputError("a plan file (-o) cannot be made from standard input; give a FILE")
        settings = load_settings(config, flags)
        if simulate:
            settings = settings.for_simulation()
        check_streams([file for file in files if file == "-"], settings.guard)
        is_sync = bool(flags["state"] or baseline.is_given)
        if simulate_target is not None and (is_sync or "-" in files):
            raise InputError("--simulate-target needs files of changes, not a feed or standard input")
        kind = Wanted(simulate, output is not None, wanted.resolve)
        if is_sync:
            with as_files(files) as paths:
                goal = baseline.goal(paths, settings)
                content = of_sync(goal, settings, given, kind)
        else:
            content = of_changes(files, settings, given, kind)
        if simulate_target is not None:
            content["prediction"] = prediction(files, settings, simulate_target)
        if output is not None:
            write_plan(output, content)
        _tell(content, as_json=said.json, quiet=said.quiet)
        return _exit_code(content, settings, detailed=wanted.detailed_exitcode)

    guarded(work, verbose=said.verbose)


def _tell(content: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    from batcher.cli.runs.plan_text import told

    if as_json:
        write_json(content)
        return
    write_lines(told(content))
    for hint in () if quiet else content["hints"]:
        say(f"note: {hint}")


def _exit_code(content: dict[str, Any], settings: Settings, *, detailed: bool) -> int:
    if settings.input.strict and content["changes"]["rejected"]:
        return 2
    if content["refused_by"]:
        return 5
    return _DIFFERENT if detailed and content["changes"]["to_send"] else 0
