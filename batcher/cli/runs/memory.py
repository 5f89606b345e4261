"""How the process allocates and returns its memory, so that a long run stays as small as a short one.

A run allocates and frees arrays of some megabytes in several threads. glibc's defaults (mallopt(3)) keep a heap per
thread and raise, with the first large block that is freed, the size from which blocks are returned at once; both let
a run of twenty million rows grow to twice its working set. Without glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import gc

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MIB = 1 << 20
_COLLECT_AFTER = 700
"""Objects; Python's default, which is raised during start-up."""


def be_frugal() -> None:
    """Use one heap for all threads, with large blocks outside of it; have Arrow do the same."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 4 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 16 * _MIB)
    pa.set_memory_pool(pa.system_memory_pool())
    gc.freeze()  # what was imported stays, and need not be scanned again and again
    gc.set_threshold(_COLLECT_AFTER)  # refused requests leave reference cycles that hold whole batches
