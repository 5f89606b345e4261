"""The rate that all runs of this host share for one target, in a small file that also preserves it across restarts.

The file holds what was sent recently. It is read and written under a lock, so that two processes can never take the
same turn. Nobody waits for the lock: a process that does not get it tries again a moment later. A run may stall, but
must not exceed the rate: while the file cannot be locked, read or written, nobody takes a turn.

Times in the file are the kernel's seconds since the machine was booted, which cannot be set; the file also holds the id
of that boot, and when it was written. It is one line of JSON; whatever follows that line is ignored.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import orjson

from batcher.core.address import place_of
from batcher.core.clock import Clock
from batcher.core.rate import Meter, Pace, Pacer, PaceState, Turn, Waiting
from batcher.core.target import Target
from batcher.core.units import parse_rate
from batcher.files import NoLocksError, is_same, try_flock
from batcher.host.run_registry import state_file
from batcher.host.runtime import Runtime
from batcher.settings import Settings

_log = logging.getLogger(__name__)
_LARGEST = 1 << 20
_AGAIN = 0.01
_LOOK_SECONDS = 0.02
_PATIENCE = 5.0
"""In seconds. No process holds the lock for so long, unless it was suspended meanwhile."""


def make_pacer(settings: Settings, target: Target, runtime: Runtime) -> Pace:
    """The pacer of a run; it is shared with other runs on this host if there is a state folder."""
    rate, folder, clock = settings.rate, runtime.state_folder, runtime.clock
    requests, changes = settings.requests_rate(target), parse_rate(rate.changes)
    requests_meter = Meter(requests, rate.burst, rate.margin) if requests else None
    changes_meter = Meter(changes, 1, rate.margin) if changes else None
    if folder is None:
        return Pacer(requests_meter, changes_meter)
    file = state_file(folder, target.name, place_of(target.url), suffix="pace")  # for all environments of an account
    return SharedPacer(requests_meter, changes_meter, file, clock)


class SharedPacer:
    """A pacer that keeps what was sent in a file. If there can be none, it logs that and paces this process alone."""

    def __init__(self, requests: Meter | None, changes: Meter | None, file: Path, clock: Clock) -> None:
        self._pacer = Pacer(requests, changes)
        """In the seconds that all processes of the machine count."""
        self.blocked_since: float | None = None
        self.blocked_by = ""
        self._path = file
        self._clock = clock
        self._is_unwritten = False
        """Whether a turn that this run has taken could not be written for the others to see."""
        self._descriptor: int | None = None
        self._is_told = False
        self._looked_at = -math.inf
        self._others = PaceState([], [], 0.0, "")
        """What the file holds, which is written back for meters that this run does not have."""
        try:
            self._try()
        except OSError as error:
            self.close()
            _log.error("the rate cannot be shared with other runs on this host: %s", error.strerror or error)

    def __repr__(self) -> str:
        return f"<SharedPacer {self._pacer!r} {self._path.name}>"

    @property
    def is_limited(self) -> bool:
        """See `Pace`."""
        return self._pacer.is_limited

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def quiet(self, until: float, because: Waiting) -> None:
        """Let no run send before `until` (monotonic seconds); others learn of it as soon as the file can be written."""
        self._pacer.quiet(until + self._offset(), because)
        with self._file(until, is_asking=False) as descriptor:
            if descriptor is not None:
                self._write(descriptor, self._clock.now())

    def turn(self, now: float, changes: int) -> Turn:
        """See `Pace`; for all runs together."""
        if self._has_just_looked(now):
            return self._pacer.turn(now + self._offset(), changes)
        with self._file(now) as descriptor:
            if descriptor is None and self._descriptor is not None:
                return Turn(_AGAIN, Waiting.RATE)
            turn = self._pacer.turn(now + self._offset(), changes)
            if turn.seconds > 0:
                self._is_free()
            return turn

    def try_take(self, now: float, changes: int) -> Turn:
        """See `Pace`; no other run can take the same turn."""
        if self._has_just_looked(now):
            return self._pacer.turn(now + self._offset(), changes)
        with self._file(now) as descriptor:
            if descriptor is None and self._descriptor is not None:
                return Turn(_AGAIN, Waiting.RATE)
            shared = now + self._offset()
            turn = self._pacer.turn(shared, changes)
            if turn.seconds <= 0:
                self._pacer.record(shared, changes)
                if descriptor is not None and self.is_limited and not self._write(descriptor, now):
                    return Turn(_AGAIN, Waiting.RATE)  # the other runs would not know of it
            self._is_free()
            return turn

    def _is_free(self) -> None:
        if not self._is_unwritten:
            self.blocked_since, self.blocked_by = None, ""

    def _offset(self) -> float:
        """By how much the clock that processes share is ahead of ours; it grows while the machine is suspended."""
        return self._clock.shared() - self._clock.now()

    def _has_just_looked(self, now: float) -> bool:
        """Without a rate the file only tells when nothing may be sent; for that, reading it now and then is enough."""
        return not self.is_limited and 0 <= now - self._looked_at < _LOOK_SECONDS

    def _try(self) -> None:
        """Check that the file can be opened and locked at all; any other trouble may pass."""
        descriptor = self._open()
        try:
            if try_flock(descriptor):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        except NoLocksError:
            raise
        except OSError:
            pass

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # a link may lead to somebody else's file
        self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    @contextmanager
    def _file(self, now: float, *, is_asking: bool = True) -> Iterator[int | None]:
        """The file's descriptor, locked and read; None if another process has the lock, or the file is not usable."""
        descriptor = None
        if self._descriptor is not None:
            try:
                descriptor = self._locked(self._descriptor)
                if descriptor is not None:
                    self._read(descriptor, now + self._offset())
                    self._looked_at = now
                elif is_asking:
                    self._is_blocked(now, "another process has locked it and does not release it")
            except OSError as error:
                descriptor = None
                self._is_blocked(now, error.strerror or str(error))
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _locked(self, descriptor: int) -> int | None:
        """The locked descriptor of the file at the path, which is opened again if it was replaced."""
        while True:
            if not try_flock(descriptor):
                return None
            if is_same(self._path, descriptor):
                return descriptor
            replaced, descriptor = descriptor, self._open()
            os.close(replaced)

    def _is_blocked(self, now: float, why: str) -> None:
        """Note that nothing can be sent; if that lasts, log it. The time counts towards the run's `max_wait`."""
        if self.blocked_since is None:
            self.blocked_since = now
        if now - self.blocked_since > _PATIENCE and not self._is_told:
            self._is_told = True
            self.blocked_by = f"{self._path}, the file of the shared rate: {why}"
            _log.error("nothing is sent while the sends of other runs are not known: %s", self.blocked_by)

    def _read(self, descriptor: int, shared: float) -> None:
        content = os.pread(descriptor, _LARGEST, 0).partition(b"\n")[0]
        if not content:
            return
        mine, reason = self._pacer.quiet_until, self._pacer.quiet_because
        try:
            boot_id, written, requests, changes, until, because = orjson.loads(content)
            quiet_until = float("-inf") if until is None else float(until)
            state = PaceState(_dumped(requests), _dumped(changes), quiet_until, Waiting(because).value)
            if boot_id != self._clock.boot_id:
                state = _before_the_start(state, float(written))
            self._others = state
            self._pacer.load(state, shared)
        except (ValueError, TypeError):
            _log.warning("the file of the shared rate was damaged; nothing is sent for one time unit of the rate")
            self._pacer.fill(shared)
            if not self._write(descriptor, shared - self._offset()):
                raise OSError("it is damaged, and cannot be written") from None
        self._pacer.quiet(mine, reason)  # in case the file was not available when the target asked for a wait

    def _write(self, descriptor: int, now: float) -> bool:
        requests, changes, until, because = astuple(self._pacer.dump())
        mine = (requests or self._others.requests, changes or self._others.changes, until, because)
        content = orjson.dumps((self._clock.boot_id, self._clock.shared(), *mine)) + b"\n"
        self._is_unwritten = True
        try:
            written = os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, written)
            self._is_unwritten = written < len(content)
        except OSError as error:
            self._is_blocked(now, error.strerror or str(error))
        else:
            if self._is_unwritten:
                self._is_blocked(now, "not all of it could be written")
        return not self._is_unwritten


def _dumped(numbers: object) -> list[int]:
    """The numbers that a meter has dumped.

    Raises:
        ValueError: When these are not such numbers.

    """
    if isinstance(numbers, list) and len(numbers) % 3 == bool(numbers) and all(type(n) is int for n in numbers):
        return numbers
    raise ValueError("not the numbers of a meter")


def _before_the_start(state: PaceState, written: float) -> PaceState:
    """The state with everything that was sent before the machine was booted counted as sent at that moment."""

    def moved(dumped: list[int]) -> list[int]:
        if not dumped:
            return dumped
        latest = max(dumped[2::3], default=0)
        due, *numbers = dumped
        return [due - latest, *(n if place % 3 == 2 else n - latest for place, n in enumerate(numbers))]  # noqa: PLR2004 — the cost

    return PaceState(moved(state.requests), moved(state.changes), state.quiet_until - written, state.quiet_because)
