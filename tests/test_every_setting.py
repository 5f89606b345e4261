"""Every configuration key and every flag with unexpected values: they are accepted, or refused with a clear message.

The keys and flags are taken from their definitions, so a new one is tested as soon as it exists. Nothing leaves this
machine: commands that send use the embedded server, and the others a loopback port on which nothing listens.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from batcher.cli import app, console
from batcher.cli.runs import apply as applying
from batcher.cli.runs import sync as syncing
from batcher.core.errors import ConfigurationError
from batcher.settings import Settings

NOBODY = "http://127.0.0.1:9"
DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 8}
REFUSED = {2, 5, 7}
WITHOUT_SUCCESS = REFUSED | {4, 6}
FORGED = "forged:"
"""The beginning of the second line of a value; no line of output may begin with it."""

FEW = settings(derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)
"""Uses the same values each time, without shrinking, which makes no sense for values from a list."""


def few(most):
    """So many examples in CI, and a part of them by hand."""
    return settings(FEW, max_examples=max(1, most * settings().max_examples // 60))


HUGE = ("-1", "0", "1", str(2**31), str(2**53), str(2**63), str(10**20), "1.5", "nan", "inf", "-inf", "١", "²")
HOSTILE = (
    "\x1b[31mred", f"a\n{FORGED} b", f"a\r{FORGED} b", "\x07bell", "\x85", "\u2028", "\u202eabc", "\x7f",
    "", " ", "x", "Zoë", "🙂", "x" * 300, "x" * 100_000, "'", '"', "\\", "=", "a=b", "a=b,a=c", ":", "a:b", ",", ",,",
    "*", "[", "[!", "@", "@no-such", "@zero", "5%", "101%", "-5%", "none", "auto", "1/h", "999999999/s", "0/s", "0.2s",
    "999999999d", "1s", "2026-11-22", "9999-99-99", "%d", "%", "{", "{}", "\t", ";;", "rot13", "idna", "hex", "utf-7",
    "undefined", "minapp", "scrutinizer", "csv", "json", "parquet", "failed", "failed,x", "p99<5s", "p99<", "errors<=0%",
)  # fmt: skip
PATHS = (
    "no/such/file", "zero", "full", "~", "~nouser/x", ".", "..", "/proc", "/", "-", "--", "changes.csv", "changes.csv/x",
    "run.ledger", "hr.state", "plan.json", "load.json", "folder", "folder/", "empty", "broken", "new",
)  # fmt: skip
NO_TEXT = "\udcff"
"""A byte that is not UTF-8, as it arrives from the command line."""
ADDRESSES = (
    NOBODY, "https://127.0.0.1:9", "http://[::1]:9/x", "ftp://127.0.0.1", "http://", "http://example.org", "//127.0.0.1",
    "http://127.0.0.1:99999", "http://127.0.0.1:9/?a=b", "http://u:p@127.0.0.1:9", "http://127.0.0.1:0", "https://[",
    f"http://127.0.0.1:9/{'x' * 5000}", "http://127.0.0.1:9/\x1b", "http://" + "a" * 70 + ".localhost", "localhost:9",
    f"http://127.0.0.1:9/\n{FORGED}", "no address",
)  # fmt: skip
WRITTEN = {"output", "hdr_log", "log_file", "metrics_file", "journal", "ledger", "state"}
"""The keys and flags that create or replace a file; root could do that in the root folder."""
OUTPUTS = WRITTEN - {"ledger", "state"}
"""Files that may exist even after a refusal."""
GOOD: dict[str, tuple[Any, ...]] = {
    "target.kind": ("minapp", "scrutinizer"),
    "target.url": (NOBODY, "https://127.0.0.1:9"),
    "target.tls_fingerprint": ("ab" * 32,),
    "target.ca_file": ("changes.csv", "empty"),
    "auth.token_file": ("token", "empty", "changes.csv"),
    "auth.client_secret_file": ("token",),
    "input.format": ("csv", "jsonl", "json"),
    "input.delimiter": (",", ";", "\t"),
    "input.encoding": ("utf-8", "utf-16", "windows-1252"),
    "input.where": (["op=add"], ["op!=add"]),
    "input.map": ({"user": "user_id"}, {"nothing": "user_id"}, {"user": "no such"}),
    "feed.user_map": ("users.csv", "empty"),
    "feed.group_map": ("users.csv", "empty"),
    "feed.date_format": ("%d.%m.%Y",),
    "feed.as_of": ("2026-11-22",),
    "sync.state": ("hr.state",),
    "rate.requests": ("5/s", "none"),
    "rate.changes": ("5000/min",),
    "rate.max_in_flight": (1, "auto"),
    "limits.max_bytes": (16384,),
    "guard.max_failures": ("5", "5%"),
    "guard.deadline": ("2h",),
    "guard.protected_users": (["5"], ["*"]),
    "job.log_file": ("job.log",),
    "job.metrics_file": ("job.prom",),
    "job.run_after": ("true", "exit 3"),
    "ledger.path": ("new.ledger", "folder"),
}
KEYS = {
    f"{section}.{name}": kind
    for section, of in get_type_hints(Settings).items()
    for name, kind in get_type_hints(of).items()
}

FEED = ("feed.csv", "--simulate", "--state", "hr.state")
CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "apply": (("changes.csv", "--simulate"),),
    "sync": (FEED,),
    "plan": (("changes.csv", "--target", "minapp", "--url", NOBODY), FEED),
    "resume": (("run.ledger",),),
    "retry": (("run.ledger",),),
    "undo": (("run.ledger", "--simulate"),),
    "results": (("run.ledger",),),
    "report": (("run.ledger",), ("load.json",)),
    "explain": (("run.ledger", "5", "53"),),
    "verify": (("run.ledger",), ("run.ledger", "--against-target")),
    "state": (("refresh", "hr.state", "--target", "minapp", "--url", NOBODY),),
    "check": (("--target", "minapp", "--url", NOBODY),),
    "simulate": (("--port", "TAKEN"),),  # so that it is refused when it would begin to serve, if not before
    "load": (("--simulate", "--duration", "0.2s", "--output", "run.ledger"),),  # the same: it is no file for that
    "compare": (("load.json", "load.json"),),
}
"""Each command with arguments that make it do something without sending anything to a real host."""


class Stream(io.TextIOWrapper):
    """A standard stream of the program that keeps what is written; writes to its descriptor by others are lost."""

    def __init__(self, lost: int, errors: str) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
        self.lost = lost

    def fileno(self) -> int:
        return self.lost

    def text(self) -> str:
        return self.buffer.getvalue().decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Ended:
    """The result of a command."""

    command: str
    code: object
    out: str
    said: str
    changed: frozenset[str]

    def faults(self, allowed: Sequence[str]) -> list[str]:
        """Everything that must not happen, whatever the value; `allowed` are files that may have been created."""
        found = [] if self.code in DOCUMENTED else [f"exit code {self.code} is not documented"]
        found += [f"{word!r} on standard error" for word in ("Traceback", "internal error") if word in self.said]
        streams = {"standard error": self.said}
        if self.command != "results":  # this is the user's own data, unchanged
            streams["standard output"] = self.out
        for name, text in streams.items():
            raw = {character for character in text if not character.isprintable() and character != "\n"}
            found += [f"{character!a} reaches {name}" for character in sorted(raw)]
            if any(line.startswith(FORGED) for line in text.splitlines()):
                found.append(f"a value begins a line of its own on {name}")
        told = self.said + (self.out if self.command in {"plan", "check"} else "")
        if self.code in WITHOUT_SUCCESS and not any(len(line.split()) > 2 for line in told.splitlines()):
            found.append("there is no sentence")
        if self.code in REFUSED:
            left = [name for name in self.changed if not any(name == a or name.startswith(f"{a}/") for a in allowed)]
            said = self.said.split()  # a list of invalid lines is mentioned
            kept = [name for name in left if not (name.endswith(".rejected.csv") and name in said)]
            found += [f"it was refused, and {name} was made or changed" for name in sorted(kept)]
        return found


def content_of(path: Path) -> bytes:
    """The content of a file; for a database, without the counter of writes (sqlite.org/fileformat)."""
    content = path.read_bytes()
    if content.startswith(b"SQLite format 3\0"):
        return content[:24] + bytes(4) + content[28:92] + bytes(4) + content[96:]
    return content


class Desk:
    """A folder with a file of each kind, in which commands are run, and which is restored after each."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.lost = os.open(os.devnull, os.O_RDWR)
        self._known: dict[str, bytes | None] = {}

    def furnish(self) -> None:
        """Create the files that the commands work on, with the commands themselves."""
        files = {
            "changes.csv": "op,user_id,group_id\nadd,5,53\n",
            "feed.csv": "user_id,group_id\n5,53\n6,53\n7,53\n",
            "first.csv": "user_id,group_id\n5,53\n6,53\n",
            "users.csv": "from,to\n5,7\n",
            "scenario.toml": "latency_ms = 5\n",
            "token": "t\n",
            "empty": "",
            "broken": "[target\n\0",
        }
        for name, content in files.items():
            (self.folder / name).write_text(content, encoding="utf-8")
        (self.folder / "folder").mkdir()
        for device in ("zero", "full"):  # a name that may be replaced, unlike the device
            (self.folder / device).symlink_to(f"/dev/{device}")
        for arguments in (
            ("apply", "changes.csv", "--simulate", "--ledger", "run.ledger"),
            (
                "sync",
                "first.csv",
                "--simulate",
                "--state",
                "hr.state",
                "--bootstrap",
                "--from-nothing",
                "--ledger",
                "s",
            ),
            ("plan", "changes.csv", "--simulate", "-o", "plan.json"),
            ("plan", *FEED, "-o", "sync.json"),
            ("load", "--simulate", "--duration", "0.2s", "--ledger", "load.ledger", "-o", "load.json"),
        ):
            ended = self.run(arguments, restored=False)
            assert ended.code == 0, ended.said
        self._known = self._files()

    def run(self, arguments: Sequence[str], *, restored: bool = True) -> Ended:
        """Run a command as the program would."""
        out, said = Stream(self.lost, "strict"), Stream(self.lost, "backslashreplace")
        given = [str(self.port) if text == "TAKEN" else text for text in arguments]
        code: object = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            try:
                app.main(given, prog_name="batcher")
            except SystemExit as ended:
                code = ended.code or 0
            except Exception as error:  # noqa: BLE001 — it would be a traceback
                code = repr(error)
        files = self._files() if restored else {}
        every = files.keys() | self._known.keys()
        changed = frozenset(name for name in every if files.get(name, 0) != self._known.get(name, 0))
        for name in sorted(changed, reverse=True) if restored else ():
            self._restore(name)
        return Ended(arguments[0], code, out.text(), said.text(), changed)

    def _files(self) -> dict[str, bytes | None]:
        """The content of each file, None for anything that has none."""
        paths = [path for path in self.folder.rglob("*") if path.relative_to(self.folder).parts[0] != "xdg"]
        return {
            str(path.relative_to(self.folder)): content_of(path) if path.is_file() and not path.is_symlink() else None
            for path in paths
        }

    def _restore(self, name: str) -> None:
        path = self.folder / name
        if name not in self._known:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif (content := self._known[name]) is not None:
            path.write_bytes(content)
        elif name in {"zero", "full"}:
            path.unlink(missing_ok=True)
            path.symlink_to(f"/dev/{name}")
        else:
            path.mkdir(exist_ok=True)


def children() -> set[str]:
    tasks = Path("/proc/self/task")
    return {child for task in tasks.glob("*/children") for child in task.read_text(encoding="ascii").split()}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    before, logger = children(), logging.getLogger("batcher")
    handlers, level, propagates = logger.handlers, logger.level, logger.propagate
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as taken, Path(os.devnull).open(encoding="ascii") as no:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name in [name for name in os.environ if name.startswith(("BATCHER_", "OTEL_"))]:
            patch.delenv(name)
        patch.setenv("BATCHER_TOKEN", "tok-12345")
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_STATE_HOME", str(folder / "xdg"))
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
        patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
        patch.setattr(tempfile, "tempdir", str(folder / "xdg"))
        patch.setattr(sys, "stdin", no)
        patch.setattr(applying, "be_frugal", lambda: None)  # it is meant for a process that ends with the command
        patch.setattr(syncing, "be_frugal", lambda: None)
        patch.chdir(folder)
        (folder / "xdg").mkdir()
        made = Desk(folder, taken.getsockname()[1])
        made.furnish()
        yield made
        os.close(made.lost)
    logger.handlers, logger.propagate = handlers, propagates
    logger.setLevel(level)
    console._NO_COLOR.clear()
    console.standard_error.cache_clear()
    assert children() <= before


@pytest.fixture(autouse=True)
def _own_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """State that other runs on this host have left would make a command wait for its turn."""
    monkeypatch.setenv("XDG_STATE_HOME", str(desk.folder / "xdg"))
    monkeypatch.setenv("BATCHER_TOKEN", "tok-12345")


def refresh(desk: Desk) -> None:
    shutil.rmtree(desk.folder / "xdg")
    (desk.folder / "xdg").mkdir()


# --- keys ---------------------------------------------------------------------------------------------------------


def of_kind(kind: Any) -> st.SearchStrategy[Any]:
    """Values for a type, valid and invalid ones."""
    if get_origin(kind) is Literal:
        return st.sampled_from([*get_args(kind), "x", "", 1])
    if get_origin(kind) in {Union, UnionType}:
        return st.one_of([of_kind(inner) for inner in get_args(kind) if inner is not type(None)])
    if get_origin(kind) is list:
        return st.lists(of_kind(get_args(kind)[0]), max_size=3)
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return st.dictionaries(of_kind(key), of_kind(value), max_size=2)
    numbers = [-(10**20), -1, 0, 1, 2, 99, 65_535, 65_536, 2**31, 2**53, 2**53 + 1, 2**63, 10**20]
    floats = [-1.0, -0.0, 0.0, 1e-300, 0.5, 1.0, 3.5, 1e300, math.nan, math.inf, -math.inf]
    return {
        bool: st.booleans(),
        int: st.sampled_from(numbers),
        float: st.sampled_from([*floats, *numbers]),
        str: st.sampled_from([*HOSTILE, *PATHS, *HUGE, "a\0b", "x" * 200_000]),
    }[kind]


WRONG = st.sampled_from([True, -1, 1.5, math.nan, 10**20, "x", "", [], ["x"], [1], {}, {"x": "y"}, {"x": 1}, [[]]])


def values_of(key: str) -> st.SearchStrategy[Any]:
    section, _, name = key.partition(".")
    default = getattr(getattr(Settings(), section), name)
    good = [value for value in (default, *GOOD.get(key, ())) if value is not None]
    own = of_kind(KEYS[key])
    return st.one_of([*([st.sampled_from(good)] if good else []), own, own, WRONG])


def toml(value: Any) -> str:
    """The value as it is written in a file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def is_dangerous(name: str, value: object) -> bool:
    """Whether root could do harm with the value outside of the test's folder."""
    if name == "path":
        name = "ledger"
    by_name = {"ledger": ["/", "zero", "full"], "state": ["/", "/proc", "zero", "full"], "output": ["/", "/proc"]}
    return value in by_name.get(name, ["/"] if name in WRITTEN else [])


def test_the_examples_are_of_keys_that_exist():
    assert GOOD.keys() <= KEYS.keys()
    for key, values in GOOD.items():
        for value in values:
            Settings.load(None, {key: value})


@pytest.mark.parametrize("key", KEYS)
def test_a_value_is_taken_or_refused(key):
    """In the library: the value gives a clear configuration error, or settings that survive being stored."""

    @few(20)
    @given(st.one_of(values_of(key), st.sampled_from(["\ud800", NO_TEXT, ["\ud800"], {"\ud800": "x"}, None])))
    def look(value):
        said = ""
        try:
            found = Settings.load(None, {key: value})
        except ConfigurationError as error:
            found, said = None, str(error)
        assert len(said.split()) > 2 if found is None else Settings.from_json(found.to_json()) == found

    look()


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_a_file(desk, key):
    section, _, name = key.partition(".")

    @few(5)
    @given(command=st.sampled_from(["plan", "apply", "sync", "check"]), value=values_of(key), which=st.integers(0, 1))
    def look(command, value, which):
        assume(not is_dangerous(name, value))
        arguments = CALLS[command][which % len(CALLS[command])]
        assert_no_faults(desk, [command, *arguments], f"[{section}]\n{name} = {toml(value)}\n", {name: value})

    look()


@pytest.mark.parametrize(
    "content",
    [
        "x = 1\n",
        "[x]\ny = 1\n",
        "[rate]\nurl = 'x'\n",
        "[target]\n'a\\u001b' = 1\n",
        '[target]\n"\\u001b[31m\\nforged: x" = 1\n',
        '["\\u001b[31m\\nforged: x"]\na = 1\n',
        "rate = 1\n",
        "rate = []\n",
        "[[rate]]\nmargin = 0.5\n",
        "[rate.margin]\nx = 1\n",
        "[rate]\nmargin = 1979-05-27T07:32:00Z\n",
        "[rate]\nmargin = 0.1\nmargin = 0.2\n",
        f"[rate]\nmargin = {'[' * 5000}\n",
        f"[rate]\nburst = {'9' * 5000}\n",
        "\0",
        "\x1b",
        "[rate]\nburst = 1 \x1b\n",
    ],
)
@pytest.mark.parametrize("command", ["plan", "apply", "check"])
def test_a_file_that_is_none(desk, command, content):
    assert_no_faults(desk, [command, *CALLS[command][0]], content, {}, code=2)


def assert_no_faults(
    desk: Desk, arguments: Sequence[str], content: str | None, files: dict[str, Any], code: int | None = None
) -> None:
    """Run a command and check it; `files` are the flags or keys that may name a file to be written."""
    refresh(desk)
    if content is not None:
        file = desk.folder / "xdg" / "batcher.toml"
        file.write_bytes(content.encode())
        arguments = [*arguments, "-c", str(file)]
    ended = desk.run(arguments)
    named = [str(value) for name, value in files.items() if name in OUTPUTS and value]
    found = ended.faults([os.path.relpath(desk.folder / name, desk.folder) for name in named])
    shown = [text[:60] for text in arguments]
    assert not found, f"{found}: {shown} {(content or '')[:120]!r} exit {ended.code}: {ended.said[-400:]!r}"
    assert code is None or ended.code == code


# --- flags --------------------------------------------------------------------------------------------------------

PARAMETERS = {
    f"{command} {parameter.opts[0]}": (command, parameter)
    for command, known in app.commands.items()
    for parameter in [*known.params, *(p for each in getattr(known, "commands", {}).values() for p in each.params)]
}


def given_to(command: str, parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Values for a flag, more often those of its own kind."""
    name = str(parameter.name)
    if name == "url":
        return st.sampled_from(ADDRESSES)
    hostile = st.sampled_from([*HOSTILE, NO_TEXT])
    if isinstance(parameter.type, click.types.IntRange | click.types.IntParamType | click.types.FloatParamType):
        return st.one_of(st.sampled_from([*HUGE, "5"]), st.sampled_from([*HUGE, "5"]), hostile)
    if isinstance(parameter.type, click.Choice):
        return st.one_of(st.sampled_from(list(parameter.type.choices)), hostile)
    key = _setting_of(name)
    good = [value for value in GOOD.get(key, ()) if isinstance(value, str)]
    paths = st.sampled_from([*PATHS, NO_TEXT])
    if isinstance(parameter.type, click.Path) or isinstance(parameter, click.Argument) or name in WRITTEN:
        return st.one_of(paths, paths, hostile)
    return st.one_of([*([st.sampled_from(good)] if good else []), hostile, paths, st.sampled_from(HUGE)])


def _setting_of(name: str) -> str:
    from batcher.cli.flags import _KEYS  # noqa: PLC0415 — the table is the flags' own

    return _KEYS.get(name, "")


def call(command: str, which: int, parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """The command with this flag or argument, and with what else it needs."""
    calls = CALLS[command]
    arguments = list(calls[which % len(calls)])
    if isinstance(parameter, click.Argument):
        known = app.commands[command]
        group = []
        if isinstance(known, click.Group):
            group, known, arguments = [arguments[0]], known.commands[arguments[0]], arguments[1:]
        places = [other for other in known.params if isinstance(other, click.Argument)]
        at = places.index(parameter)
        filled = [text for text in arguments[: len(places)] if not text.startswith("-")]
        filled[at : at + 1] = values
        rest = arguments[len([text for text in arguments[: len(places)] if not text.startswith("-")]) :]
        return [command, *group, *rest, "--", *filled]
    flag = parameter.opts[0]
    if parameter.name == "output" and "--output" in arguments:
        place = arguments.index("--output")
        arguments[place : place + 2] = ["--hdr-log", "run.ledger"]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [command, *arguments, *([flag] if not values[0] else [f"{flag}={values[0]}"])]
    return [command, *arguments, *(f"{flag}={value}" for value in values)]


def is_served(command: str, name: str, values: Sequence[str]) -> bool:
    """Whether a server would begin to serve, or an endless device would be read."""
    if command == "simulate" and name == "port":
        return any(value.isdecimal() and int(value) <= 65_535 for value in values)
    return name == "files" and any(value in {"zero", "full"} for value in values)


@pytest.mark.parametrize("flag", PARAMETERS)
def test_a_flag(desk, flag):
    command, parameter = PARAMETERS[flag]
    name = str(parameter.name)
    is_switch = isinstance(parameter, click.Option) and parameter.is_flag
    most = 2 if parameter.multiple or parameter.nargs == -1 else 1
    one = st.sampled_from(["", "x", "\x1b"]) if is_switch else given_to(command, parameter)

    @few(2 if is_switch else 5)
    @given(values=st.lists(one, min_size=1, max_size=most), which=st.integers(0, 1))
    def look(values, which):
        assume(not any(is_dangerous(name, value) for value in values))
        assume(not is_served(command, name, values))
        assert_no_faults(desk, call(command, which, parameter, values), None, {name: values[-1]})

    look()


@pytest.mark.parametrize("command", app.commands)
@pytest.mark.parametrize(
    "flag", ["--no-such", "--\x1b", f"--a\n{FORGED} b", f"--{NO_TEXT}", "-\x1b", "--" + "x" * 9_999]
)
def test_a_flag_that_there_is_not(desk, command, flag):
    assert_no_faults(desk, [command, *CALLS[command][0], flag], None, {}, code=2)


@pytest.mark.parametrize("word", ["x", "", "\x1b[31m", f"a\n{FORGED} b", NO_TEXT, "--\x1b"])
def test_a_command_that_there_is_not(desk, word):
    assert_no_faults(desk, [word], None, {}, code=2)


NAMES = [flag for flag, (_, p) in PARAMETERS.items() if isinstance(p.type, click.Path) or p.name in WRITTEN | {"files"}]


@pytest.mark.parametrize("value", ["x" * 300, "", ".", "folder", NO_TEXT])
@pytest.mark.parametrize("flag", NAMES)
def test_a_name_that_no_file_has(desk, flag, value):
    command, parameter = PARAMETERS[flag]
    assert_no_faults(desk, call(command, 0, parameter, [value]), None, {str(parameter.name): value})
