"""Removes the memberships that a load run has added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from batcher.core.errors import ConfigurationError
from batcher.core.keys import Key
from batcher.core.model import Action, KeyKind
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
from batcher.targets import key_kind_of

_PATIENCE = "1m"
"""The `max_wait` of a clean-up, unless the user sets another; it can be continued."""
_MAY_BE_IN = IN_EFFECT | UNCLEAR


def cleaning_files(ledger: Path) -> tuple[Path, Path]:
    """The file with the removals for a load run, and the ledger of the clean-up."""
    return ledger.with_name(f"{ledger.name}.clean-up.jsonl"), ledger.with_name(f"{ledger.name}.clean-up")


def patient(settings: Settings) -> Settings:
    """The settings for a clean-up, which does not wait long for a target that the load may just have broken."""
    is_said = settings.retry.max_wait != RetrySettings().max_wait
    return settings if is_said else settings.replace(retry={"max_wait": _PATIENCE})


def write_removals(ledgers: Iterable[Path], file: Path) -> int:
    """Write removals for all pairs that these load runs have or may have added; returns how many there are.

    Pairs that a run itself removed again in another window are included: the two windows may have been in flight at the
    same time. Only the owner can read the file.

    Raises:
        UsageError: When a ledger cannot be read, or the file cannot be written.

    """
    count = 0
    try:
        with open_private(file, "xb") as out:
            for ledger in ledgers:
                with LedgerReader(ledger) as reader:
                    kind = key_kind_of(reader.facts().get("target", ""))
                    for state in reader.windows():
                        lines = list(_removals(state, kind))
                        out.writelines(lines)
                        count += len(lines)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    return count


async def clean_up(file: Path, ledgers: Sequence[Path], context: RunContext) -> Report:
    """Apply the removals, after waiting for in-doubt requests of the load runs.

    Raises:
        UsageError: Like `apply`.

    """
    # Whatever the input of the load run looked like:
    plain = for_difference(context.settings).replace(input={"format": "jsonl"})
    occasion = Occasion({}, lambda _: None, earlier=tuple(ledgers), is_judged=True)
    return await apply([file], replace(context, settings=plain), occasion=occasion)


def _removals(state: WindowState, kind: KeyKind) -> Iterator[bytes]:
    """The removals as JSON Lines, in which an id cannot be taken for a name."""
    columns = state.window.columns
    is_add = columns.action == Action.ADD
    may_be_in = are(state.status, _MAY_BE_IN)
    for settlement in state.settlements:  # a change that was lost and then refused may be in effect, too
        may_be_in[settlement.rows] |= any(attempt.lost for attempt in settlement.history)
    rows = np.flatnonzero(is_add & may_be_in)
    user, group = columns.user.take(rows), columns.group.take(rows)
    for one, other in zip(user.values(user.codes), group.values(group.codes), strict=True):
        yield orjson.dumps({"op": "remove"} | _entry("user", one, kind) | _entry("group", other, kind)) + b"\n"


def _entry(part: str, key: Key, kind: KeyKind) -> dict[str, Key]:
    if isinstance(key, str) or kind in (KeyKind.TEXT, KeyKind.LOOKUP):
        return {f"{part}_name": str(key)}
    return {f"{part}_id": key}
