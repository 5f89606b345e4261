"""`batcher verify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli import options as opt
from batcher.cli.console import guarded, write_json, write_lines
from batcher.cli.flags import Speaking, is_of_environment
from batcher.cli.option_types import FILE, gathered

if TYPE_CHECKING:
    from batcher.engine.jobs.reading_back import Proof

_DIFFERENT = 8


@dataclass(frozen=True, slots=True)
class AgainstTarget:
    """Whether the target is read, how much of it, and where differences are written."""

    against_target: bool
    sample: str | None
    output: Path | None


@click.command()
@opt.ledger
@gathered(
    "wanted",
    AgainstTarget,
    click.option("--against-target", is_flag=True, help="Read at the target who is in the groups that were changed."),
    click.option("--sample", metavar="SHARE", help="Read only so many of these groups, chosen at random: 5%."),
    click.option("--output", "-o", type=FILE, metavar="FILE", help="Write all these differences to this CSV file."),
)
@opt.reaching
@opt.speaking
def verify(ledger: Path, wanted: AgainstTarget, config: Path | None, url: str | None, said: Speaking) -> None:
    """Check that a LEDGER is consistent; exits with 8 if not.

    With --against-target, also check that the target has what the ledger says: every group that was changed is read,
    and what is missing, unexpected or ambiguous is listed with its line.
    """
    said.set_up()

    def work() -> int:
        from batcher.core.errors import ConfigurationError, LedgerError
        from batcher.ledger.reader import LedgerReader
        from batcher.ledger.verify import differences

        if not wanted.against_target and (wanted.sample or wanted.output):
            raise ConfigurationError("--sample and --output are for --against-target")
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
            sources = [source.name for source in reader.sources()]
        content: dict[str, Any] = {"changes": total, "differences": found}
        lines = found or [f"{total:,} changes: the ledger is consistent"]
        is_fine = not found
        if wanted.against_target:
            from batcher.cli.commands.resume import reach_of
            from batcher.cli.runs.reading_back import as_json, told, verify_target

            reach = reach_of(ledger, config, url, is_certain=not is_of_environment("config"))
            proof: Proof = verify_target(ledger, reach, wanted.sample, wanted.output)
            content["target"], is_fine = as_json(proof, sources), is_fine and proof.is_proven
            lines += told(proof, sources)
        if said.json:
            write_json(content)
        else:
            write_lines(lines)
        return 0 if is_fine else _DIFFERENT

    guarded(work, verbose=said.verbose)
