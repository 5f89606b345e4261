"""Windows and settlements as rows of the ledger's tables (`schema`)."""

from __future__ import annotations

from dataclasses import astuple, fields
from operator import attrgetter

import numpy as np
import orjson

from batcher.core.batch import Attempt, Receipts, Settlement
from batcher.core.clock import Stamp
from batcher.core.model import REJECTED_ROW, Columns, Position, Window
from batcher.core.status import Status
from batcher.core.vectors import Bytes, Ints
from batcher.ledger.arrays import pack_dictionary, pack_given, pack_ints, pack_json, pack_steps

_receipts = attrgetter(*(field.name for field in fields(Receipts)))
_fields = attrgetter(*(field.name for field in fields(Attempt) if field.name != "boot"))
"""As `astuple`, which copies deeply and is many times slower; when it was for other processes is kept with the loss."""


def window_row(window: Window) -> tuple[object, ...]:
    """Of the table `window`."""
    columns = window.columns
    is_valid = columns.action != REJECTED_ROW
    return (
        window.id,
        window.first_row,
        len(columns),
        columns.user.take(is_valid).forms | columns.group.take(is_valid).forms << 2 | _given_forms(columns) << 4,
        position_text(window.position),
        pack_ints(columns.action),
        pack_ints(columns.user.codes),
        pack_dictionary(columns.user.dictionary),
        pack_ints(columns.group.codes),
        pack_dictionary(columns.group.dictionary),
        pack_steps(columns.line),
        pack_ints(columns.source),
        pack_json([(r.index, r.reason) for r in columns.rejects]),
        pack_given(columns.given),
    )


def _given_forms(columns: Columns) -> int:
    """Bits: 1 when texts are ids, 2 when some of them were given as names."""
    given = columns.given
    return 0 if given is None else 1 + 2 * (given.user is not None or given.group is not None)


def settlement_row(settlement: Settlement, lost: Stamp | None) -> tuple[object, ...]:
    """Of the table `settlement`, without its number; `lost` is when a request that may still arrive was lost."""
    return (
        settlement.window,
        settlement.batch,
        settlement.at,
        lost.utc if lost else None,
        str(lost) if lost else None,
        pack_ints(settlement.rows),
        pack_ints(settlement.status),
        pack_json({str(index): reason for index, reason in settlement.details.items()}),
        pack_json([_fields(attempt) for attempt in settlement.history]),
        None if settlement.receipts is None else pack_json(_receipts(settlement.receipts)),
    )


def pending(rows: Ints) -> Bytes:
    """The statuses of rows that are open."""
    return np.full(len(rows), Status.PENDING, np.int8)


def position_text(position: Position) -> str:
    """A position as JSON."""
    return orjson.dumps(astuple(position)).decode()


def position_of(text: str) -> Position:
    """What `position_text` wrote."""
    source, offset, skip, digest, forms, end = orjson.loads(text)
    return Position(source, offset, skip, digest, (forms[0], forms[1]), end)


def stamp_of(text: object) -> Stamp | None:
    """A moment as the ledger keeps it; None without one, or if it cannot be read."""
    try:
        return None if text is None else Stamp.parse(str(text))
    except ValueError:
        return None
