"""`batcher verify`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up, write_json, write_lines

_DIFFERENT = 8


@click.command()
@opt.ledger
@opt.json
@opt.quiet
def verify(ledger: Path, *, json: bool, quiet: bool) -> None:
    """Check that a LEDGER is consistent; exits with 8 if not."""
    set_up(quiet=quiet)

    def work() -> int:
        from batcher.core.errors import LedgerError
        from batcher.ledger.reader import LedgerReader
        from batcher.ledger.verify import differences

        with LedgerReader(ledger) as reader:
            if not reader.facts():
                raise LedgerError(
                    f"{ledger} contains no run yet; if it was copied during a run, copy {ledger.name}-wal as well"
                )
            while True:
                version = reader.version()
                with reader.at_one_moment() as is_held:
                    found, total = differences(reader), sum(reader.tally().values())
                if is_held or version == reader.version():  # otherwise a run has started to work on it in the meantime
                    break
        if json:
            write_json({"changes": total, "differences": found})
        else:
            write_lines(found or [f"{total:,} changes: the ledger is consistent"])
        return _DIFFERENT if found else 0

    guarded(work)
