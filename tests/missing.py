"""Programs that a machine may lack: tests that need them are skipped when run by hand, and fail in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def without(what: str) -> NoReturn:
    """Skip or fail the test, because this program is missing."""
    told = f"no {what} here (apt-get install {what})"
    if os.environ.get("TESTS_MISS_NOTHING"):
        pytest.fail(told)
    pytest.skip(told)
