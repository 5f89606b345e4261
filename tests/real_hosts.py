"""Several real processes on this machine from random seeds, with real signals: `hosts.py` again, in real time.

    python tests/real_hosts.py 10                the seeds 0 to 9
    python tests/real_hosts.py 1 --first 7 -v    one seed, with what happened

A seed decides what two or three people do, and what happens to their processes; how all of it interleaves is up to the
machine. Processes are killed, suspended, and asked to stop, once or twice; some ignore hang-ups. The clock on the wall
is set while they work (with libfaketime, if it is there), and the link to the target goes down (in a network namespace,
if one may be made). At the end every ledger must be sound, the members those of the ledgers, and nothing secret or
unprintable may have been written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import write_changes
from processes import LawBrokenError
from shell import PROGRAM, state_of, wait
from told import Pair, check_told, is_begun

from batcher.core.verdict import Cause

_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_RATE = 30
_MOST_TRIES = 25
_SECONDS = 60.0
"""How long a command may take."""
_EXPECTED = {0, 2, 3, 6, 7, *(cause.exit_code for cause in Cause if cause.is_signal)}
_IS_DECIDED = "BATCHER_TEST_NAMESPACE"
"""Set in processes for which it is decided whether they are in a network namespace of their own."""


@dataclass
class Mishap:
    """What happens to a process: signals after some seconds; `nohup` if hang-ups are ignored."""

    after: float
    signals: tuple[int, ...]
    nohup: bool
    waits: bool
    """Whether the seconds begin once there is a ledger, and not with the process."""


def _mishap(rng: random.Random) -> Mishap | None:
    if rng.random() < 0.4:
        return None
    after = rng.choice([0.3, 0.8, 1.2, 1.6, 2.5, 4.0])
    kind = rng.choice(["kill", "kill", "suspend", "interrupt", "twice", "terminate", "hang up", "nohup"])
    signals = {
        "kill": (signal.SIGKILL,),
        "suspend": (signal.SIGSTOP, signal.SIGCONT),
        "interrupt": (signal.SIGINT,),
        "twice": (signal.SIGINT, signal.SIGINT),
        "terminate": (signal.SIGTERM,),
        "hang up": (signal.SIGHUP,),
        "nohup": (signal.SIGHUP,),
    }
    return Mishap(after, signals[kind], kind == "nohup", waits=kind == "nohup" or rng.random() < 0.6)


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    told: dict[str, object]
    said: str

    @property
    def next(self) -> str:
        """The command that it suggests."""
        return str(self.told.get("next") or "")


@dataclass(eq=False)
class Person(threading.Thread):
    """Has users of its own, and gives one command after the other."""

    host: RealHost
    number: int
    rng: random.Random
    ledgers: list[Path] = field(default_factory=list)
    feed: set[Pair] | None = None
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.folder = self.host.folder / f"person-{self.number}"
        self.folder.mkdir()

    def run(self) -> None:
        """Everything that this person does."""
        try:
            for _ in range(self.rng.randint(2, 3)):
                self._sync() if self.rng.random() < 0.4 else self._apply()
        except BaseException as error:  # noqa: BLE001 — it is raised where the others are waited for
            self.failure = error

    def _apply(self) -> None:
        users = [100 * self.number + user for user in range(6)]
        count = self.rng.choice([20, 60, 150])
        changes = [
            (self.rng.choice(["add", "add", "remove"]), self.rng.choice(users), self.rng.randrange(20))
            for _ in range(count)
        ]
        file = write_changes(self.folder / "changes.jsonl", changes)
        if self.rng.random() < 0.4:
            self._until_done(["apply", "-"], file.read_bytes())
        else:
            self._until_done(["apply", str(file)])

    def _sync(self) -> None:
        pairs: list[Pair] = [(100 * self.number + user, group) for user in range(50, 56) for group in range(5)]
        feed = set(self.rng.sample(pairs, self.rng.randint(5, len(pairs))))
        file, state = self.folder / "feed.csv", self.folder / "hr.state"
        file.write_text("user,group\n" + "".join(f"{user},{group}\n" for user, group in sorted(feed)), "utf-8")
        self.feed = None
        command = ["sync", str(file), "--state", str(state)]
        if self._until_done(command, state=state).code == 0:
            self.feed = feed

    def _until_done(self, command: Sequence[str], content: bytes = b"", state: Path | None = None) -> Ended:
        """Begin a run, and do what it says until there is nothing more to do."""
        ledger = None
        for number in range(_MOST_TRIES):
            mishap = _mishap(self.rng) if number < _MOST_TRIES // 2 else None
            if ledger is None or not is_begun(ledger):
                ledger = self.folder / f"{len(self.ledgers)}.ledger"
                self.ledgers.append(ledger)
                is_first = state is not None and not state.exists()
                more = ["--bootstrap", "--from-nothing"] if is_first else []
                ended = self._command([*command, *more, "--ledger", str(ledger)], content, mishap)
            else:
                ended = self._command(["resume", str(ledger), "--despite-later-runs"], b"", mishap)
            if "run its command again with another --ledger" in ended.said:
                ledger = None
            elif ended.code in {0, 3} and not ended.next.startswith("batcher resume"):
                return ended
        raise LawBrokenError(f"{command} does not come to an end: {ended}")

    def _command(self, arguments: Sequence[str], content: bytes, mishap: Mishap | None) -> Ended:
        program = ["nohup", *PROGRAM] if mishap is not None and mishap.nohup else PROGRAM
        options = [*self.host.options, "--json"] if arguments[0] in {"apply", "sync"} else ["--json"]
        process = subprocess.Popen(
            [*program, *arguments, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.host.environment,
        )
        if mishap is not None:
            threading.Thread(target=self._strike, args=(process, mishap, self.ledgers[-1]), daemon=True).start()
        try:
            out, err = process.communicate(content, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise LawBrokenError(f"{arguments} does not end, {mishap}: {process.communicate()[1][-500:]!r}") from None
        said = err.decode("utf-8", "replace")
        self.host.say(f"{self.number}: {arguments[0]}: {process.returncode} {mishap} {said.strip().splitlines()[-1:]}")
        self.host.check_said(arguments, process.returncode, mishap, out.decode() + said)
        lines = out.splitlines()
        return Ended(process.returncode, json.loads(lines[-1]) if lines and lines[-1][:1] == b"{" else {}, said)

    def _strike(self, process: subprocess.Popen[bytes], mishap: Mishap, ledger: Path) -> None:
        while mishap.waits and not ledger.exists() and process.poll() is None:
            wait(0.05)
        wait(mishap.after)
        for number in mishap.signals:
            if process.poll() is not None:
                return
            process.send_signal(number)
            self.host.stops += number == signal.SIGSTOP
            wait(self.host.rng.choice([0.1, 2.0, 7.0]) if number == signal.SIGSTOP else 0.2)


class RealHost:
    """The machine, and everybody on it."""

    def __init__(self, seed: int, folder: Path, *, has_link: bool, verbose: bool) -> None:
        self.rng = random.Random(seed)
        self.folder, self.has_link, self.verbose = folder, has_link, verbose
        self.kind = self.rng.choice(["minapp", "scrutinizer"])
        self.token = secrets.token_urlsafe(24)
        self.clock = folder / "clock"
        self.stops = 0
        self.options: list[str] = []
        self._is_over = threading.Event()
        self.people = [
            Person(self, number, random.Random(self.rng.random())) for number in range(self.rng.choice([2, 3]))
        ]

    @property
    def environment(self) -> dict[str, str]:
        """That of every command."""
        known = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        known |= {"BATCHER_TOKEN": self.token, "BATCHER_CONFIG": str(self.folder / "batcher.toml")}
        known |= {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}  # of a copy, perhaps
        if _FAKETIME:
            known |= {"LD_PRELOAD": str(_FAKETIME[-1]), "FAKETIME_TIMESTAMP_FILE": str(self.clock)}
            known |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        return known

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        if self.verbose:
            print(f"  {text}", flush=True)

    def play(self) -> None:
        """Everything until everybody has done, and what must have come of it."""
        (self.folder / "batcher.toml").write_text(
            "[limits]\nmax_changes = 3\n[retry]\ngrace_seconds = 2\nbase_seconds = 0.05\nmax_wait = '20s'\n"
            "[guard]\n"
            + "".join(
                f"max_{what} = 'none'\n" for what in ("shrink", "removal_share", "group_share", "addition_share")
            ),
            "utf-8",
        )
        self._set_clock("+0")
        with self._simulator() as url:
            self.options = ["--target", self.kind, "--url", url, "--rate", f"{_RATE}/s", "--max-in-flight", "4"]
            around = [threading.Thread(target=self._set_the_clock, daemon=True)]
            if self.has_link:
                around.append(threading.Thread(target=self._cut_the_link, daemon=True))
            for thread in (*around, *self.people):
                thread.start()
            for person in self.people:
                person.join()
            self._is_over.set()
            for thread in around:
                thread.join()
            for person in self.people:
                if person.failure is not None:
                    raise person.failure
            wait(2.0)  # for what is late
            self._check(state_of(url))

    def _simulator(self) -> Server:
        faults = ["--fault", "503=0.05", "--fault", "late=0.05", "--late-seconds", "1.5"]
        behaviour = ["--latency-ms", "40", "--jitter-ms", "40", "--limit", f"{_RATE}/s", "--token", self.token]
        return Server([*PROGRAM, "simulate", "--port", "0", *faults, *behaviour, "--seed", str(self.rng.randrange(99))])

    def _set_clock(self, step: str) -> None:
        made = self.clock.with_suffix(".new")
        made.write_text(step, "utf-8")
        made.replace(self.clock)

    def _set_the_clock(self) -> None:
        while not self._is_over.wait(self.rng.choice([0.5, 1.0, 3.0])):
            self._set_clock(self.rng.choice(["+0", "+1d", "-1d", "+30", "-30", "-1"]))

    def _cut_the_link(self) -> None:
        while not self._is_over.wait(self.rng.choice([3.0, 8.0])):
            subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
            wait(self.rng.choice([0.2, 1.0, 4.0]))
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def check_said(self, arguments: Sequence[str], code: int, mishap: Mishap | None, said: str) -> None:
        """What a command may say, and how it may end."""
        if self.token in said:
            raise LawBrokenError(f"{arguments} has said the token")
        if "Traceback" in said or "internal error" in said:
            raise LawBrokenError(f"{arguments}, {mishap}: {said[-2000:]}")
        if any(not line.isprintable() for line in said.split("\n")):
            raise LawBrokenError(f"{arguments} has written what cannot be printed: {said!r}")
        if mishap is not None and mishap.nohup and code == Cause.HANGUP.exit_code:
            raise LawBrokenError(f"{arguments} was told to ignore hang-ups: {said[-500:]}")
        killed = mishap is not None and code < 0 and -code in mishap.signals
        if code not in _EXPECTED and not killed:
            raise LawBrokenError(f"{arguments}, {mishap}: exit code {code}: {said[-500:]}")

    def _check(self, seen: dict[str, object]) -> None:
        groups: dict[str, list[int]] = seen["groups"]
        members: set[Pair] = {(user, int(group)) for group, users in groups.items() for user in users}
        for person in self.people:
            check_told(person.ledgers, members, lambda _: False)
            mine = {pair for pair in members if 50 <= pair[0] - 100 * person.number < 60}
            if person.feed is not None and mine != person.feed:
                raise LawBrokenError(f"the feed of {person.number} is not what is in effect: {person.feed ^ mine}")
        if seen["limited"] > self.stops:  # whoever is suspended with its turn taken sends it later
            raise LawBrokenError(f"{seen['limited']} requests were too many, and {self.stops} processes were suspended")
        for path in self.folder.rglob("*"):
            if path.is_file() and self.token.encode() in path.read_bytes():
                raise LawBrokenError(f"the token stands in {path.name}")


class Server:
    """A simulated target in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def __enter__(self) -> str:
        return self._process.stdout.readline().decode().split()[-1]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def run_seed(seed: int, *, has_link: bool, verbose: bool = False) -> RealHost:
    """Play one seed; raises `LawBrokenError` if a law does not hold."""
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        host = RealHost(seed, Path(folder), has_link=has_link, verbose=verbose)
        host.play()
        return host


def may_have_a_namespace() -> bool:
    """Whether a network namespace can be made here, and its link be set."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    tried = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return tried.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    if _IS_DECIDED not in os.environ:
        has_link = may_have_a_namespace()
        os.environ[_IS_DECIDED] = "yes" if has_link else "no"
        program = [sys.executable, *sys.argv]
        inside = ["unshare", "--net", *program] if has_link else program
        os.execvp(inside[0], inside)  # noqa: S606 — without a shell on purpose
    has_link = os.environ[_IS_DECIDED] == "yes"
    if has_link:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    failed, started = 0, time.monotonic()
    for seed in range(options.first, options.first + options.count):
        try:
            run_seed(seed, has_link=has_link, verbose=options.v)
        except Exception as error:
            failed += 1
            print(f"python tests/real_hosts.py 1 --first {seed} -v    # {type(error).__name__}: {error}", flush=True)
            if options.v:
                raise
    told = [name for name, there in (("clock", _FAKETIME), ("link", has_link)) if there]
    seconds = time.monotonic() - started
    print(f"{options.count} seeds, {failed} failed, in {seconds:.0f} s; with {' and '.join(told) or 'neither'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
