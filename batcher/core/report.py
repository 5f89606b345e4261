"""The summary of a ledger: counts that add up, requests, waits, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batcher.core.status import PROBLEMS, Status, count_of
from batcher.core.verdict import Cause


@dataclass(slots=True)
class Requests:
    """Requests that carried changes."""

    sent: int = 0
    ok: int = 0
    retried: int = 0
    split: int = 0
    fast: int = 0
    """Of those that were answered with success, how many went by the fast lane."""


@dataclass(slots=True)
class Waited:
    """Seconds spent waiting, by reason. Waits of several workers at the same time count once each for `backoff`."""

    rate: float = 0.0
    retry_after: float = 0.0
    backoff: float = 0.0
    concurrency: float = 0.0
    grace: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a run so far; counts and exit code cover the whole ledger."""

    run: str
    target: str
    ledger: str
    seconds: float
    input_complete: bool
    changes: dict[Status, int]
    requests: Requests
    waited: Waited
    stopped: Cause | None = None
    reason: str = ""
    next: str | None = None
    """The command that continues the run."""
    feed: Mapping[str, int] | None = None
    """For a sync: the feed's `lines`, those `rejected`, the `pairs` it named, and `look_alikes` that were held back."""
    sheets: Mapping[str, str] | None = None
    """Which sheet was read, for each input that is a spreadsheet."""
    proof: Mapping[str, Any] | None = None
    """What was read back at the target: `mode`, `at`, and figures, or why nothing was (`failed`)."""
    drift: Mapping[str, Any] | None = None
    """What a sync read at the target before it began: what others had changed, and the groups that stayed unread."""

    @property
    def total(self) -> int:
        """All changes that were read."""
        return sum(self.changes.values())

    @property
    def exit_code(self) -> int:
        """The exit code as documented; a signal takes precedence over 6, 4 and 3."""
        code = exit_code(self.changes, self.stopped, input_complete=self.input_complete)
        left = self.feed["rejected"] + self.feed.get("look_alikes", 0) if self.feed else 0
        left += self.drift["groups_unread"] if self.drift else 0
        return code or (3 if left else 0) or (8 if self.proof and not _is_whole(self.proof) else 0)

    def as_dict(self) -> dict[str, object]:
        """The summary as `--json` prints it."""
        return {
            "run": self.run,
            "target": self.target,
            "ledger": self.ledger,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "input_complete": self.input_complete,
            "changes": {"total": self.total} | {status.label: self.changes.get(status, 0) for status in SUMMARY_ORDER},
            "requests": {name: count for name, count in asdict(self.requests).items() if name != "fast"},
            "waited": {name: round(seconds, 3) for name, seconds in asdict(self.waited).items()},
            "next": self.next,
        } | {
            name: value
            for name, value in (
                ("feed", self.feed),
                ("drift", self.drift),
                ("sheets", self.sheets),
                ("proof", self.proof),
            )
            if value
        }


def _is_whole(proof: Mapping[str, Any]) -> bool:
    """Whether everything that was to be read back was."""
    return "failed" not in proof and not proof["changes_unread"]


def proven(proof: Mapping[str, Any]) -> str:
    """What a proof says, in one sentence."""
    if "failed" in proof:
        return f"nothing was read back: {proof['failed']}"
    changes, unread, groups = proof["changes"], proof["changes_unread"], proof["groups"]
    parts = [
        f"{changes - unread:,} of {changes:,} changes were read back"
        if unread
        else f"all {changes:,} changes were read back"
    ]
    if proof["groups_with_differences_at_most"] is not None:
        parts = [f"{changes - unread:,} changes were read back, in {proof['groups_read']:,} of {groups:,} groups"]
    if changes - unread:
        parts.append(f"{proof['not_so']:,} were not so" if proof["not_so"] else "all of them are so")
    if proof["settled"]:
        parts.append(f"{proof['settled']:,} outcomes that were not known are known now")
    if proof["groups_with_differences_at_most"] is not None:
        most = proof["groups_with_differences_at_most"]
        parts.append(f"at most {most:,} groups have a change that is not so (with a confidence of 95%)")
    return "; ".join(parts)


def drifted(drift: Mapping[str, Any]) -> str:
    """What was read before a sync, in one sentence."""
    parts = [f"{drift['groups_read']:,} groups were read before"]
    if drift["groups_changed"]:
        parts.append(
            f"others had changed {drift['groups_changed']:,} of them (+{drift['gained']:,} -{drift['lost']:,})"
        )
    unread = drift["groups_unread"] + drift["groups_silent"]
    if unread:
        first = drift["unread"][0]
        parts.append(
            f"{unread:,} could not be read, and nobody is removed there (group {first['group']}: {first['reason']})"
        )
    return "; ".join(parts)


SUMMARY_ORDER = (
    Status.APPLIED,
    Status.UNCHANGED,
    Status.SUPERSEDED,
    Status.REJECTED,
    Status.FAILED,
    Status.UNKNOWN,
    Status.PENDING,
)


def command(name: str, ledger: Path) -> str:
    """A command line that can be pasted into a shell."""
    path = str(ledger)
    return f"batcher {name} {quoted(f'./{path}' if path.startswith('-') else path)}"


def quoted(text: str) -> str:
    """A word of a shell's command line, on one line whatever is in it (ANSI-C quoting, POSIX.1-2024 §2.2.4)."""
    if text.isprintable():
        return shlex.quote(text)
    written = "".join(c if c.isprintable() and c not in "\\'" else _escaped(c) for c in text)
    return f"$'{written}'"


def _escaped(char: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))


def exit_code(changes: dict[Status, int], stopped: Cause | None, *, input_complete: bool) -> int:
    """The exit code of a run that ended in this state."""
    if stopped is not None:
        return stopped.exit_code
    if changes.get(Status.PENDING, 0) or not input_complete:
        return Cause.INPUT.exit_code
    bad = count_of(changes, PROBLEMS)
    return 3 if bad else 0
