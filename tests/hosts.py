"""Several runs at once on one host from random seeds: they share a target, its rate, and what they know of each other.

Two to four people work side by side, each with users of its own, each with one command after the other (`people.py`):
changes from files and streams, feeds with a state, `resume`, `retry`, `undo`, load runs that are cleaned up, and
settings that make no sense. Their processes are killed and asked to stop at any event, suspended, held up by their
disks for minutes; their ledgers are moved away, renamed and copied, their states restored from backups; the wall clock
is set, the lock of the shared rate is held, the target's certificate is renewed, and somebody reads all ledgers. The
target loses requests and applies them later.

At the end the target must be as if the commands of each had been carried out one after the other; no sliding window may
hold more requests than the rate; and what was reported before a kill must be in the ledgers.
"""

from __future__ import annotations

import fcntl
import logging
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from harness import EPOCH, Target, fast_folder
from people import GRACE, Person
from processes import (
    LawBrokenError,
    dead_processes_do_not_write,
    disks_may_be_full,
    nobody_waits_for_readers,
    plug_ins_may_be_sloppy,
)
from told import Pair

from batcher.core.clock import Clock
from batcher.core.errors import LedgerError
from batcher.core.rate import Rate
from batcher.engine.jobs.summary import report as summary
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour, Fault, Stage
from batcher.simulator.virtual_time import run_virtual

_LONGEST = 500_000.0
"""How many virtual seconds all of it may take."""
_HABITS = ("apply",) * 9 + ("sync",) * 6 + ("undo", "load") * 2 + ("nonsense",)
_TLS = Path(__file__).parent / "tls"


@dataclass
class Plan:
    """Everything that a seed decides, apart from what people do."""

    kind: str
    people: int
    rate: Rate | None
    behaviour: Behaviour
    stages: tuple[Stage, ...]
    crashes: float
    stops: float
    hangs: float
    moves: float
    """How likely it is that a ledger is moved away while a command works on it."""
    sets_clock: bool
    holds_locks: bool
    renews: bool
    """Whether the target's certificate is renewed."""
    habits: Sequence[str]
    """What people do, as often as it is in here."""

    @staticmethod
    def of(rng: random.Random) -> Plan:
        calm = Behaviour(
            latency_seconds=rng.choice([0.0, 0.05, 0.5]),
            jitter_seconds=rng.choice([0.0, 0.3]),
            bad_users=frozenset(
                rng.choice([100 * n + rng.randrange(3), f"u{100 * n}a", f"u{100 * n}a", str(100 * n)]) for n in range(4)
            )
            if rng.random() < 0.5
            else frozenset(),
            late_seconds=rng.choice([1.0, GRACE / 2, GRACE - 0.5]),
            shuffles=rng.random() < 0.5,
            says_names=rng.random() < 0.5,
            seed=rng.randrange(1000),
        )
        stages, at = [], 0.0
        for _ in range(rng.choice([0, 1, 2, 4])):
            kinds = ["429", "500", "503", "late", "late", "drop-before", "drop-after", "cut"]
            faults = tuple(Fault(rng.choice(kinds), rng.choice([0.1, 0.3, 0.7])) for _ in range(rng.randint(1, 2)))
            stages.append(Stage(replace(calm, faults=faults), at))
            at += rng.choice([1.0, 10.0, 100.0])
        holds_locks = rng.random() < 0.3
        return Plan(
            rng.choice(["minapp", "scrutinizer"]),
            rng.randint(2, 4),
            rng.choice([Rate(2, 1), Rate(3, 1), Rate(30, 60), *([] if holds_locks else [None, None])]),
            calm,
            (*stages, Stage(calm, at)),
            rng.choice([0.0, 0.4, 0.7]),
            rng.choice([0.0, 0.3, 0.6]),
            rng.choice([0.0, 0.0, 0.05]),
            rng.choice([0.0, 0.0, 0.3]),
            sets_clock=rng.random() < 0.4,
            holds_locks=holds_locks,
            renews=rng.random() < 0.15,
            habits=rng.choice([_HABITS, _HABITS, rng.sample(["apply", "sync", "undo", "load"], rng.randint(1, 2))]),
        )


class Host(logging.Handler):
    """The machine, and everybody on it; it reads all that is logged."""

    def __init__(self, seed: int, folder: Path, change: Callable[[Plan], Plan], *, verbose: bool = False) -> None:
        super().__init__(logging.INFO)
        self.seed, self.folder, self.verbose = seed, folder, verbose
        self.rng = random.Random(seed)
        self.plan = change(Plan.of(self.rng))
        self.odds = random.Random(seed + 5)
        self.target = Target(self.plan.behaviour, stages=self.plan.stages, offers_lines=seed % 3 != 0)
        self.step = 0.0
        self.state = folder / "state"
        self.certificate = shutil.copy(_TLS / "cert.pem", folder / "cert-0.pem")
        self.unreadable: str | None = None
        self.people = [Person(self, number, random.Random(self.rng.random())) for number in range(self.plan.people)]

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        if self.verbose:
            print(f"  {anyio.current_time():9.3f}  {text}")

    def emit(self, record: logging.LogRecord) -> None:
        """Law 8, for the terminal: whatever is logged is one line of printable text."""
        text = record.getMessage()
        if not text.isprintable():
            self.unreadable = text

    def clock(self) -> Clock:
        """The clocks of the machine; somebody may set the one on the wall."""
        return Clock(anyio.current_time, lambda: EPOCH + anyio.current_time() + self.step, anyio.current_time, "a-boot")

    def is_bad(self, pair: Pair) -> bool:
        """Whether the target refuses this pair."""
        return pair[0] in self.plan.behaviour.bad_users

    def play(self) -> None:
        """Everything until everybody has done."""
        with dead_processes_do_not_write(), disks_may_be_full(), nobody_waits_for_readers(), plug_ins_may_be_sloppy():
            run_virtual(self._main)

    async def _main(self) -> None:
        with anyio.fail_after(_LONGEST):
            async with anyio.create_task_group() as around:
                around.start_soon(self._audit)
                if self.plan.sets_clock:
                    around.start_soon(self._set_the_clock)
                if self.plan.holds_locks:
                    around.start_soon(self._hold_locks)
                if self.plan.renews:
                    around.start_soon(self._renew)
                async with anyio.create_task_group() as group:
                    for person in self.people:
                        group.start_soon(person.live)
                around.cancel_scope.cancel()
        self.target.world.catch_up(anyio.current_time() + 1000.0)

    # What happens around them:

    async def _set_the_clock(self) -> None:
        rng = random.Random(self.seed + 1)
        while True:
            await _rest(rng.choice([0.3, 5.0, 60.0]))
            self.step = rng.choice([-86_400.0, -3600.0, -1.0, 0.0, 1.0, 3600.0])

    async def _hold_locks(self) -> None:
        """A process that is suspended holds the lock of the shared rate."""
        rng = random.Random(self.seed + 2)
        while True:
            await _rest(rng.choice([0.1, 1.0, 30.0]))
            for path in self.state.glob("*.pace"):
                with path.open("rb") as file, suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    await anyio.sleep(rng.choice([0.2, 20.0, 90.0]))

    async def _renew(self) -> None:
        rng = random.Random(self.seed + 3)
        for number in range(1, 4):
            await anyio.sleep(rng.choice([0.5, 10.0, 60.0]))
            self.certificate = shutil.copy(_TLS / "cert.pem", self.folder / f"cert-{number}.pem")

    async def _audit(self) -> None:
        """Read ledgers at any time: each reader sees one moment, and a ledger that agrees with itself."""
        rng = random.Random(self.seed + 4)
        while True:
            await _rest(rng.choice([0.3, 3.0, 20.0]))
            ledgers = [ledger for person in self.people for ledger in person.ledgers[-1:] if ledger.exists()]
            if ledgers and rng.random() < 0.3:
                self._check_copy(rng.choice(ledgers))
            with (
                suppress(LedgerError),
                LedgerReader(rng.choice(ledgers or [Path("none")])) as reader,
                reader.at_one_moment() as is_held,
            ):
                before, version = reader.tally(), reader.version()
                await anyio.sleep(rng.choice([0.1, 1.0]))
                is_other = differences(reader) or reader.tally() != before
                if is_other and (is_held or reader.version() == version):
                    raise LawBrokenError(f"{reader.path} contradicts itself while somebody writes")

    def _check_copy(self, ledger: Path) -> None:
        """The file alone, copied at any moment, is no backup (sqlite.org/howtocorrupt.html), but may not lie.

        It may know less than the original, or contradict itself; but it says so.
        """
        with fast_folder() as folder, suppress(LedgerError):
            copy, original = summary(Path(shutil.copy(ledger, folder))), summary(ledger)
            if copy.next is None and (copy.total, copy.changes) != (original.total, original.changes):
                raise LawBrokenError(f"a copy of {ledger} knows less, and says that nothing is left: {copy}")

    # The laws:

    def check(self) -> None:
        """All that is not checked earlier."""
        members = self.target.members()
        for person in self.people:
            person.check(members)
        self._check_pace()
        if self.unreadable is not None:
            raise LawBrokenError(f"this was logged: {self.unreadable!r}")
        for path in self.folder.rglob("*"):
            is_ours = path.is_file() and not path.name.endswith((".jsonl", "feed.csv", ".pem"))
            if is_ours and path.stat().st_mode & 0o077:
                raise LawBrokenError(f"anybody can read {path.name}")

    def _check_pace(self) -> None:
        rate = self.plan.rate
        if rate is None:
            return
        times = sorted(at for at, _, _ in self.target.sends)
        for first, at in zip(times, times[rate.count :], strict=False):
            if at - first < rate.seconds - 1e-6:
                raise LawBrokenError(f"more than {rate} from {first} on")


async def _rest(seconds: float) -> None:
    """Less often in a long life, which is mostly waiting."""
    await anyio.sleep(seconds * (1.0 + anyio.current_time() / 100.0))


def run_seed(seed: int, *, change: Callable[[Plan], Plan] = lambda plan: plan, verbose: bool = False) -> Host:
    """Simulate one seed with its plan as `change` returns it; raises `LawBrokenError` if a law does not hold."""
    with fast_folder() as folder:
        host = Host(seed, Path(folder), change, verbose=verbose)
        if verbose:
            print(host.plan)
        logger = logging.getLogger("batcher")
        logger.addHandler(host)
        try:
            host.play()
        finally:
            logger.removeHandler(host)
        host.check()
        return host
