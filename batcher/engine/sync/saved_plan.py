"""What would be done, for people and as a file that binds: what was planned is what is sent, or nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batcher.core.batch import Limits
from batcher.core.errors import ConfigurationError, GuardrailError, InputError
from batcher.core.guardrails import Ruling
from batcher.core.target import Target
from batcher.core.units import parse_rate
from batcher.engine.preview.guardrails import told
from batcher.engine.preview.input_scan import InputScan
from batcher.settings import Settings
from batcher.small_files import read_small

if TYPE_CHECKING:  # what compares sets of pairs is a second's fifth to import
    from batcher.engine.sync.diff import SyncDiff

_VERSION = 1
_LARGEST_PLAN = 256 << 20
"""Bytes. One lists up to a hundred thousand groups."""
_MOST_GROUPS = 10
_PIECE = 1 << 20
_NOT_BINDING = ("auth", "rate", "retry", "ledger", "job")
_NOT_BINDING_GUARDS = ("max_failures", "deadline", "canary", "after_refusals", "settle")
"""Settings that change neither what is sent to whom, nor what is judged before: pace, patience, files beside it."""


class Fingerprints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan rests on: paths and digests of files in their order, of the settings, and the moment of the state."""

    settings: str
    inputs: list[tuple[str, str]]
    state: str | None = None
    """None where it was not looked at."""
    changes: list[str] = []
    """Digests of the additions and removals of a sync."""


class SavedPlan(msgspec.Struct, frozen=True):
    """What of a plan's file binds; the rest is for people."""

    version: int
    command: str
    files: list[str]
    state: str
    current: list[str]
    fingerprints: Fingerprints
    undone: str = ""
    """Of an undo: the ledger."""


def read_plan(path: Path) -> SavedPlan:
    """A plan that `bind` has made.

    Raises:
        ConfigurationError: When the file is none.

    """
    try:
        plan = msgspec.json.decode(read_small(path, _LARGEST_PLAN), type=SavedPlan)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no plan: {error}") from None
    if plan.version != _VERSION:
        raise ConfigurationError(f"{path} is a plan of version {plan.version}; this batcher knows {_VERSION}")
    return plan


def bind(
    command: str,
    files: Sequence[Path],
    settings: Settings,
    *,
    state: Path | None = None,
    current: Sequence[Path] = (),
    basis: Basis | None = None,
    undone: Path | None = None,
) -> dict[str, Any]:
    """The part of a plan that binds.

    Raises:
        InputError: When a file cannot be read.

    """
    plan = SavedPlan(
        _VERSION,
        command,
        [str(file.absolute()) for file in files],
        str(state.absolute()) if state else "",
        [str(file.absolute()) for file in current],
        fingerprints([*files, *current], settings, basis),
        str(undone.absolute()) if undone else "",
    )
    return msgspec.to_builtins(plan)  # type: ignore[no-any-return]  # a dict, as of any struct


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan for a state rests on besides its files: the state's fingerprint, and what was found to differ."""

    state: str
    changes: Sequence[Path] = ()

    @staticmethod
    def of(draft: SyncDiff) -> Basis:
        """Of a difference that was written down."""
        return Basis(draft.state, draft.files)


def fingerprints(files: Sequence[Path], settings: Settings, basis: Basis | None = None) -> Fingerprints:
    """What a plan rests on, as it is now."""
    sections = msgspec.to_builtins(settings)
    for section in _NOT_BINDING:
        del sections[section]
    for key in _NOT_BINDING_GUARDS:
        del sections["guard"][key]
    return Fingerprints(
        blake2b(msgspec.json.encode(sections, order="deterministic"), digest_size=16).hexdigest(),
        [(str(file.absolute()), _digest(file)) for file in files],
        basis.state if basis else None,
        [_digest(file) for file in basis.changes] if basis else [],
    )


def check_unchanged(plan: SavedPlan, now: Fingerprints) -> None:
    """See that what was planned is what would be sent.

    Raises:
        GuardrailError: When anything has changed since.

    """
    then = plan.fingerprints
    digests = dict(then.inputs)
    changed = [f"{path} was changed" for path, digest in now.inputs if digests.get(path, digest) != digest]
    if [path for path, _ in now.inputs] != [path for path, _ in then.inputs]:
        changed.append("the files are others, or in another order")
    if now.settings != then.settings:
        changed.append("the settings are others")
    if now.state is not None and now.state != then.state:
        changed.append("the state has changed")
    elif now.changes and now.changes != then.changes and not changed:
        changed.append("what differs is something else (a day of validity, or a mapping file?)")
    if changed:
        raise GuardrailError(
            f"since the plan was made: {'; '.join(changed)}; nothing was sent; make the plan anew, and give the same"
            " options"
        )


def described(
    settings: Settings, target: Target, seen: InputScan, rulings: Sequence[Ruling], *, draft: SyncDiff | None = None
) -> dict[str, Any]:
    """The part of a plan that is for people: counts, requests, least duration in seconds, groups, guardrails."""
    limits, speed = settings.limits_for(target), settings.requests_rate(target)
    sendable = seen.adds + seen.removals - seen.superseded
    content: dict[str, Any] = {
        "target": target.name,
        "changes": {
            "total": seen.total,
            "add": seen.adds,
            "remove": seen.removals,
            "rejected": seen.rejected,
            "superseded": seen.superseded,
            "to_send": sendable,
        },
        "requests": seen.requests,
        "rate": str(speed) if speed else "none",
        "seconds": round(_seconds(settings, target, limits, seen.requests, sendable), 1),
        "largest_groups": [{"group": g, "changes": n} for g, n in seen.groups.most_common(_MOST_GROUPS)],
        "groups": [{"group": g, "changes": n} for g, n in seen.groups.most_common()],
        "rejects": [{"source": s, "line": n, "reason": r} for s, n, r in seen.first_rejects],
        "guardrails": told(rulings),
        "refused_by": [f"{ruling.guardrail}: {ruling.figures}" for ruling in rulings if ruling.stops]
        + _strictly(settings, seen),
        "hints": _hints(settings, target, seen),
        "inputs_read": [
            {"name": found.name, "records": found.rows, "sheet": found.sheet, "dates": list(found.columns)}
            for found in (draft.proposal.contents if draft else seen.contents)
        ],
    }
    return content | (_difference(draft) if draft else {})


def _strictly(settings: Settings, seen: InputScan) -> list[str]:
    is_refused = settings.input.strict and seen.rejected
    return [f"{seen.rejected} invalid lines, --strict allows none"] if is_refused else []


def _difference(draft: SyncDiff) -> dict[str, Any]:
    feed, sample = draft.proposal.feed, draft.sample
    return {
        "feed": {"lines": feed.lines, "rejected": feed.rejected, "pairs": feed.pairs, "last_pairs": feed.last_pairs},
        "groups": [{"group": group, "add": adds, "remove": removals} for group, adds, removals in sample.groups],
        "sample": {"add": sample.adds, "remove": sample.removals},
    }


def _seconds(settings: Settings, target: Target, limits: Limits, requests: int, sendable: int) -> float:
    """The least that the rates allow."""
    speed, changes = settings.requests_rate(target), parse_rate(settings.rate.changes)
    margin = 1 + settings.rate.margin
    seconds = max(0, requests - settings.rate.burst) * speed.seconds * margin / speed.count if speed else 0.0
    if changes is not None:
        seconds = max(seconds, max(0, sendable - limits.max_changes) * changes.seconds * margin / changes.count)
    return seconds


def _hints(settings: Settings, target: Target, seen: InputScan) -> list[str]:
    hints = [*target.hints]
    hints += [
        f"the {part} column holds both ids and names; the same {part} under both cannot be recognised: --ordered keeps"
        " their order"
        for part in seen.mixes
        if not settings.input.ordered
    ]
    if not seen.groups_are_complete:
        hints.append("there are more groups than were counted; the figures of the largest may be too low")
    return hints


def _digest(path: Path) -> str:
    found = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return found.hexdigest()
