"""The pace of all runs of this host against one target, in a small file: shared by processes, kept over restarts.

Every look at the pace happens under a lock on the file, with the memory that is written there, so that two processes
can never take the same turn. Nobody waits for the lock: who does not get it asks again a moment later. Times in the
file are UTC. The file is a line of JSON; what stands after it is of no meaning.
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

from batcher.core.limit import Meter, Pacer, PaceState, Turn, Waiting

_log = logging.getLogger(__name__)
_LARGEST = 1 << 20
_AGAIN = 0.01
_LOOK_SECONDS = 0.02
_PATIENCE = 5.0
"""Seconds. Nobody holds the lock for so long, unless it was suspended with it."""


class SharedPacer(Pacer):
    """A pacer whose memory lives in a file. Where that cannot be used, it paces this process alone and says so once."""

    def __init__(self, requests: Meter | None, changes: Meter | None, file: Path, utc_offset: float) -> None:
        super().__init__(requests, changes)
        self._offset = utc_offset
        self._descriptor: int | None = None
        self._refused_since: float | None = None
        self._looked_at = -math.inf
        self._others = PaceState([], [], 0.0, "")
        """What the file holds of meters that this run does not have."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._go_alone(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def quiet(self, until: float, because: Waiting) -> None:
        """No send of any run before `until`; others learn of it as soon as the file can be had."""
        super().quiet(until + self._offset, because)
        with self._file(until, is_asking=False) as descriptor:
            if descriptor is not None:
                self._write(descriptor)

    def turn(self, now: float, changes: int) -> Turn:
        """As of any pacer, for all runs together."""
        if self._has_just_looked(now):
            return super().turn(now + self._offset, changes)
        with self._file(now) as descriptor:
            is_mine = descriptor is not None or self._descriptor is None
            return super().turn(now + self._offset, changes) if is_mine else Turn(_AGAIN, Waiting.RATE)

    def try_take(self, now: float, changes: int) -> Turn:
        """As of any pacer; no other run can take the same turn."""
        if self._has_just_looked(now):
            return super().turn(now + self._offset, changes)
        with self._file(now) as descriptor:
            if descriptor is None and self._descriptor is not None:
                return Turn(_AGAIN, Waiting.RATE)
            turn = super().turn(now + self._offset, changes)
            if turn.seconds <= 0:
                self.record(now + self._offset, changes)
                if descriptor is not None and self.is_limited:
                    self._write(descriptor)
            return turn

    def _has_just_looked(self, now: float) -> bool:
        """Without a rate the file only tells of quiet, for which a look now and then is enough."""
        return not self.is_limited and 0 <= now - self._looked_at < _LOOK_SECONDS

    @contextmanager
    def _file(self, now: float, *, is_asking: bool = True) -> Iterator[int | None]:
        """The file's descriptor, locked and read; None when it is somebody else's turn, or never to be had."""
        descriptor = self._descriptor
        try:
            if descriptor is not None and self._lock(descriptor, now, is_asking=is_asking):
                self._read(descriptor, now + self._offset)
                self._looked_at = now
            else:
                descriptor = None
        except OSError as error:
            self._go_alone(error)
            descriptor = None
        try:
            yield descriptor
        finally:
            if descriptor is not None and self._descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _lock(self, descriptor: int, now: float, *, is_asking: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_asking:
                return False
            self._refused_since = now if self._refused_since is None else self._refused_since
            if now - self._refused_since > _PATIENCE:
                raise OSError("another process holds its file and does not let go of it") from None
            return False
        self._refused_since = None
        return True

    def _read(self, descriptor: int, utc: float) -> None:
        content = os.pread(descriptor, _LARGEST, 0).partition(b"\n")[0]
        if not content:
            return
        try:
            requests, changes, until, because = orjson.loads(content)
            mine, reason = self._quiet_until, self._quiet_because
            self._others = PaceState(requests, changes, 0.0, "")
            self.load(PaceState(requests, changes, float("-inf") if until is None else until, because), utc)
            super().quiet(mine, reason)  # where the file could not be had when the target asked for it
        except (ValueError, TypeError):
            _log.warning("the file of the shared pace was damaged and is written anew")

    def _write(self, descriptor: int) -> None:
        requests, changes, until, because = astuple(self.dump())
        state = (requests or self._others.requests, changes or self._others.changes, until, because)
        content = orjson.dumps(state) + b"\n"
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        except OSError as error:
            self._go_alone(error)

    def _go_alone(self, error: OSError) -> None:
        _log.warning("the rate cannot be shared with other runs on this host: %s", error.strerror or error)
        self.close()
