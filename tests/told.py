"""What ledgers tell about pairs, and whether it is so at the target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from processes import LawBrokenError

from batcher.core.errors import BatcherError
from batcher.core.model import Action
from batcher.core.status import IN_EFFECT, Status
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences

Pair = tuple[int | str, int | str]


def is_begun(ledger: Path) -> bool:
    """Whether a ledger holds a run."""
    try:
        with LedgerReader(ledger) as reader:
            return "run" in reader.facts()
    except BatcherError:
        return False


def check_told(ledgers: Iterable[Path], members: Collection[Pair], is_bad: Callable[[Pair], bool]) -> None:
    """Per pair, the last change that is known to have settled decides, one ledger after the other.

    Raises:
        LawBrokenError: When that is not so, a ledger contradicts itself, or blames a pair that was never refused.

    """
    wanted: dict[Pair, bool | None] = {}
    for ledger in ledgers:
        if is_begun(ledger):
            _read(ledger, wanted, is_bad)
    for pair, is_in in wanted.items():
        if is_in is not None and (pair in members) is not is_in:
            raise LawBrokenError(f"{pair} should be {'in' if is_in else 'out'}, and is not")


def _read(ledger: Path, wanted: dict[Pair, bool | None], is_bad: Callable[[Pair], bool]) -> None:
    with LedgerReader(ledger) as reader:
        if differences(reader):
            raise LawBrokenError(f"{ledger} contradicts itself: {differences(reader)}")
        for state in reader.windows():
            columns = state.window.columns
            users, groups = columns.user, columns.group
            pairs = zip(users.values(users.codes), groups.values(groups.codes), strict=True)
            for row, (pair, code) in enumerate(zip(pairs, state.status.tolist(), strict=True)):
                status = Status(code)
                if status in IN_EFFECT and is_bad(pair):
                    raise LawBrokenError(f"{pair} is {status.label}, and was refused")
                if status is Status.FAILED and not is_bad(pair):
                    raise LawBrokenError(f"{pair} has failed, and was never refused")
                if status not in {Status.SUPERSEDED, Status.REJECTED, Status.FAILED}:
                    is_add = bool(columns.action[row] == Action.ADD)
                    wanted[pair] = is_add if status in IN_EFFECT else None
