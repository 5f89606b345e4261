"""Several real processes at once, from seeds; `python tests/real_hosts.py 20` plays more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "real_hosts.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(0, 8, 2))
def test_real_processes_with_real_signals(first):
    """In a process of its own, which may be in a network namespace of its own."""
    played = subprocess.run(
        [sys.executable, str(HARNESS), "2", "--first", str(first)],
        check=False,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "2 seeds, 0 failed" in played.stdout
