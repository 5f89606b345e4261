"""What this machine allows the process: open files, threads, memory. Libraries abort where they get too little."""

from __future__ import annotations

import resource
import threading

from batcher.core.errors import ConfigurationError

_FILES_WANTED, _FILES = 1024, 64
"""What Linux gives a process by itself, and what libraries, ledger and a few connections need."""
_THREADS = 32
"""Those of pyarrow, DuckDB and the ledger on four cores, found by lowering `ulimit -u`: 18 on two."""
_STACK = 1 << 17
SPACE = 1 << 29
"""Bytes of addresses that the libraries need, found by lowering `ulimit -v`: 420 MB."""
SPACE_WITH_STATE = 1 << 30
"""The same with a state open: 800 MB."""
_MB = 1_000_000


def check_machine() -> None:
    """See that this process may do what every command needs; raises the limit of open files as far as it may.

    Raises:
        ConfigurationError: When it may not.

    """
    if not _are_files_enough():
        raise ConfigurationError("this process may not open enough files; allow it more of them (ulimit -n 1024)")
    check_space(SPACE)
    # A thread that has been started has taken addresses that it does not give back (the arenas of glibc).
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY and not _are_threads_enough():
        raise ConfigurationError(
            f"this process may not start enough threads; allow it {_THREADS} more (ulimit -u, or the limit of the"
            " container's processes)"
        )


def check_space(needed: int) -> None:
    """See that as many bytes of addresses are allowed.

    Raises:
        ConfigurationError: When they are not.

    """
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if resource.RLIM_INFINITY != allowed < needed:
        raise ConfigurationError(
            f"this process may have {allowed // _MB:,} MB of memory, and needs {needed // _MB:,} for this; allow it"
            f" more (ulimit -v {needed >> 10})"
        )


def _are_files_enough() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES_WANTED and soft != resource.RLIM_INFINITY:
        soft = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft == resource.RLIM_INFINITY or soft >= _FILES


def _are_threads_enough() -> bool:
    """Found by starting them: limits of the user and of the container count others' threads, too."""
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
