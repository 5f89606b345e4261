"""`batcher verify`."""

from __future__ import annotations

import sys

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up

_DIFFERENT = 8


def verify(ledger: opt.Ledger, json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Check that a ledger agrees with itself; exits 8 when it does not."""
    set_up(quiet=quiet)

    def work() -> int:
        import orjson

        from batcher.ledger.reader import LedgerReader
        from batcher.ledger.verify import differences

        with LedgerReader(ledger) as reader:
            found = differences(reader)
            total = sum(reader.tally().values())
        if json:
            sys.stdout.write(orjson.dumps({"changes": total, "differences": found}).decode() + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in found) or f"{total:,} changes: the ledger is consistent\n")
        return _DIFFERENT if found else 0

    guarded(work)
