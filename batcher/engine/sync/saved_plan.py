"""Plans: what would be done, for people and as a file. A run with that file sends what was planned, or nothing."""

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
from batcher.core.key_kinds import mixed
from batcher.core.lookups import LookupFigures, Side
from batcher.core.target import Target
from batcher.core.units import parse_rate
from batcher.engine.preview.guardrails import told
from batcher.engine.preview.input_scan import InputScan
from batcher.engine.preview.named import Lookups
from batcher.settings import Settings
from batcher.small_files import read_small

if TYPE_CHECKING:  # importing what compares sets of pairs takes a fifth of a second
    from batcher.engine.sync.diff import SyncDiff

_VERSION = 1
_LARGEST_PLAN = 256 << 20
"""In bytes. A plan lists up to a hundred thousand groups."""
_MOST_GROUPS = 10
_PIECE = 1 << 20
_NOT_BINDING = ("auth", "rate", "retry", "ledger", "job")
_NOT_BINDING_GUARDS = ("max_failures", "deadline", "canary", "after_refusals", "settle")
"""Settings that affect neither what is sent nor what is checked before: speed, patience, other files."""


class Fingerprints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan is based on: digest of the settings, paths and digests of the inputs, fingerprint of the state."""

    settings: str
    inputs: list[tuple[str, str]]
    state: str | None = None
    """None if no state was used."""
    changes: list[str] = []
    """Digests of the additions and removals of a sync."""


class SavedPlan(msgspec.Struct, frozen=True):
    """The binding part of a plan's file; the rest is for people."""

    version: int
    command: str
    files: list[str]
    state: str
    current: list[str]
    fingerprints: Fingerprints
    undone: str = ""
    """The ledger that is undone; empty if the plan is not for an undo."""


def read_plan(path: Path) -> SavedPlan:
    """Read a plan that `bind` has made.

    Raises:
        ConfigurationError: When the file is not a plan.

    """
    try:
        plan = msgspec.json.decode(read_small(path, _LARGEST_PLAN), type=SavedPlan)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not a plan: {error}") from None
    if plan.version != _VERSION:
        raise ConfigurationError(f"{path} is a plan of version {plan.version}; this batcher reads version {_VERSION}")
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
    """The binding part of a plan.

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
    """What a plan for a state is also based on: the state's fingerprint, and the files with the difference."""

    state: str
    changes: Sequence[Path] = ()

    @staticmethod
    def of(draft: SyncDiff) -> Basis:
        """The basis of a plan with this difference."""
        return Basis(draft.state, draft.files)


def fingerprints(files: Sequence[Path], settings: Settings, basis: Basis | None = None) -> Fingerprints:
    """The fingerprints of what a plan is based on, as it is now."""
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
    """Check that what was planned is what would be sent.

    Raises:
        GuardrailError: When anything has changed since then.

    """
    then = plan.fingerprints
    digests = dict(then.inputs)
    changed = [f"{path} was changed" for path, digest in now.inputs if digests.get(path, digest) != digest]
    if [path for path, _ in now.inputs] != [path for path, _ in then.inputs]:
        changed.append("the files or their order are different")
    if now.settings != then.settings:
        changed.append("the settings are different")
    if now.state is not None and now.state != then.state:
        changed.append("the state has changed")
    elif now.changes and now.changes != then.changes and not changed:
        changed.append("the computed difference no longer matches the plan (a validity date, or a mapping file?)")
    if changed:
        raise GuardrailError(
            f"since the plan was made: {'; '.join(changed)}; nothing was sent; run `batcher"
            f" {'undo' if plan.command == 'undo' else 'plan'}` again, with the same options"
        )


def described(
    settings: Settings,
    target: Target,
    seen: InputScan,
    rulings: Sequence[Ruling],
    *,
    draft: SyncDiff | None = None,
    lookups: Lookups | None = None,
) -> dict[str, Any]:
    """The part of a plan that is for people: counts, requests, minimum duration in seconds, groups, guardrails.

    `lookups` tells what it took to look up names, if the target was asked.
    """
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
        "lookups": {side.value: _lookups_of(side, seen, lookups) for side in Side},
        "hints": _hints(settings, target, seen, lookups),
        "inputs_read": [
            {"name": found.name, "records": found.rows, "sheet": found.sheet, "dates": list(found.columns)}
            for found in (draft.proposal.contents if draft else seen.contents)
        ],
    }
    return content | (_difference(draft) if draft else {})


def _strictly(settings: Settings, seen: InputScan) -> list[str]:
    is_refused = settings.input.strict and seen.rejected
    return [f"{seen.rejected} invalid lines; --strict allows none"] if is_refused else []


def _difference(draft: SyncDiff) -> dict[str, Any]:
    feed, sample = draft.proposal.feed, draft.sample
    return {
        "feed": {"lines": feed.lines, "rejected": feed.rejected, "pairs": feed.pairs, "last_pairs": feed.last_pairs},
        "groups": [{"group": group, "add": adds, "remove": removals} for group, adds, removals in sample.groups],
        "sample": {"add": sample.adds, "remove": sample.removals},
    }


def _seconds(settings: Settings, target: Target, limits: Limits, requests: int, sendable: int) -> float:
    """The minimum duration that the rates allow."""
    speed, changes = settings.requests_rate(target), parse_rate(settings.rate.changes)
    margin = 1 + settings.rate.margin
    seconds = max(0, requests - settings.rate.burst) * speed.seconds * margin / speed.count if speed else 0.0
    if changes is not None:
        seconds = max(seconds, max(0, sendable - limits.max_changes) * changes.seconds * margin / changes.count)
    return seconds


def _lookups_of(side: Side, seen: InputScan, lookups: Lookups | None) -> dict[str, object]:
    if not lookups:
        return {"names": seen.lookups[side.value], "known": seen.known[side.value]}
    figures = lookups[side]
    return {
        "names": figures.names,
        "known": figures.known,
        "found": figures.found,
        "refused": figures.refused,
        "requests": figures.requests,
        "is_listed": figures.is_listed,
    }


def _hints(settings: Settings, target: Target, seen: InputScan, lookups: Lookups | None) -> list[str]:
    hints = [*target.hints]
    hints += [] if settings.input.ordered else map(mixed, seen.mixes)
    if lookups:
        hints += [_said(side, figures) for side, figures in lookups.items() if figures.names]
    elif any(seen.lookups.values()):
        counts = " and ".join(
            f"{count:,} names of {side}s ({seen.known[side]:,} of them known)"
            for side, count in seen.lookups.items()
            if count
        )
        hints.append(
            f"up to {counts} are looked up first, with at most a request for each that is not known, or fewer if all"
            " are listed; names of one user then count as one"
        )
    if not seen.groups_are_complete:
        hints.append("there are too many groups to count all of them; the figures of the largest may be too low")
    return hints


def _said(side: Side, figures: LookupFigures) -> str:
    how = f"all {side.value}s were listed" if figures.is_listed else "each was asked for alone"
    made = f"{figures.requests:,} requests; {how}" if figures.requests else "no request was needed"
    return (
        f"names of {side.value}s: {figures.known:,} of {figures.names:,} were known, {figures.found:,} were found,"
        f" {figures.refused:,} nobody or several have ({made})"
    )


def _digest(path: Path) -> str:
    found = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return found.hexdigest()
