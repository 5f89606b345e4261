"""What this machine allows the process: open files, threads, memory. Libraries abort if they get too little."""

from __future__ import annotations

import ctypes
import resource
import threading
from contextlib import suppress

from batcher.core.errors import ConfigurationError

_FILES_WANTED, _FILES = 1024, 64
"""The default of Linux, and the least that libraries, the ledger and a few connections need."""
_THREADS = 32
"""Threads of pyarrow, DuckDB and the ledger on four cores, found by lowering `ulimit -u`; 18 on two cores."""
_STACK = 1 << 17
SPACE = 1 << 29
"""Bytes of address space for the libraries, which need 420 MB, found by lowering `ulimit -v`."""
SPACE_WITH_STATE = 1 << 30
"""The same with an open state, which needs 800 MB."""
_MB = 1_000_000
_M_ARENA_MAX = -8
"""In glibc's malloc.h."""


def check_machine() -> None:
    """Check that this process gets what every command needs; raises the limit of open files as far as allowed.

    Raises:
        ConfigurationError: When it does not.

    """
    if not _are_files_enough():
        raise ConfigurationError("this process may not open enough files; raise the limit (ulimit -n 1024)")
    check_space(SPACE)
    # Threads take address space that they do not give back (the arenas of glibc): none are started if it is limited.
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY and not _are_threads_enough():
        raise ConfigurationError(
            f"this process may not start enough threads; raise the limit by {_THREADS} (ulimit -u, or the process"
            " limit of the container)"
        )


def use_one_heap() -> None:
    """Have the C library take memory from one heap, where it can do that.

    glibc gives each thread a heap of its own, which keeps what was freed: runs of millions of changes, whose windows
    are made and freed in changing threads, took a third more memory. With one heap they are no slower. See mallopt(3),
    M_ARENA_MAX.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def check_space(needed: int) -> None:
    """Check that the process may use this many bytes of address space.

    Raises:
        ConfigurationError: When it may not.

    """
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if resource.RLIM_INFINITY != allowed < needed:
        raise ConfigurationError(
            f"this process is limited to {allowed // _MB:,} MB of memory, but this needs {needed // _MB:,} MB; raise"
            f" the limit (ulimit -v {needed >> 10})"
        )


def _are_files_enough() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES_WANTED and soft != resource.RLIM_INFINITY:
        soft = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft == resource.RLIM_INFINITY or soft >= _FILES


def _are_threads_enough() -> bool:
    """Tried by starting them: the limits of the user and of the container also count threads of others."""
    done = threading.Event()
    started = []
    before = threading.stack_size(_STACK)
    try:
        for _ in range(_THREADS):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        threading.stack_size(before)
        done.set()
        for thread in started:
            thread.join()
    return True
