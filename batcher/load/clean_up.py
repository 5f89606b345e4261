"""Taking out again what a load run has put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from batcher.core.errors import ConfigurationError
from batcher.core.model import Action, Keys, Status
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.delivery.stopping import Stopping
from batcher.engine.apply import Occasion, apply
from batcher.engine.session import Surroundings
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader
from batcher.settings import Settings

_MAY_BE_IN = (Status.APPLIED, Status.UNCHANGED, Status.UNKNOWN, Status.PENDING)


def write_removals(ledgers: Iterable[Path], file: Path) -> int:
    """A file of removals of all pairs that these load runs have added, or may have; returns how many there are.

    A pair that the run itself removed again in another window is among them all the same: two windows may have been
    under way together.

    Raises:
        UsageError: When a ledger cannot be read or the file not be written.

    """
    count, options = 0, pa.csv.WriteOptions(include_header=False)
    try:
        with file.open("xb") as out:
            for ledger in ledgers:
                with LedgerReader(ledger) as reader:
                    for state in reader.windows():
                        table = _removals(state)
                        if not count and len(table):
                            out.write(",".join(table.schema.names).encode() + b"\n")
                        count += len(table)
                        if len(table):
                            pa.csv.write_csv(table, out, options)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    return count


async def clean_up(
    file: Path,
    ledgers: Sequence[Path],
    settings: Settings,
    credentials: Credentials,
    ledger: Path,
    surroundings: Surroundings,
    stopping: Stopping,
    *,
    is_simulated: bool,
) -> Report:
    """Apply the removals; what the load run lost and may still arrive is waited for.

    Raises:
        UsageError: As `apply`.

    """
    occasion = Occasion({}, lambda _: None, earlier=tuple(ledgers), is_judged=True)
    return await apply(
        [file],
        settings,
        credentials,
        ledger,
        surroundings,
        stopping=stopping,
        is_simulated=is_simulated,
        occasion=occasion,
    )


def _removals(state: WindowState) -> pa.Table:
    columns = state.window.columns
    is_add = columns.action == Action.ADD
    rows = np.flatnonzero(is_add & np.isin(state.status, [int(status) for status in _MAY_BE_IN]))
    user, group = _column("user", columns.user.take(rows)), _column("group", columns.group.take(rows))
    return pa.table({"op": pa.array(["remove"] * len(rows), pa.string()), user[0]: user[1], group[0]: group[1]})


def _column(name: str, keys: Keys) -> tuple[str, pa.Array]:
    if keys.entries is None:
        return f"{name}_id", pa.array(keys.codes)
    values = keys.values(keys.codes)
    is_name = any(isinstance(value, str) for value in values)
    return f"{name}_{'name' if is_name else 'id'}", pa.array([str(value) for value in values])
