"""Synthetic changes for load runs: random, with a seed, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from batcher.core.errors import ConfigurationError
from batcher.core.keys import Keys
from batcher.core.model import Action, Columns, Position, Window
from batcher.core.vectors import Ints
from batcher.engine.run.window_reader import WorkItem
from batcher.host.runtime import Executor
from batcher.source.windows import WINDOW_ROWS

_PROFILES, _FEWEST, _MOST = 400, 4, 12
_MOST_USERS, _MOST_GROUPS, _LAST_ID = 1_000_000_000, 1_000_000, 2**53
_FIRST_BATCHES, _MOST_BATCHES = 16, 512
BAD_USERS = 100
"""Pairs that are meant to be refused use one of this many user ids after the last."""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Properties of the changes. Users and groups are ids from `first_user` and `first_group` on."""

    users: int = 10_000
    groups: int = 100
    first_user: int = 1
    first_group: int = 1
    skew: float = 0.0
    """Exponent of Zipf's law over the groups: with 0 all are equally frequent; with 1 the second is half as frequent as
    the first."""
    remove_share: float = 0.1
    profiles: bool = False
    """Whether each user comes with all groups of one of 400 profiles, as in an onboarding; else pairs are random."""
    bad_share: float = 0.0
    """The share of pairs that are meant to be refused, with users after the last."""
    seed: int = 0

    def check(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: When one is out of range.

        """
        for name, value, least, most in (
            ("--users", self.users, 1, _MOST_USERS),
            ("--groups", self.groups, 1, _MOST_GROUPS),
            ("--first-user", self.first_user, 0, _LAST_ID),
            ("--first-group", self.first_group, 0, _LAST_ID),
            ("--seed", self.seed, 0, _LAST_ID),
        ):
            if not least <= value <= most:
                raise ConfigurationError(f"{name} {value} is out of range; expected {least} to {most:,}")
        for name, share in (("--remove-share", self.remove_share), ("--bad-share", self.bad_share)):
            if not 0 <= share <= 1:
                raise ConfigurationError(f"invalid {name} {share}; expected a share, e.g. 10%")
        if not 0 <= self.skew <= 10:  # noqa: PLR2004 — beyond that there is one group
            raise ConfigurationError(f"--skew {self.skew} is out of range; expected 0 to 10")

    def window(self, number: int, first_row: int, rows: int, part: int = 0) -> Window:
        """The window with this number, for the generator `part`; the same at every call."""
        rng = np.random.default_rng((self.seed, part, number))
        user, group = self._profiles(rng, rows) if self.profiles else self._pairs(rng, rows)
        action = np.where(rng.random(rows) < self.remove_share, Action.REMOVE, Action.ADD).astype(np.int8)
        bad = rng.random(rows) < self.bad_share
        user[bad] = self.users + rng.integers(0, BAD_USERS, int(bad.sum()))
        columns = Columns(
            action,
            Keys(self.first_user + user),
            Keys(self.first_group + group),
            np.arange(first_row + 1, first_row + rows + 1, dtype=np.int64),
            np.zeros(rows, np.int32),
        )
        return Window(number, first_row, columns, Position(offset=first_row + rows))

    def _pairs(self, rng: np.random.Generator, rows: int) -> tuple[Ints, Ints]:
        return rng.integers(0, self.users, rows), rng.choice(self.groups, rows, p=self._weights())

    def _profiles(self, rng: np.random.Generator, rows: int) -> tuple[Ints, Ints]:
        shapes = self._shapes()
        chosen = rng.integers(0, len(shapes), rows)
        sizes = np.array([len(shape) for shape in shapes])[chosen]
        needed = int(np.searchsorted(np.cumsum(sizes), rows)) + 1
        user = np.repeat(rng.integers(0, self.users, needed), sizes[:needed])
        group = np.concatenate([shapes[kind] for kind in chosen[:needed].tolist()])
        return user[:rows], group[:rows]

    def _shapes(self) -> list[Ints]:
        """The groups of each profile, the same in every window."""
        rng = np.random.default_rng(self.seed)
        most = min(_MOST, self.groups)
        fewest = min(_FEWEST, most)
        weights = self._weights()
        return [
            rng.choice(self.groups, rng.integers(fewest, most + 1), replace=False, p=weights).astype(np.int64)
            for _ in range(_PROFILES)
        ]

    def _weights(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        weights = 1.0 / np.arange(1, self.groups + 1, dtype=np.float64) ** self.skew
        return np.asarray(weights / weights.sum(), np.float64)


async def synthetic_windows(
    changes: Synthetic, per_request: int, missing: Callable[[], Awaitable[float]], part: int, executor: Executor
) -> AsyncIterator[WorkItem]:
    """Windows for as many requests as `missing` returns; short at first, so that few changes are made in vain."""
    first_row = number = 0
    count = _FIRST_BATCHES
    while (wanted := await missing()) > 0:
        most = min(count, max(1, WINDOW_ROWS // per_request))
        rows = int(min(most, wanted)) * per_request
        yield WorkItem(await executor(partial(changes.window, number, first_row, rows, part)))
        number, first_row = number + 1, first_row + rows
        count = min(2 * count, _MOST_BATCHES)
