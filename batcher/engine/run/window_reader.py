"""Windows in input order, as an async stream; reading is blocking work and runs in the executor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio

from batcher.core.errors import InputError
from batcher.core.model import Position, Window
from batcher.core.vectors import Bytes, Mask
from batcher.host.runtime import Executor
from batcher.ledger.facts import SourceFacts
from batcher.source.inputs import Input, Reading
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.source.spool import Spool
from batcher.source.windows import Windower

LINGER_SECONDS = 0.2
"""If the input is slow, a window with any rows is passed on after this time."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkItem:
    """A window to be sent.

    For a window from the ledger, `status` has the status of each row. For a retry, `wanted` marks the rows to send.
    `unchanged` marks rows that ask for what is so already.
    """

    window: Window
    status: Bytes | None = None
    wanted: Mask | None = None
    unchanged: Mask | None = None


async def read_windows(
    inputs: Sequence[Input],
    how: Reading,
    start: Position,
    windower: Windower,
    executor: Executor,
    spool: Spool | None = None,
) -> AsyncIterator[WorkItem]:
    """The windows of all inputs from `start` on.

    Raises:
        InputError: When an input cannot be read (any further), or was changed.

    """
    for number in range(start.source, len(inputs)):
        rows = read(number, inputs[number], how, start if number == start.source else Position())
        try:
            while True:
                seen = spool.version if spool else 0
                step = await executor(lambda rows=rows: next(rows, None))  # type: ignore[misc]  # mypy cannot type defaults
                if step is None:
                    break
                if not isinstance(step, Waits):
                    for window in windower.feed(*step):
                        yield WorkItem(window)
                elif spool is not None:
                    with anyio.move_on_after(LINGER_SECONDS) as linger:
                        await spool.grown(seen)
                    if linger.cancelled_caught:
                        for window in windower.flush():
                            yield WorkItem(window)
                        await spool.grown(seen)
        finally:
            rows.close()
    for window in windower.flush():
        yield WorkItem(window)


def check_unchanged(number: int, item: Input, how: Reading, known: SourceFacts, *, was_broken: bool) -> None:
    """Check that a file still has its size, and that what was read to its end is still the same.

    A file that could not be read to its end (`was_broken`) may have been repaired: only the part that was read must be
    the same.

    Raises:
        InputError: When it was changed.

    """
    may_differ = known.is_spool or (was_broken and known.ended is None)
    if not may_differ and item.path.is_file() and item.path.stat().st_size != known.size:
        size = item.path.stat().st_size
        raise InputError(f"{item.name} was changed since it was read: it had {known.size} bytes, now {size}")
    for step in read(number, item, how, known.ended) if known.ended is not None else ():
        if not isinstance(step, Waits) and len(step[0]):
            raise InputError(f"{item.name} was changed since it was read: it has grown")
