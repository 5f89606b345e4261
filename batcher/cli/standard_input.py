"""Standard input as a file that can be read in several passes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_files(files: Sequence[str]) -> Iterator[list[Path]]:
    """The files; for `-` one that holds what comes in, readable by its owner only, and gone afterwards."""
    copies = []
    try:
        paths = []
        for file in files:
            path = Path(file)
            if file == "-":
                descriptor, name = tempfile.mkstemp(prefix="stdin-")
                path = Path(name)
                copies.append(path)
                with os.fdopen(descriptor, "wb") as copy:
                    shutil.copyfileobj(sys.stdin.buffer, copy)
            paths.append(path)
        yield paths
    finally:
        for copy_of in copies:
            copy_of.unlink()
