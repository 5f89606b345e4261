"""What `verify --against-target` reads, and says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from batcher.cli.runs.runner import embedded, given_credentials, run_async
from batcher.core.errors import ConfigurationError
from batcher.core.units import parse_share
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.job import preflight, settings_of
from batcher.engine.jobs.reaching import Reach
from batcher.engine.jobs.reading_back import Extent, Proof, read_back
from batcher.engine.run.session import make_target, readable
from batcher.host.run_registry import state_folder
from batcher.host.runtime import real_runtime
from batcher.ledger.reader import LedgerReader
from batcher.state.proof import Discrepancy, UnprovenPair

_SHOWN = 20
_WORDS = {
    Discrepancy.MISSING: "was added, and is not there",
    Discrepancy.UNEXPECTED: "was removed, and is there",
    Discrepancy.AMBIGUOUS: "is not known to be applied or not",
}


def verify_target(ledger: Path, reach: Reach, sample: str | None, output: Path | None) -> Proof:
    """Read the target, and compare it with the ledger.

    Raises:
        ConfigurationError: When the target cannot be read.
        NotBegunError: When it does not answer, or refuses.

    """
    share = None if sample is None else parse_share(sample)
    if share is not None and not 0 < share <= 1:
        raise ConfigurationError(f"--sample {sample}: more than 0 and at most 100%")
    settings = settings_of(ledger).replace(**reach)
    readable(make_target(settings))
    with LedgerReader(ledger) as reader:
        facts = reader.facts()
    is_simulated = "simulated" in facts
    proofs: list[Proof] = []

    async def main() -> int:
        async with AsyncExitStack() as stack:
            chosen = settings
            if is_simulated:
                keeper = Path(facts["state"]) if "state" in facts else ledger
                chosen = settings.replace(target={"url": await embedded(stack, keeper)})
            given = given_credentials(chosen, simulated=is_simulated)
            preflight(chosen, given)
            access = Access(chosen, given, real_runtime(None if is_simulated else state_folder(os.environ)))
            with LedgerReader(ledger) as reader:
                proofs.append(await read_back(reader, make_target(chosen), access, Extent(share, output=output)))
        return 0

    run_async(main)
    return proofs[0]


def as_json(proof: Proof, sources: Sequence[str]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "groups": proof.groups,
        "groups_read": proof.read,
        "requests": proof.requests,
        "pairs": proof.pairs,
        "missing": proof.missing,
        "unexpected": proof.unexpected,
        "ambiguous": proof.ambiguous,
        "unread": [{"group": one.group, "reason": one.reason} for one in proof.unread],
        "groups_with_differences_at_most": proof.most_faulty,
        "listed": [
            {
                "finding": one.finding.value,
                "user": one.user,
                "group": one.group,
                "source": sources[one.source],
                "line": one.line,
                "is_there": one.is_there,
            }
            for one in proof.differences
        ],
    }


def told(proof: Proof, sources: Sequence[str]) -> list[str]:
    """Lines for people."""
    wrong = proof.missing + proof.unexpected + proof.ambiguous
    so = "all of these pairs are so" if not wrong else f"{proof.pairs - wrong:,} of these pairs are so"
    lines = [
        f"{proof.read:,} of {proof.groups:,} groups were read with {proof.requests:,} requests,"
        f" about {proof.pairs:,} pairs: {so}"
    ]
    if wrong:
        lines.append(f"{proof.missing:,} missing, {proof.unexpected:,} unexpected, {proof.ambiguous:,} ambiguous")
    if proof.most_faulty is not None:
        lines.append(
            f"of all {proof.groups:,} groups, at most {proof.most_faulty:,} have a pair that is missing or unexpected"
            " (with a confidence of 95%)"
        )
    lines += [f"unread: group {one.group}: {one.reason}" for one in proof.unread[:_SHOWN]]
    if len(proof.unread) > _SHOWN:
        lines.append(f"… and {len(proof.unread) - _SHOWN:,} more groups")
    lines += [_line(one, sources) for one in proof.differences[:_SHOWN]]
    if wrong > _SHOWN:
        lines.append(f"… and {wrong - _SHOWN:,} more; -o FILE writes all of them")
    return lines


def _line(one: UnprovenPair, sources: Sequence[str]) -> str:
    there = {True: "; it is there", False: "; it is not there", None: "; its group was not read"}[one.is_there]
    known = there if one.finding is Discrepancy.AMBIGUOUS else ""
    place = f"{sources[one.source]}, line {one.line}"
    return f"{one.finding.value}: user {one.user} in group {one.group} {_WORDS[one.finding]}{known} ({place})"
