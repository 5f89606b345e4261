"""How many changes a request may hold, learned from refusals.

A refused batch that is accepted in halves was too large. If the target said so itself, one such batch is enough;
otherwise it takes two, because a single one may have met a hiccup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from batcher.core.batch import Batch, Op
from batcher.core.split import halves

_WITNESSES = 2


@dataclass(slots=True, eq=False)
class _Family:
    """The pieces of one refused batch that have not been answered yet."""

    larger: int
    """Changes of its larger piece."""
    left: int
    is_certain: bool


class SizeLearner:
    """Shared by all workers of a run; not kept beyond it."""

    def __init__(self) -> None:
        self.most: int | None = None
        """How many changes a request may hold, as far as was learned."""
        self._families: dict[int, _Family] = {}
        self._witnesses = 0
        self._smallest = 0
        """The number of changes in the smallest piece that served as evidence."""

    def __repr__(self) -> str:
        return f"<SizeLearner most={self.most}>"

    def was_split(self, batch: Batch, pieces: Iterable[Batch], *, is_certain: bool) -> None:
        """A batch was refused as a whole and is sent in pieces; `is_certain` if the target said "too large"."""
        self._families.pop(batch.id, None)
        parts = list(pieces)
        family = _Family(max(map(len, parts)), len(parts), is_certain)
        self._families.update((piece.id, family) for piece in parts)

    def was_accepted(self, batch: Batch) -> bool:
        """The target accepted the whole batch; returns whether that has reduced `most`."""
        family = self._families.pop(batch.id, None)
        if family is None:
            self._doubt(len(batch))
            return False
        family.left -= 1
        if family.left or (self.most is not None and family.larger >= self.most):
            return False
        self._smallest = family.larger if not self._witnesses else min(self._smallest, family.larger)
        self._witnesses += 1
        if not family.is_certain and self._witnesses < _WITNESSES:
            return False
        self.most, self._witnesses = family.larger, 0
        return True

    def _doubt(self, size: int) -> None:
        """A batch larger than those that seemed too large was accepted, so their size was not the reason."""
        if self._witnesses and size > self._smallest:
            self._witnesses = 0

    def was_refused(self, batch: Batch) -> None:
        """The target did not accept the whole batch, so nothing is learned from its size."""
        self._families.pop(batch.id, None)

    def cut(self, ops: tuple[Op, ...]) -> list[tuple[Op, ...]]:
        """The ops of each request to send instead; these ops alone if they are few enough."""
        return [ops] if self.most is None else list(_at_most(ops, self.most))


def _at_most(ops: tuple[Op, ...], most: int) -> Iterator[tuple[Op, ...]]:
    if sum(map(len, ops)) <= most:
        yield ops
    else:
        for half in halves(ops):
            yield from _at_most(half, most)
