"""The pace of all runs of this host against one target, in a small file: shared by processes, kept over restarts.

Every look at the pace happens under a lock on the file, with the memory that is written there, so that two processes
can never take the same turn. Times in the file are UTC.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

import orjson

from batcher.core.limit import Meter, Pacer, PaceState, Turn, Waiting

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LARGEST = 1 << 20


class SharedPacer(Pacer):
    """A pacer whose memory lives in a file. Where that cannot be used, it paces this process alone and says so once."""

    def __init__(self, requests: Meter | None, changes: Meter | None, file: Path, utc_offset: float) -> None:
        super().__init__(requests, changes)
        self._offset = utc_offset
        self._descriptor: int | None = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.warning("the rate cannot be shared with other runs on this host: %s", error)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def quiet(self, until: float, because: Waiting) -> None:
        """No send of any run before `until`."""
        self._together(lambda: super(SharedPacer, self).quiet(until + self._offset, because), writes=True)

    def turn(self, now: float, changes: int) -> Turn:
        """As of any pacer, for all runs together."""
        return self._together(lambda: super(SharedPacer, self).turn(now + self._offset, changes), writes=False)

    def try_take(self, now: float, changes: int) -> Turn:
        """As of any pacer; no other run can take the same turn."""
        return self._together(lambda: self._take(now + self._offset, changes), writes=True)

    def _take(self, utc: float, changes: int) -> Turn:
        turn = Pacer.turn(self, utc, changes)
        if turn.seconds <= 0:
            self.record(utc, changes)
        return turn

    def _together(self, work: Callable[[], T], *, writes: bool) -> T:
        if self._descriptor is None:
            return work()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            self._read(self._descriptor)
            result = work()
            if writes:
                content = orjson.dumps(astuple(self.dump()))
                os.pwrite(self._descriptor, content, 0)
                os.ftruncate(self._descriptor, len(content))
            return result
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _read(self, descriptor: int) -> None:
        content = os.pread(descriptor, _LARGEST, 0)
        if not content:
            return
        try:
            requests, changes, until, because = orjson.loads(content)
            self.load(PaceState(requests, changes, float("-inf") if until is None else until, because))
        except (ValueError, TypeError):
            _log.warning("the file of the shared pace was damaged and is written anew")
            os.ftruncate(descriptor, 0)
