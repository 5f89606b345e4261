"""Real SCIM servers, each in an environment of its own and on loopback.

    python tests/scim_servers.py [NAME…]

prints what came of each kind of change at these servers (all by default), as the table in docs/scim.md has it. The
environments are made once, in the folder that BATCHER_TEST_SERVERS names, or in the temporary one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "servers"
TOKEN = "a-token-of-the-tests"
CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Recipe:
    """How a server is installed and started."""

    name: str
    packages: tuple[str, ...]
    command: Callable[[Path, int], Sequence[str]]
    base: str
    tool: str = "pip"
    environment: Callable[[Path, int], dict[str, str]] = lambda *_: {}
    prepare: Callable[[Path, int, dict[str, str]], None] = lambda *_: None
    nobody: str = "00000000-0000-4000-8000-000000000000"
    """An id that no user and no group has, in the form that the server takes."""
    is_slow: bool = False
    """Whether it is only started for tests with the marker `real_servers`."""

    def place(self) -> Path:
        """The environment, made if it is not there."""
        root = Path(os.environ.get("BATCHER_TEST_SERVERS") or Path(tempfile.gettempdir()) / "batcher-test-servers")
        pins = hashlib.sha256(repr((self.packages, sys.version_info[:2])).encode()).hexdigest()[:12]
        root.mkdir(parents=True, exist_ok=True)
        place, done = root / f"{self.name}-{pins}", root / f"{self.name}-{pins}.made"
        with (root / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                _INSTALL[self.tool](place, self.packages)
                done.touch()
        return place


def _pip(place: Path, packages: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True)
    _quietly([place / "bin" / "pip", "install", "-q", *packages])


def _npm(place: Path, packages: Sequence[str]) -> None:
    (place / "package.json").write_text("{}")
    _quietly(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", place, *packages])


def _quietly(command: Sequence[Any], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()[-2000:]}")


_INSTALL = {"pip": _pip, "npm": _npm}


def _django(name: str, version: str, application: str, **more: str) -> Recipe:
    def command(place: Path, port: int) -> Sequence[str]:
        site = (str(place / "bin" / "python"), str(HERE / "django_site.py"))
        return [*site, application, str(port), TOKEN, str(place / f"{port}.sqlite")]

    return Recipe(name, (f"{name}=={version}",), command, "/scim/v2", is_slow=True, **more)


def _prepare_canaille(place: Path, port: int, environment: dict[str, str]) -> None:
    (place / f"{port}.toml").write_text(
        f"""SECRET_KEY = "not a secret"
TIMEZONE = "UTC"
[CANAILLE]
DATABASE = "sql"
[CANAILLE_SQL]
DATABASE_URI = "sqlite:///{place}/{port}.sqlite"
[CANAILLE_SCIM]
ENABLE_SERVER = true
[CANAILLE_OIDC]
ENABLE_OIDC = true
"""
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for arguments in (
        "install",
        "create client --client-id c --client-secret s --client-name t --grant-types client_credentials"
        " --token-endpoint-auth-method client_secret_basic --scope scim",
        f"create token --token-id t1 --access-token {TOKEN} --client c --type Bearer --scope scim --issue-date {now}"
        " --lifetime 999999",
    ):
        _quietly([place / "bin" / "canaille", *arguments.split()], environment)


def _prepare_scim2_server(place: Path, port: int, _: dict[str, str]) -> None:
    """Its usual configuration, but that lists have cursors only (RFC 9865), of small pages."""
    supported: dict[str, object] = {"supported": True}
    config: dict[str, object] = {"schemas": [CORE + "ServiceProviderConfig"]}
    config |= dict.fromkeys(("patch", "changePassword", "sort", "etag"), supported)
    config["bulk"] = supported | {"maxOperations": 1000, "maxPayloadSize": 1 << 20}
    config["filter"] = supported | {"maxResults": 1000}
    config["pagination"] = {"cursor": True, "index": False, "maxPageSize": 10}
    (place / f"{port}.json").write_text(json.dumps(config))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "scim2-server",
            ("scim2-server[cursor]==0.8.3",),
            lambda place, port: [
                str(place / "bin" / "scim2-server"),
                *("--hostname", "127.0.0.1", "--port", str(port), "--bearer-token", TOKEN),
                *("--service-provider-config", str(place / f"{port}.json")),
            ],
            "/v2",
            prepare=_prepare_scim2_server,
        ),
        Recipe(
            "scimmy",
            ("scimmy@1.3.5", "scimmy-routers@1.3.2", "express@4"),
            lambda _, port: ["node", str(HERE / "scimmy.mjs"), str(port), TOKEN],
            "/scim/v2",
            tool="npm",
        ),
        Recipe(
            "canaille",
            ("canaille[server,scim,oidc,sqlite,front]==0.3.6", "scim2-models==0.9.0", "scim2-client==0.7.5"),
            lambda place, port: [str(place / "bin" / "canaille"), "run", "--bind", f"127.0.0.1:{port}"],
            "/scim/v2",
            environment=lambda place, port: {"CANAILLE_CONFIG": str(place / f"{port}.toml")},
            prepare=_prepare_canaille,
            is_slow=True,
        ),
        _django("django-scim2", "0.23.0", "django_scim", nobody="999999"),
        _django("django-scim2-server", "1.1.0", "django_scim2_server"),
    )
}


@dataclass
class Server:
    """A server that runs. Its users and groups are made by `make`, and read by `members`."""

    name: str
    url: str
    ids: dict[str, str] = field(default_factory=dict)
    """The id of each user and group that was made, by name."""

    def ask(self, method: str, path: str, content: object = None) -> Any:
        """The JSON of a reply."""
        request = urllib.request.Request(  # noqa: S310 — loopback
            self.url + path,
            None if content is None else json.dumps(content).encode(),
            {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 — loopback
            return json.loads(reply.read() or b"null")

    def make(self, users: Sequence[str], groups: Sequence[str]) -> None:
        """Create these users and groups."""
        for kind, attribute, names in (("User", "userName", users), ("Group", "displayName", groups)):
            for name in names:
                content = {"schemas": [CORE + kind], attribute: name, "externalId": f"ext-{name}"}
                if kind == "Group":  # some demand these
                    content |= {"members": []}
                else:
                    mail = name if "@" in name else f"{name}@example.org"
                    content |= {
                        "active": True,
                        "name": {"familyName": name, "formatted": name},
                        "emails": [{"value": mail}],
                    }
                self.ids[name] = self.ask("POST", f"/{kind}s", content)["id"]

    def members(self, group: str) -> list[str]:
        """The ids of the members of a group, as listed."""
        content = self.ask("GET", f"/Groups/{self.ids[group]}")
        return sorted(member["value"] for member in content.get("members") or ())

    def pairs(self, groups: Sequence[str]) -> set[tuple[str, str]]:
        """All memberships of these groups, as ids."""
        return {(user, self.ids[group]) for group in groups for user in self.members(group)}


@contextmanager
def running(name: str) -> Iterator[Server]:
    """A server of this kind while the body runs."""
    recipe = RECIPES[name]
    place = recipe.place()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(place)} | recipe.environment(place, port)
    recipe.prepare(place, port, environment)
    with (place / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            recipe.command(place, port), cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(name, f"http://127.0.0.1:{port}{recipe.base}")
    try:
        _await(server, process, place / f"{port}.log")
        yield server
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            server.ask("GET", "/Groups")
        except (OSError, urllib.error.URLError, ValueError):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{server.name} did not start: {log.read_text()[-2000:]}") from None
            threading.Event().wait(0.05)
        else:
            return


# What came of it.

CHANGES = {
    "add": ("add", "alice", "a group"),
    "add again": ("add", "bob", "a group"),
    "add an unknown id": ("add", None, "a group"),
    "remove": ("remove", "bob", "a group"),
    "remove who is not in it": ("remove", "carol", "a group"),
    "add to an unknown group": ("add", "alice", None),
}
USERS, GROUPS = ("alice", "bob", "carol", "dave"), ("a group", "another")


def outcomes(server: Server, send: Callable[[list[tuple[str, str, str]]], list[str]]) -> dict[str, str]:
    """What `send` tells of each kind of change, one at a time, and whether that is so.

    `send` applies changes of ids and returns their statuses.
    """
    server.make(USERS, GROUPS)
    group, nobody = server.ids["a group"], RECIPES[server.name].nobody
    send([("add", server.ids["bob"], group), ("add", server.ids["dave"], group)])
    found = {}
    for what, (op, user, where) in CHANGES.items():
        change = (op, server.ids[user] if user else nobody, server.ids[where] if where else nobody)
        (status,) = send([change])
        is_so = where is None or ((change[1] in server.members(where)) == (op == "add"))
        is_wrong = where is not None and status in {"applied", "failed"} and is_so != (status == "applied")
        found[what] = f"{status}, wrongly" if is_wrong else status
    (found["an unknown id among others"],) = {
        "/".join(send([("add", server.ids["carol"], group), ("add", nobody, group), ("add", server.ids["bob"], group)]))
    }
    return found


def table(found: dict[str, dict[str, str]]) -> str:
    """The outcomes of several servers as a table in Markdown."""
    head = ["| change |", *(f" {name} |" for name in found)]
    lines = ["".join(head), "|---|" + "---|" * len(found)]
    kinds = next(iter(found.values()))
    lines += [f"| {what} | " + " | ".join(told[what] for told in found.values()) + " |" for what in kinds]
    return "\n".join(lines)


def main() -> None:
    from clients import applied  # noqa: PLC0415 — needs the program itself

    found = {}
    for name in sys.argv[1:] or RECIPES:
        with running(name) as server, tempfile.TemporaryDirectory() as folder:
            found[name] = outcomes(server, lambda changes: applied(Path(folder), server, changes))
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
