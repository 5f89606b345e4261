"""`batcher plan`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, set_up

if TYPE_CHECKING:
    from batcher.settings import Settings

_MOST_GROUPS = 10


@click.command()
@opt.files
@opt.target
@opt.simulate
@opt.rate
@opt.reading
@opt.speaking
def plan(
    files: tuple[str, ...],
    config: Path | None,
    *,
    simulate: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Read everything, send nothing, tell what would be done.

    Counts, requests, duration, largest groups, rejects, guardrails.

    Each FILE is CSV, JSON Lines or .json, also .gz and .zst; - is standard input.
    """
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> int:
        settings = opt.load_settings(config, flags)
        if simulate:
            settings = settings.for_simulation()
        return _plan(files, settings, as_json=json, quiet=quiet)

    guarded(work, verbose=verbose)


def _plan(files: Sequence[str], settings: Settings, *, as_json: bool, quiet: bool) -> int:
    import orjson

    from batcher.core.units import parse_rate
    from batcher.engine.job import reading
    from batcher.engine.session import make_target
    from batcher.engine.survey import Packing, survey
    from batcher.source.reader import Input

    destination = make_target(settings)
    limits, speed = settings.limits_for(destination), settings.requests_rate(destination)
    paths = [_readable(file) for file in files]
    inputs = [Input(file, path, settings.input.format) for file, path in zip(files, paths, strict=True)]
    packing = Packing(limits, destination.wire, settings.input.ordered)
    try:
        seen = survey(inputs, reading(settings, destination.ids_only), packing)
    finally:
        for file, path in zip(files, paths, strict=True):
            if file == "-":
                path.unlink()
    margin = 1 + settings.rate.margin
    seconds = max(0, seen.requests - settings.rate.burst) * speed.seconds * margin / speed.count if speed else 0.0
    sendable = seen.adds + seen.removals - seen.superseded
    changes = parse_rate(settings.rate.changes)
    if changes is not None:
        seconds = max(seconds, max(0, sendable - limits.max_changes) * changes.seconds * margin / changes.count)
    refusals = _refusals(settings, seen.removals, seen.rejected)
    hints = [*destination.hints]
    hints += [
        f"the {part} column holds both ids and names; the same {part} under both cannot be recognised: --ordered keeps"
        " their order"
        for part in seen.mixes
        if not settings.input.ordered
    ]
    if not seen.groups_are_complete:
        hints.append("there are more groups than were counted; the figures of the largest may be too low")
    content: dict[str, Any] = {
        "target": destination.name,
        "changes": {
            "total": seen.total,
            "add": seen.adds,
            "remove": seen.removals,
            "rejected": seen.rejected,
            "superseded": seen.superseded,
            "to_send": sendable,
        },
        "requests": seen.requests,
        "rate": str(speed) if speed else "none",
        "seconds": round(seconds, 1),
        "largest_groups": [{"group": g, "changes": n} for g, n in seen.groups.most_common(_MOST_GROUPS)],
        "rejects": [{"source": s, "line": n, "reason": r} for s, n, r in seen.first_rejects],
        "refused_by": refusals,
        "hints": hints,
    }
    sys.stdout.write(orjson.dumps(content).decode() + "\n" if as_json else "\n".join(_told(content)) + "\n")
    if not quiet and not as_json:
        for hint in hints:
            say(f"note: {hint}")
    if settings.input.strict and seen.rejected:
        return 2
    return 5 if refusals else 0


def _refusals(settings: Settings, removals: int, rejected: int) -> list[str]:
    refusals = []
    most = settings.guard.max_removals
    if most is not None and removals > most:
        refusals.append(f"{removals} removals, guard.max_removals allows {most}")
    if settings.input.strict and rejected:
        refusals.append(f"{rejected} invalid lines, --strict allows none")
    return refusals


def _told(content: dict[str, Any]) -> list[str]:
    from batcher.core.units import spoken

    changes = content["changes"]
    lines = [
        f"{changes['total']:,} changes: {changes['add']:,} add, {changes['remove']:,} remove,"
        f" {changes['rejected']:,} rejected; {changes['superseded']:,} superseded, {changes['to_send']:,} to send",
        f"{content['requests']:,} requests to {content['target']} at {content['rate']}:"
        f" at least {spoken(content['seconds'])}",
    ]
    if content["largest_groups"]:
        largest = ", ".join(f"{item['group']} ({item['changes']:,})" for item in content["largest_groups"])
        lines.append(f"largest groups: {largest}")
    lines += [f"rejected: {r['source']}, line {r['line']}: {r['reason']}" for r in content["rejects"]]
    if changes["rejected"] > len(content["rejects"]):
        lines.append(f"… and {changes['rejected'] - len(content['rejects']):,} more rejected lines")
    lines += [f"would be refused: {why}" for why in content["refused_by"]]
    return [*lines, "nothing was sent"]


def _readable(file: str) -> Path:
    """The file, or standard input as one that can be read in several passes."""
    import os
    import shutil
    import tempfile

    if file != "-":
        return Path(file)
    descriptor, name = tempfile.mkstemp(prefix="batcher-")
    with os.fdopen(descriptor, "wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return Path(name)
