"""What a machine may lack: tests that need it are left out by hand, told at the end, and fail in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def without(what: str) -> NoReturn:
    """There is none of it here."""
    told = f"no {what} here (apt-get install {what})"
    if os.environ.get("TESTS_MISS_NOTHING"):
        pytest.fail(told)
    pytest.skip(told)
