"""The user's own command at the end of a run: a mail, a ping, a ticket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from batcher.cli.console import as_json, say

_LONGEST_AFTER = 60.0
"""Seconds. A mail program that hangs must not hold up tomorrow's run."""
_SHOWN = 200
"""Characters of a command."""
_SECRETS = ("BATCHER_TOKEN", "BATCHER_CLIENT_SECRET", "BATCHER_PROXY_CREDENTIALS")


def run_after(command: str, summary: Mapping[str, Any]) -> None:
    """The user's command, with the summary on its standard input and without the run's secrets."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    try:
        done = subprocess.run(  # noqa: S602 — the user's own command, as in a crontab
            command,
            shell=True,
            input=as_json(summary),
            stdout=sys.stderr.fileno(),
            timeout=_LONGEST_AFTER,
            env=environment | {"BATCHER_EXIT_CODE": str(summary["exit_code"])},
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"batcher: the run_after command did not finish within {_LONGEST_AFTER:.0f} s: {command}")
    except OSError as error:  # too long for the system, or there is no shell
        say(f"batcher: the run_after command cannot be run: {error.strerror}: {command[:_SHOWN]}")
    else:
        if done.returncode:
            say(f"batcher: the run_after command exited with {done.returncode}: {command}")
