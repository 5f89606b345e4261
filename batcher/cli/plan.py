"""`batcher plan`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, write_json, write_lines
from batcher.cli.flags import Baseline, OverrideFlags, Speaking, load_settings
from batcher.cli.standard_input import as_files

if TYPE_CHECKING:
    from batcher.engine.preview.guardrails import Override
    from batcher.engine.sync.sync import Goal
    from batcher.settings import Settings

_DIFFERENT = 8
_SHOWN_PAIRS = 5
_SHOWN_GROUPS = 10
_SHOWN_REJECTS = 10


@dataclass(frozen=True, slots=True)
class PlanFlags:
    """What is wanted besides the plan on standard output."""

    output: Path | None
    simulate_target: Path | None
    detailed_exitcode: bool


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
@opt.gathered(
    "wanted",
    PlanFlags,
    click.option(
        "--output",
        "-o",
        type=opt.FILE,
        metavar="FILE",
        help="Write the plan to this file, for apply --plan or sync --plan.",
    ),
    click.option(
        "--simulate-target",
        type=opt.FILE,
        metavar="FILE",
        help="Simulate the run, in virtual time, against the server that this scenario describes.",
    ),
    click.option("--detailed-exitcode", is_flag=True, help="Exit with 8 if there is anything to send."),
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
    """Show what a run would do; send nothing.

    Reads everything and prints counts, requests, duration, largest groups, rejected lines and guardrails. With --state
    or --current each FILE is a feed, and the plan is for batcher sync.

    Each FILE is CSV, JSON Lines, .json or a spreadsheet, optionally compressed (.gz, .zst); - is standard input.
    """
    said.set_up()

    def work() -> int:
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
        if is_sync:
            with as_files(files) as paths:
                goal = baseline.goal(paths, settings)
                content = _of_sync(goal, settings, given, is_simulated=simulate, is_bound=output is not None)
        else:
            content = _of_changes(files, settings, given, is_bound=output is not None)
        if simulate_target is not None:
            content["prediction"] = _prediction(files, settings, simulate_target)
        if output is not None:
            write_plan(output, content)
        _tell(content, as_json=said.json, quiet=said.quiet)
        return _exit_code(content, settings, detailed=wanted.detailed_exitcode)

    guarded(work, verbose=said.verbose)


def _tell(content: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        write_json(content)
        return
    write_lines(_told(content))
    for hint in () if quiet else content["hints"]:
        say(f"note: {hint}")


def _of_changes(files: Sequence[str], settings: Settings, given: Override, *, is_bound: bool) -> dict[str, Any]:
    from batcher.core.guardrails import override
    from batcher.engine.jobs.job import preflight, reading
    from batcher.engine.preview.arrival import judge_files
    from batcher.engine.preview.guardrails import judge
    from batcher.engine.preview.input_scan import PackingRules, Protected, scan
    from batcher.engine.sync.saved_plan import bind, described
    from batcher.source.inputs import Input

    target, guard = preflight(settings, None), settings.guard
    packing = PackingRules(settings.limits_for(target), target.wire, settings.input.ordered)
    protected = Protected.of(guard.protected_users, guard.protected_groups)
    with as_files(files) as paths:
        inputs = [Input(file, path, settings.input.format) for file, path in zip(files, paths, strict=True)]
        seen = scan(inputs, reading(settings, target.key_kind), packing, protected)
        content = bind("apply", paths, settings) if is_bound else {}
        arrived = judge_files([Path(file) for file in files if file != "-"], guard, _now(), is_feed=False)
    return content | described(settings, target, seen, override([*arrived, *judge(seen, guard)], given.guardrails))


def _now() -> float:
    """UTC seconds."""
    from datetime import UTC, datetime

    return datetime.now(UTC).timestamp()


def _prediction(files: Sequence[str], settings: Settings, described: Path) -> dict[str, Any]:
    from batcher.engine.jobs.prediction import predict
    from batcher.simulator.behaviour import Behaviour
    from batcher.simulator.scenario import read_scenario

    found = predict([Path(file) for file in files], settings, read_scenario(described, Behaviour()))
    summary = found.report.as_dict()
    return {
        "scenario": str(described),
        "requests": found.requests,
        "seconds": round(found.seconds, 3),
        "statuses": dict(sorted(found.statuses.items())),
        "highest_in_flight": found.highest_in_flight,
        "exit_code": summary["exit_code"],
        "stopped": found.report.reason,
        "changes": summary["changes"],
        "retried": found.report.requests.retried,
        "split": found.report.requests.split,
        "waited": summary["waited"],
    }


def _of_sync(goal: Goal, settings: Settings, given: Override, *, is_simulated: bool, is_bound: bool) -> dict[str, Any]:
    import tempfile
    from datetime import datetime

    from batcher.core.guardrails import override
    from batcher.engine.jobs.job import preflight
    from batcher.engine.preview.arrival import judge_files
    from batcher.engine.sync.diff import draft, from_feed
    from batcher.engine.sync.saved_plan import Basis, bind, described
    from batcher.engine.sync.sync import SyncBasis
    from batcher.host.run_registry import state_folder

    target = preflight(settings, None)
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder:
        known = None if is_simulated else state_folder(os.environ)
        with SyncBasis(goal, target, settings, known, is_simulated=is_simulated, is_look=True) as comparison:
            arrived = judge_files(goal.feed, settings.guard, _now(), is_feed=True)
            day, is_passing = datetime.now().astimezone().date(), goal.state is None
            propose = from_feed(goal.feed, settings, target, day, arrived=arrived, is_passing=is_passing)
            made = draft(comparison.store, propose, settings, target, Path(folder) / "plan", with_requests=True)
        rulings = override(made.rulings, given.guardrails)
        content = {}
        if is_bound:
            content = bind("sync", goal.feed, settings, state=goal.state, current=goal.current, basis=Basis.of(made))
        content |= described(settings, target, made.seen, rulings, draft=made)
    loaded = made.proposal.loaded
    content["changes"]["rejected"] = loaded.rejected
    content["held"] = {
        "look_alikes": made.proposal.feed.look_alikes,
        "removals": made.proposal.held_removals,
        "sample": [str(pair) for pair in made.proposal.look_alikes[:_SHOWN_REJECTS]],
    }
    content["rejects"] = [
        {"source": str(goal.feed[source]), "line": line, "reason": reason}
        for source, line, reason in loaded.rejects[:_SHOWN_REJECTS]
    ]
    return content


def _exit_code(content: dict[str, Any], settings: Settings, *, detailed: bool) -> int:
    if settings.input.strict and content["changes"]["rejected"]:
        return 2
    if content["refused_by"]:
        return 5
    return _DIFFERENT if detailed and content["changes"]["to_send"] else 0


def write_plan(output: Path, content: dict[str, Any]) -> None:
    """Write it as a file for the `--plan` of `apply` and `sync`."""
    import orjson

    from batcher.core.errors import ConfigurationError
    from batcher.files import replaced

    try:
        data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        raise ConfigurationError(f"{output} cannot be written: the plan names a file whose name is not UTF-8") from None
    try:
        with replaced(output) as file:
            file.write(data)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None


def _told(content: dict[str, Any]) -> list[str]:
    from batcher.core.units import spoken

    changes = content["changes"]
    lines = [
        f"{changes['total']:,} changes: {changes['add']:,} add, {changes['remove']:,} remove,"
        f" {changes['rejected']:,} rejected; {changes['superseded']:,} superseded, {changes['to_send']:,} to send",
        f"{content['requests']:,} requests to {content['target']} at {content['rate']}:"
        f" at least {spoken(content['seconds'])}",
    ]
    rejected = changes["rejected"]
    if "feed" in content:
        lines += _told_difference(content)
        rejected = content["feed"]["rejected"]
    elif content["largest_groups"]:
        largest = ", ".join(f"{item['group']} ({item['changes']:,})" for item in content["largest_groups"])
        lines.append(f"largest groups: {largest}")
    lines += [f"rejected: {r['source']}, line {r['line']}: {r['reason']}" for r in content["rejects"]]
    if rejected > len(content["rejects"]):
        lines.append(f"… and {rejected - len(content['rejects']):,} more rejected lines")
    lines += _told_inputs(content)
    lines += [
        f"{'overridden' if r['overridden'] else 'passes'}: {r['guardrail']}: {r['figures']}"
        for r in content["guardrails"]
        if r["overridden"] or not r["refuses"]
    ]
    lines += [f"would be refused: {why}" for why in content["refused_by"]]
    if "prediction" in content:
        lines += _told_prediction(content["prediction"])
    return [*lines, "nothing was sent"]


def _told_inputs(content: dict[str, Any]) -> list[str]:
    """What was found in the files that their names do not show."""
    lines = []
    for file in content["inputs_read"]:
        found = [f"sheet {file['sheet']!r}"] if file["sheet"] else []
        found += [f"dates in {column}" for column in file["dates"]]
        lines += [f"{file['name']}: {', '.join(found)}"] if found else []
    held = content.get("held", {})
    lines += [f"held: {what}" for what in held.get("sample", ())]
    if held.get("removals"):
        lines.append(f"held: {held['removals']:,} removals, because invalid lines do not show whose they are")
    return lines


def _told_prediction(found: dict[str, Any]) -> list[str]:
    from batcher.core.units import spoken

    statuses = ", ".join(f"{count:,} × {status}" for status, count in found["statuses"].items())
    waited = ", ".join(f"{name.replace('_', '-')} {value:,.1f} s" for name, value in found["waited"].items() if value)
    changes = ", ".join(f"{count:,} {name}" for name, count in found["changes"].items() if count and name != "total")
    return [
        f"against {found['scenario']}: {found['requests']:,} requests ({statuses}) in {spoken(found['seconds'])},"
        f" exit {found['exit_code']}",
        f"  {changes}; at most {found['highest_in_flight']} in flight; waited for {waited or 'nothing'}",
        *([f"  the run would stop: {found['stopped']}"] if found["stopped"] else []),
    ]


def _told_difference(content: dict[str, Any]) -> list[str]:
    feed = content["feed"]
    before = f" (last good feed: {feed['last_pairs']:,})" if feed["last_pairs"] else ""
    lines = [f"the feed: {feed['lines']:,} lines, {feed['rejected']:,} rejected, {feed['pairs']:,} pairs{before}"]
    width = max((len(str(item["group"])) for item in content["groups"][:_SHOWN_GROUPS]), default=0)
    shown = content["groups"][:_SHOWN_GROUPS]
    lines += [f"  {item['group']!s:<{width}}  +{item['add']:,} -{item['remove']:,}" for item in shown]
    if len(content["groups"]) > len(shown):
        lines.append(f"  … and {len(content['groups']) - len(shown):,} more groups")
    for word, mark in (("add", "+"), ("remove", "-")):
        pairs = content["sample"][word]
        lines += [f"  {mark} {user} in {group}" for user, group in pairs[:_SHOWN_PAIRS]]
        if changes_more := content["changes"][word] - len(pairs[:_SHOWN_PAIRS]):
            lines.append(f"  {mark} … and {changes_more:,} more")
    return lines
