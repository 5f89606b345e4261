"""Combining stretches of rows into windows."""

from __future__ import annotations

from collections.abc import Iterator

from batcher.core.look_alikes import Names, resolved
from batcher.core.model import Columns, Position, Window

WINDOW_ROWS = 125_000
"""A window is closed at this many rows; it may exceed that by one stretch. Two are in memory at a time."""


class Windower:
    """Collects stretches until a window is full. The very first is a single stretch, so that work starts early.

    With a `canary`, it has at most that many rows. `in_turn` says that no window holds rows of two sources;
    `names` says how the target treats names that look alike.
    """

    def __init__(
        self,
        first_id: int = 0,
        first_row: int = 0,
        window_rows: int = WINDOW_ROWS,
        *,
        canary: int = 0,
        in_turn: bool = False,
        names: Names = Names.EXACT,
    ) -> None:
        self.ended: list[Position] = []
        """Ends of sources that no window has recorded yet."""
        self._window_rows = window_rows
        self._canary = canary
        self._in_turn = in_turn
        self._names = names
        self._id = first_id
        self._row = first_row
        self._parts: list[Columns] = []
        self._held = 0
        self._position = Position()

    def __repr__(self) -> str:
        return f"<Windower {self._held} rows held for window {self._id}>"

    def feed(self, columns: Columns, position: Position) -> Iterator[Window]:
        """Add a stretch; yields the window that it fills, if any."""
        if position.end:
            self.ended.append(position)
        if self._id == 0 and 0 < self._canary < len(columns):
            # The first rows of a source; a resumed run re-reads the source from its beginning and skips them.
            canary = resolved(columns.take(0, self._canary), self._names)
            yield Window(0, 0, canary, Position(position.source, skip=self._canary))
            self._id, self._row = 1, self._canary
            columns = columns.take(self._canary, len(columns))
        if len(columns):
            self._parts.append(columns)
            self._position = position
            self._held += len(columns)
        if self._held >= (1 if self._id == 0 else self._window_rows) or (self._in_turn and position.end):
            yield from self.flush()

    def flush(self) -> Iterator[Window]:
        """Yield the remaining rows as a window."""
        if self._held:
            columns = resolved(Columns.concat(self._parts), self._names)
            yield Window(self._id, self._row, columns, self._position, tuple(self.ended))
            self._id += 1
            self._row += self._held
            self._parts, self._held, self.ended = [], 0, []
