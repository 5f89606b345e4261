"""`batcher undo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, say, write_json, write_lines
from batcher.cli.flags import Speaking, load_settings
from batcher.cli.option_types import FILE

if TYPE_CHECKING:
    from batcher.engine.sync.undo import Undo

_BEHIND = 40
"""Bytes that may be appended to a ledger's name to form other names."""


@click.command()
@opt.ledger
@click.argument("later", type=FILE, nargs=-1, metavar="[LATER…]")
@opt.target
@opt.simulate
@click.option("--state", type=FILE, metavar="FILE", help="State file; default: the one that the run worked with.")
@click.option("--output", "-o", type=FILE, metavar="FILE", help="Plan file to write; default: LEDGER.undo.json.")
@opt.speaking
def undo(
    ledger: Path,
    later: tuple[Path, ...],
    config: Path | None,
    state: Path | None,
    output: Path | None,
    *,
    simulate: bool,
    said: Speaking,
    **flags: Any,  # noqa: ANN401 — the settings' own flags
) -> None:
    """Make a plan that undoes the run of a LEDGER.

    Sends nothing: the result is a plan for batcher apply --plan. Pairs that were changed since, according to the state,
    to other runs on this host or to a LATER ledger, are left out and listed.
    """
    said.set_up()

    def work() -> int:
        from batcher.cli.runs.plan_content import write_plan
        from batcher.core.report import quoted
        from batcher.engine.jobs.job import for_difference
        from batcher.engine.run.session import make_target
        from batcher.engine.sync.saved_plan import bind, described
        from batcher.engine.sync.undo import compile_undo, files_of
        from batcher.files import made_together, shortened
        from batcher.host.run_registry import state_folder
        from batcher.host.runtime import real_clock

        settings = for_difference(load_settings(config, flags))
        if simulate:
            settings = settings.for_simulation()
        plan = output or ledger.parent / f"{shortened(ledger.name, _BEHIND)}.undo.json"
        with made_together([plan, *files_of(plan)]):
            folder, utc = state_folder(os.environ), real_clock().utc
            made = compile_undo(ledger, later, settings, plan, state=state, state_folder=folder, utc=utc)
            content = bind("undo", made.changes, settings, state=made.state, basis=made.basis, undone=ledger)
            content |= described(settings, make_target(settings), made.seen, made.rulings)
            content["undo"] = _content(made, ledger)
            write_plan(plan, content)
        if said.json:
            write_json(content)
        else:
            write_lines(_told(content))
        if not said.quiet:
            say("batcher: to apply it, with the same options:")
            say(f"batcher apply --plan {quoted(str(plan))}")
        return 0

    guarded(work, verbose=said.verbose)


def _content(made: Undo, ledger: Path) -> dict[str, Any]:
    inverse = made.inverse
    unknown = []
    if inverse.removals:
        unknown.append(
            f"whether the {inverse.removals:,} pairs that the run added had been members before, which the target did"
            " not report: they are removed"
        )
    if inverse.adds:
        unknown.append(
            f"whether the {inverse.adds:,} pairs that the run removed had been members before, which the target did"
            " not report: they are added"
        )
    unknown += [f"what a later run changed, because its ledger {path} is gone" for path in made.unread]
    unknown += [
        f"whether the run of {path} changed the same pairs: one of the two runs uses ids, the other names"
        for path in inverse.unlike
    ]
    return {
        "ledger": str(ledger),
        "pairs": inverse.applied,
        "add": inverse.adds,
        "remove": inverse.removals,
        "left_out": inverse.left_out,
        "left_out_file": str(made.left_out),
        "cannot_know": unknown,
    }


def _told(content: dict[str, Any]) -> list[str]:
    undo = content["undo"]
    lines = [
        f"the run changed {undo['pairs']:,} pairs; to undo it, remove {undo['remove']:,} and add {undo['add']:,}",
        f"{content['requests']:,} requests to {content['target']} at {content['rate']}",
    ]
    lines += [f"left out: {count:,} pairs: {reason}" for reason, count in undo["left_out"].items()]
    if undo["left_out"]:
        lines.append(f"they are listed in {undo['left_out_file']}")
    lines += [f"cannot be known: {what}" for what in undo["cannot_know"]]
    lines += [f"would be refused: {why}" for why in content["refused_by"]]
    return [*lines, "nothing was sent"]
