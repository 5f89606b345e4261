"""Taking out again what a load run has put in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from batcher.core.errors import ConfigurationError
from batcher.core.model import Action, Key
from batcher.core.report import Report
from batcher.core.status import IN_EFFECT, UNCLEAR, are
from batcher.engine.jobs.apply import Occasion, apply
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference
from batcher.files import open_private
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader
from batcher.sections import RetrySettings
from batcher.settings import Settings

_PATIENCE = "1m"
"""Of a clean-up with a target that accepts nothing, unless the user says otherwise: it can be gone on with."""
_MAY_BE_IN = IN_EFFECT | UNCLEAR


def cleaning_files(ledger: Path) -> tuple[Path, Path]:
    """Where the removals of a load run stand, and the ledger of sending them."""
    return ledger.with_name(f"{ledger.name}.clean-up.jsonl"), ledger.with_name(f"{ledger.name}.clean-up")


def patient(settings: Settings) -> Settings:
    """The same for a clean-up: whoever has just killed a target with load need not wait for it for long."""
    is_said = settings.retry.max_wait != RetrySettings().max_wait
    return settings if is_said else settings.replace(retry={"max_wait": _PATIENCE})


def write_removals(ledgers: Iterable[Path], file: Path) -> int:
    """A file of removals of all pairs that these load runs have added, or may have; returns how many there are.

    A pair that the run itself removed again in another window is among them all the same: two windows may have been
    under way together. Only the owner can read the file.

    Raises:
        UsageError: When a ledger cannot be read or the file not be written.

    """
    count = 0
    try:
        with open_private(file, "xb") as out:
            for ledger in ledgers:
                with LedgerReader(ledger) as reader:
                    for state in reader.windows():
                        lines = list(_removals(state))
                        out.writelines(lines)
                        count += len(lines)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    return count


async def clean_up(file: Path, ledgers: Sequence[Path], context: RunContext) -> Report:
    """Apply the removals; what the load run lost and may still arrive is waited for.

    Raises:
        UsageError: As `apply`.

    """
    plain = for_difference(context.settings).replace(input={"format": "jsonl"})  # whatever the load's own looked like
    occasion = Occasion({}, lambda _: None, earlier=tuple(ledgers), is_judged=True)
    return await apply([file], replace(context, settings=plain), occasion=occasion)


def _removals(state: WindowState) -> Iterator[bytes]:
    """JSON Lines, in which an id is never taken for a name."""
    columns = state.window.columns
    is_add = columns.action == Action.ADD
    may_be_in = are(state.status, _MAY_BE_IN)
    for settlement in state.settlements:  # what was refused after a request of it had been lost may be in, too
        may_be_in[settlement.rows] |= any(attempt.lost for attempt in settlement.history)
    rows = np.flatnonzero(is_add & may_be_in)
    user, group = columns.user.take(rows), columns.group.take(rows)
    for one, other in zip(user.values(user.codes), group.values(group.codes), strict=True):
        yield orjson.dumps({"op": "remove", _key("user", one): one, _key("group", other): other}) + b"\n"


def _key(part: str, value: Key) -> str:
    return f"{part}_{'name' if isinstance(value, str) else 'id'}"
