"""The pace of all runs of this host against one target, in a small file: shared by processes, kept over restarts.

Every look at the pace happens under a lock on the file, with the memory that is written there, so that two processes
can never take the same turn. Nobody waits for the lock: who does not get it asks again a moment later. A run may stand
still, but it may not hurry: while the file cannot be had, read or written, nobody takes a turn.

Times in the file are the kernel's seconds since the machine was started, which nobody sets; with them stands which
start that was, and when it was written. The file is a line of JSON; what stands after it is of no meaning.
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
from batcher.core.rate import Meter, Pacer, PaceState, Turn, Waiting
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
"""Seconds. Nobody holds the lock for so long, unless it was suspended with it."""


def make_pacer(settings: Settings, target: Target, runtime: Runtime) -> Pacer:
    """The pacer of a run; shared with other runs on this host where there is a rate and a state folder."""
    rate, folder, clock = settings.rate, runtime.state_folder, runtime.clock
    requests, changes = settings.requests_rate(target), parse_rate(rate.changes)
    requests_meter = Meter(requests, rate.burst, rate.margin) if requests else None
    changes_meter = Meter(changes, 1, rate.margin) if changes else None
    if folder is None:
        return Pacer(requests_meter, changes_meter)
    file = state_file(folder, target.name, place_of(target.url), suffix="pace")  # of all environments of an account
    return SharedPacer(requests_meter, changes_meter, file, clock)


class SharedPacer(Pacer):
    """A pacer whose memory lives in a file. Where there can be none, it paces this process alone and says so."""

    def __init__(self, requests: Meter | None, changes: Meter | None, file: Path, clock: Clock) -> None:
        super().__init__(requests, changes)
        self._path = file
        self._clock = clock
        self._is_unwritten = False
        """What this run has taken could not be told to the others."""
        self._descriptor: int | None = None
        self._is_told = False
        self._looked_at = -math.inf
        self._others = PaceState([], [], 0.0, "")
        """What the file holds of meters that this run does not have."""
        try:
            self._try()
        except OSError as error:
            self.close()
            _log.error("the rate cannot be shared with other runs on this host: %s", error.strerror or error)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def quiet(self, until: float, because: Waiting) -> None:
        """No send of any run before `until`; others learn of it as soon as the file can be had."""
        super().quiet(until + self._offset(), because)
        with self._file(until, is_asking=False) as descriptor:
            if descriptor is not None:
                self._write(descriptor, self._clock.now())

    def turn(self, now: float, changes: int) -> Turn:
        """As of any pacer, for all runs together."""
        if self._has_just_looked(now):
            return super().turn(now + self._offset(), changes)
        with self._file(now) as descriptor:
            if descriptor is None and self._descriptor is not None:
                return Turn(_AGAIN, Waiting.RATE)
            turn = super().turn(now + self._offset(), changes)
            if turn.seconds > 0:
                self._is_free()
            return turn

    def try_take(self, now: float, changes: int) -> Turn:
        """As of any pacer; no other run can take the same turn."""
        if self._has_just_looked(now):
            return super().turn(now + self._offset(), changes)
        with self._file(now) as descriptor:
            if descriptor is None and self._descriptor is not None:
                return Turn(_AGAIN, Waiting.RATE)
            shared = now + self._offset()
            turn = super().turn(shared, changes)
            if turn.seconds <= 0:
                self.record(shared, changes)
                if descriptor is not None and self.is_limited and not self._write(descriptor, now):
                    return Turn(_AGAIN, Waiting.RATE)  # others would not know of it
            self._is_free()
            return turn

    def _is_free(self) -> None:
        if not self._is_unwritten:
            self.blocked_since, self.blocked_by = None, ""

    def _offset(self) -> float:
        """By how much the clock that processes share is ahead of this one's; it grows when the machine is suspended."""
        return self._clock.shared() - self._clock.now()

    def _has_just_looked(self, now: float) -> bool:
        """Without a rate the file only tells of quiet, for which a look now and then is enough."""
        return not self.is_limited and 0 <= now - self._looked_at < _LOOK_SECONDS

    def _try(self) -> None:
        """See that the file can be opened, and locked at all; whatever else is wrong with it may pass."""
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
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # what a link leads to is somebody else's
        self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    @contextmanager
    def _file(self, now: float, *, is_asking: bool = True) -> Iterator[int | None]:
        """The file's descriptor, locked and read; None when it is somebody else's turn, or never to be had."""
        descriptor = None
        if self._descriptor is not None:
            try:
                descriptor = self._locked(self._descriptor)
                if descriptor is not None:
                    self._read(descriptor, now + self._offset())
                    self._looked_at = now
                elif is_asking:
                    self._is_blocked(now, "another process holds it and does not let go of it")
            except OSError as error:
                descriptor = None
                self._is_blocked(now, error.strerror or str(error))
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _locked(self, descriptor: int) -> int | None:
        """The descriptor of what the path names, locked; it was opened anew if the file was replaced."""
        while True:
            if not try_flock(descriptor):
                return None
            if is_same(self._path, descriptor):
                return descriptor
            replaced, descriptor = descriptor, self._open()
            os.close(replaced)

    def _is_blocked(self, now: float, why: str) -> None:
        """Nobody sends meanwhile. A moment is nothing; from then on people are told, and the run's patience counts."""
        if self.blocked_since is None:
            self.blocked_since = now
        if now - self.blocked_since > _PATIENCE and not self._is_told:
            self._is_told = True
            self.blocked_by = f"{self._path}, the file of the rate that runs share: {why}"
            _log.error("nothing is sent while others may send unseen: %s", self.blocked_by)

    def _read(self, descriptor: int, shared: float) -> None:
        content = os.pread(descriptor, _LARGEST, 0).partition(b"\n")[0]
        if not content:
            return
        mine, reason = self._quiet_until, self._quiet_because
        try:
            boot_id, written, requests, changes, until, because = orjson.loads(content)
            quiet_until = float("-inf") if until is None else float(until)
            state = PaceState(_dumped(requests), _dumped(changes), quiet_until, Waiting(because).value)
            if boot_id != self._clock.boot_id:
                state = _before_the_start(state, float(written))
            self._others = state
            self.load(state, shared)
        except (ValueError, TypeError):
            _log.warning("the file of the shared pace was damaged; nothing is sent for as long as the rate speaks of")
            self.fill(shared)
            if not self._write(descriptor, shared - self._offset()):
                raise OSError("it is damaged, and cannot be written") from None
        super().quiet(mine, reason)  # where the file could not be had when the target asked for it

    def _write(self, descriptor: int, now: float) -> bool:
        requests, changes, until, because = astuple(self.dump())
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
    """What a meter has dumped.

    Raises:
        ValueError: When no meter has.

    """
    if isinstance(numbers, list) and len(numbers) % 3 == bool(numbers) and all(type(n) is int for n in numbers):
        return numbers
    raise ValueError("no meter has dumped this")


def _before_the_start(state: PaceState, written: float) -> PaceState:
    """What was sent before the machine was started: as if all of it was sent at that moment, which is the latest."""

    def moved(dumped: list[int]) -> list[int]:
        if not dumped:
            return dumped
        latest = max(dumped[2::3], default=0)
        due, *numbers = dumped
        return [due - latest, *(n if place % 3 == 2 else n - latest for place, n in enumerate(numbers))]  # noqa: PLR2004 — the cost

    return PaceState(moved(state.requests), moved(state.changes), state.quiet_until - written, state.quiet_because)
