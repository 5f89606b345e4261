"""`batcher explain`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up


def explain(
    ledger: opt.Ledger,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id or name, as in the input.")],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Id or name, as in the input.")],
    json: opt.Json = False,
) -> None:
    """Tell the story of one pair: its lines, batches, attempts and replies."""
    set_up(quiet=False)

    def work() -> int:
        import orjson

        from batcher.core.errors import InputError
        from batcher.ledger.reader import LedgerReader
        from batcher.ledger.story import story

        with LedgerReader(ledger) as reader:
            records = story(reader, user, group)
        if json:
            sys.stdout.write(orjson.dumps({"user": user, "group": group, "lines": records}).decode() + "\n")
            return 0
        if not records:
            raise InputError(f"no line of this run names user {user} and group {group}")
        for record in records:
            sys.stdout.write("\n".join(_told(record)) + "\n")
        return 0

    guarded(work)


def _told(record: dict[str, Any]) -> list[str]:
    head = f"{record['source']}, line {record['line']}: {record['op']}: {record['status']}"
    if "decided_by_line" in record:
        return [f"{head} (line {record['decided_by_line']} decides)"]
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
