"""`batcher explain`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up, write_json, write_lines

if TYPE_CHECKING:
    from batcher.core.keys import Key


@click.command()
@opt.ledger
@click.argument("user", metavar="USER")
@click.argument("group", metavar="GROUP")
@opt.json
def explain(ledger: Path, user: str, group: str, *, json: bool) -> None:
    """Show the history of one pair.

    Prints its input lines, batches, attempts and replies.

    LEDGER is the ledger of a run; USER and GROUP are ids or names, as in the input of that run.
    """
    set_up(quiet=False)

    def work() -> int:
        from datetime import UTC, datetime

        from batcher.core.errors import InputError
        from batcher.core.report import proven
        from batcher.engine.jobs.summary import report_of
        from batcher.ledger.history import story
        from batcher.ledger.reader import LedgerReader

        with LedgerReader(ledger) as reader, reader.at_one_moment():
            records, proof = story(reader, user, group), report_of(reader).proof
        if json:
            write_json({"user": user, "group": group, "lines": records} | ({"proof": proof} if proof else {}))
            return 0
        if not records:
            raise InputError(f"no line of this run names user {user} and group {group}")
        for record in records:
            write_lines(_told(record))
        if proof:
            write_lines(
                [f"read back {datetime.fromtimestamp(proof['at'], UTC):%Y-%m-%d %H:%M:%S} UTC: {proven(proof)}"]
            )
            write_lines(_read_back(proof, {record["group_id"]: None for record in records}))
        return 0

    guarded(work)


def _read_back(proof: Mapping[str, Any], groups: Iterable[Key]) -> list[str]:
    """What of these groups was read, where not everything was."""
    reasons = {one["group"]: one["reason"] for one in proof.get("unread", ())}
    sampled, lines = proof.get("sampled"), []
    for group in groups:
        if group in reasons:
            lines.append(f"  group {group} could not be read: {reasons[group]}")
        elif sampled is not None:
            word = "was" if group in sampled else "is not known to have been"
            lines.append(f"  group {group} {word} among those read")
    return lines


def _told(record: dict[str, Any]) -> list[str]:
    head = f"{record['source']}, line {record['line']}: {record['op']}: {record['status']}"
    if "decided_by_line" in record:
        return [f"{head} (decided by line {record['decided_by_line']})"]
    lines = [head]
    for word in record["settled"]:
        for attempt in word["attempts"]:
            size = "alone" if attempt["changes"] == 1 else f"with {attempt['changes'] - 1} others"
            status = attempt["http_status"] or "no reply"
            times = f" ({attempt['times']} times)" if attempt["times"] > 1 else ""
            lines.append(f"  {attempt['at']}  batch {attempt['batch']}, {size}: {status}, {attempt['reply']}{times}")
        detail = f": {word['detail']}" if word["detail"] else ""
        lines.append(f"  {word['at']}  {word['status']}{detail}")
    return lines
