"""Our own program as a client of a real server."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from scim_servers import TOKEN, Server
from shell import Shell

PROFILES = {"django-scim2": "django-scim2"}
"""The profile that a server needs."""


def applied(
    folder: Path, server: Server, changes: Sequence[tuple[str, str, str]], url: str = "", more: str = ""
) -> list[str]:
    """Apply changes of ids; returns the status of each. `more` are further settings of the target."""
    shell, name = Shell(folder), uuid4().hex
    shell.write(f"{name}.csv", "op,user_id,group_id\n" + "".join(",".join(change) + "\n" for change in changes))
    shell.write(
        "config.toml", f'[target]\n{more}\nprofile = "{PROFILES.get(server.name, "")}"\n[retry]\ngrace_seconds = 0.2\n'
    )
    where = ("--target", "scim", "--url", url or server.url, "--rate", "none", "-c", "config.toml")
    done = shell.run("apply", f"{name}.csv", *where, "--ledger", f"{name}.ledger", BATCHER_TOKEN=TOKEN)
    assert done.returncode in {0, 3}, done.stderr.decode()
    results = shell.run("results", f"{name}.ledger").stdout.decode()
    return [row["status"] for row in csv.DictReader(io.StringIO(results))]
