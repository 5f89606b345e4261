"""The input scan: reads a whole input without sending, for `plan`, `--strict` and guardrails, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from batcher.core.batch import Limits
from batcher.core.coalesce import coalesce
from batcher.core.key_kinds import KeyKinds
from batcher.core.keys import Key, words_of
from batcher.core.lookups import Side
from batcher.core.model import REJECTED_ROW, Action, Columns, Position, Window
from batcher.core.pack import pack, pack_in_order
from batcher.core.patterns import Patterns
from batcher.core.wholeness import Content
from batcher.core.wire import Wire
from batcher.engine.preview.named import Named
from batcher.sections import GuardSettings
from batcher.source.inputs import Input, Reading
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.source.windows import WINDOW_ROWS, Windower

_MOST_GROUPS = 100_000
_SHOWN_REJECTS = 10
_MOST_PROTECTED = 1_000


@dataclass(frozen=True, slots=True)
class PackingRules:
    """How windows would become requests."""

    limits: Limits
    wire: Wire
    in_order: bool
    window_rows: int = WINDOW_ROWS


@dataclass(slots=True)
class InputScan:
    """What is in the input. Numbers count changes, unless their names say otherwise.

    `groups` counts the changes that would be sent, per group. Beyond 100,000 groups, those with few changes are
    dropped, and `groups_are_complete` is False.
    """

    adds: int = 0
    removals: int = 0
    rejected: int = 0
    superseded: int = 0
    requests: int = 0
    ops: int = 0
    first_rejects: list[tuple[str, int, str]] = field(default_factory=list)
    groups: Counter[Key] = field(default_factory=Counter)
    groups_are_complete: bool = True
    lookups: dict[str, int] = field(default_factory=lambda: {"user": 0, "group": 0})
    """How many names at most are to be looked up: those of each window, each once."""
    known: dict[str, int] = field(default_factory=lambda: {"user": 0, "group": 0})
    """How many of these were looked up before."""
    mixes: list[str] = field(default_factory=list)
    """The columns (`user`, `group`) that hold both ids and names."""
    protected: set[str] = field(default_factory=set)
    """Protected users and groups that would be changed, such as `user 7`; up to a thousand or so."""
    contents: list[Content] = field(default_factory=list)
    """What was found in each input."""

    @property
    def total(self) -> int:
        """All changes and invalid lines."""
        return self.adds + self.removals + self.rejected


@dataclass(frozen=True, slots=True)
class Protected:
    """Patterns of the users and groups whose memberships must not be changed."""

    users: Patterns = field(default_factory=lambda: Patterns(()))
    groups: Patterns = field(default_factory=lambda: Patterns(()))

    def __bool__(self) -> bool:
        return bool(self.users) or bool(self.groups)

    @staticmethod
    def of(guard: GuardSettings) -> Protected:
        """Patterns for the protected users and groups, and for names that look like them."""
        return Protected(Patterns(guard.protected_users, folds=True), Patterns(guard.protected_groups, folds=True))


def scan(
    inputs: Sequence[Input],
    how: Reading,
    packing: PackingRules | None = None,
    protected: Protected = Protected(),
    named: Named | None = None,
) -> InputScan:
    """Read everything; with `packing`, also count what would be sent.

    Without `named` there are no names to look up. If the target was asked for them, what has no id counts as rejected;
    else any name may have one.

    Raises:
        InputError: When an input cannot be read.

    """
    seen = InputScan()
    kinds = KeyKinds()
    seen.contents = [Content(item.name) for item in inputs]
    for window in _windows(inputs, how, packing.window_rows if packing else WINDOW_ROWS, seen.contents):
        columns = window.columns
        kinds.look_at(columns)
        _look_for(seen, columns, protected)
        if named is not None:
            _count_names(seen, columns, named.is_known)
            if named.is_final or protected:
                resolved = named.resolve(columns)
                _look_for(seen, resolved, protected)
                columns = resolved if named.is_final else columns
        _count(seen, columns, inputs)
        if packing is not None:
            _pack(seen, columns, packing)
    seen.mixes = kinds.mixed
    return seen


def columns_of(inputs: Sequence[Input], how: Reading) -> Iterator[Columns]:
    """The rows of all inputs, in windows."""
    contents = [Content(item.name) for item in inputs]
    return (window.columns for window in _windows(inputs, how, WINDOW_ROWS, contents))


def _windows(inputs: Sequence[Input], how: Reading, rows: int, contents: Sequence[Content]) -> Iterator[Window]:
    windower = Windower(window_rows=rows, names=how.names)
    for number, item in enumerate(inputs):
        for step in read(number, item, how, Position(), contents[number]):
            if not isinstance(step, Waits):
                yield from windower.feed(*step)
    yield from windower.flush()


def _count(seen: InputScan, columns: Columns, inputs: Sequence[Input]) -> None:
    seen.adds += int((columns.action == Action.ADD).sum())
    seen.removals += int((columns.action == Action.REMOVE).sum())
    seen.rejected += len(columns.rejects)
    for reject in columns.rejects[: _SHOWN_REJECTS - len(seen.first_rejects)]:
        source = inputs[int(columns.source[reject.index])].name
        seen.first_rejects.append((source, int(columns.line[reject.index]), reject.reason))


def _count_names(seen: InputScan, columns: Columns, is_known: Callable[[Side, Sequence[str]], int]) -> None:
    for side, keys in ((Side.USER, columns.user), (Side.GROUP, columns.group)):
        if (words := words_of(keys)) is not None:
            seen.lookups[side.value] += len(words)
            seen.known[side.value] += is_known(side, words)


def _look_for(seen: InputScan, columns: Columns, protected: Protected) -> None:
    valid = columns.action != REJECTED_ROW
    for label, keys, patterns in (
        ("user", columns.user, protected.users),
        ("group", columns.group, protected.groups),
    ):
        if patterns and len(seen.protected) < _MOST_PROTECTED:
            found = patterns.among(keys.values(np.unique(keys.codes[valid])))
            seen.protected |= {f"{label} {key}" for key in islice(found, _MOST_PROTECTED)}


def _pack(seen: InputScan, columns: Columns, packing: PackingRules) -> None:
    winner = coalesce(columns)
    rows = np.flatnonzero(winner == np.arange(len(columns)))
    seen.superseded += len(columns) - len(columns.rejects) - len(rows)
    packer = pack_in_order if packing.in_order else pack
    for ops in packer(columns, rows, packing.limits, packing.wire):
        seen.requests += 1
        seen.ops += len(ops)
    groups = columns.group if columns.given is None else columns.given.group or columns.group
    for key, count in groups.take(rows).counted():
        seen.groups[key] += count
    if len(seen.groups) > _MOST_GROUPS:
        seen.groups_are_complete = False
        seen.groups = Counter(dict(seen.groups.most_common(_MOST_GROUPS // 2)))
