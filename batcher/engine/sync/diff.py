"""Compares a feed with what is known of the target; the difference is judged and written as files of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from batcher.core.errors import EmptyInputError, InputError
from batcher.core.guardrails import Bounds, Changes, Feed, Ruling, judge_changes, judge_feed
from batcher.core.model import Columns, Position
from batcher.core.patterns import Patterns
from batcher.core.target import Target
from batcher.core.wholeness import Content, judge_content
from batcher.engine.jobs.job import difference_files, feed_reading, for_difference, reading
from batcher.engine.jobs.names import of_ids
from batcher.engine.preview.input_scan import InputScan, PackingRules, scan
from batcher.engine.preview.named import Named, Resolve
from batcher.engine.sync.live import LiveReading
from batcher.sections import GuardSettings
from batcher.settings import Settings
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.state.difference import Difference, FeedDifference, GivenDifference, PairSample
from batcher.state.pairs import Loaded, as_they_say, load, said_to_be_in
from batcher.state.scope import Permitted, Scope
from batcher.state.spelling import LookAlike
from batcher.state.store import StateStore

_SAMPLE = 10
_MOST_LISTED = 100_000
_MOST_PROTECTED = 1_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """A difference, and the figures that the guardrails judge."""

    difference: Difference
    feed: Feed
    bounds: Bounds
    loaded: Loaded
    sources: Sequence[Path]
    """The files that were read."""
    is_of_feed: bool
    look_alikes: Sequence[LookAlike] = ()
    """Some of the pairs that are held back because others look like them."""
    held_removals: int = 0
    """Removals that are left out because invalid lines may concern anybody."""
    contents: Sequence[Content] = ()
    """What was found in each file of a feed."""
    arrived: Sequence[Ruling] = ()
    """The rulings on the files before they were read."""
    live: LiveReading = field(default_factory=LiveReading)
    """What was read at the target, if it was."""


Propose = Callable[[StateStore], Proposal]


@dataclass(frozen=True, slots=True)
class SyncDiff:
    """What would be sent: two files of changes, in the order in which they are to be sent."""

    files: Sequence[Path]
    proposal: Proposal
    rulings: Sequence[Ruling]
    seen: InputScan
    sample: PairSample
    state: str
    """The fingerprint of the state that the difference is based on."""


def from_feed(
    feed: Sequence[Path],
    named: Named,
    target: Target,
    today: date,
    *,
    arrived: Sequence[Ruling] = (),
    is_passing: bool = False,
    live: LiveReading | None = None,
) -> Propose:
    """How to find the difference between a feed and a state, or (`is_passing`) a snapshot.

    `arrived` are the rulings on the files before they were read; `live` is what was read at the target.
    """
    found, settings = live or LiveReading(), named.settings

    def propose(store: StateStore) -> Proposal:
        sync = settings.sync
        how = feed_reading(settings, target.key_kind, today)
        contents = [Content(file.name) for file in feed]
        stretches = map(named.resolve, stretches_of(feed, how, settings.input.format, contents))
        loaded = load(store, "feed", said_to_be_in(stretches))
        if settings.input.strict and loaded.rejected:
            raise _invalid("--strict", feed, loaded)
        scope = Scope(tuple(sync.master_groups), tuple(sync.master_users))
        difference = FeedDifference(
            store,
            scope,
            Permitted(
                sync.changes != "remove",
                sync.changes != "add",
                loaded.has_unread,
                loaded.anybodys > 0 and settings.guard.unread_lines == "hold",
            ),
            is_passing=is_passing,
            is_live=live is not None and live.is_compared,
            names=how.names,
        )
        held, look_alikes = difference.spelling.found(_MOST_LISTED)
        empty = [str(file) for number, file in enumerate(feed) if number not in loaded.sources]
        figures = replace(
            difference.figures(),
            lines=loaded.lines,
            rejected=loaded.rejected,
            empty=empty,
            look_alikes=held,
            drift=found.drift.gained + found.drift.lost,
            drift_of=found.drift.known,
        )
        proposal = Proposal(difference, figures, settings.guard.bounds(), loaded, feed, is_of_feed=True)
        return replace(
            proposal,
            look_alikes=look_alikes,
            held_removals=difference.held_removals,
            contents=contents,
            arrived=arrived,
            live=found,
        )

    return propose


def from_changes(files: Sequence[Path], settings: Settings, target: Target) -> Propose:
    """How to get the difference from files of changes that `undo` has written. Feed guardrails do not apply."""
    how = reading(for_difference(settings), target.key_kind)

    def propose(store: StateStore) -> Proposal:
        loaded = load(store, "given", as_they_say(map(of_ids, stretches_of(files, how, ""))))
        difference = GivenDifference(store)
        return Proposal(
            difference, difference.figures(), settings.guard.bounds().for_changes(), loaded, files, is_of_feed=False
        )

    return propose


def take_snapshot(store: StateStore, current: Sequence[Path], target: Target, resolve: Resolve) -> None:
    """Load the current memberships; `resolve` puts ids in the place of names.

    Raises:
        InputError: When a line is invalid, or a name has no id: without it, the current memberships are not known.

    """
    loaded = load(store, "snapshot", said_to_be_in(map(resolve, stretches_of_snapshot(current, target))))
    if loaded.rejected:
        raise _invalid("--current", current, loaded)
    if len(loaded.sources) < len(current):
        raise InputError("--current: one of the files contains no pair; if the target is empty: --from-nothing")


def stretches_of_snapshot(current: Sequence[Path], target: Target) -> Iterator[Columns]:
    """The rows of a snapshot; its columns are `user` and `group`, whatever the feed calls them."""
    return stretches_of(current, Reading(Fields.of({}, target.key_kind, is_feed=True)), "")


def draft(
    store: StateStore,
    propose: Propose,
    settings: Settings,
    target: Target,
    ledger: Path,
    *,
    with_requests: bool,
) -> SyncDiff:
    """Find out what would be sent, and the rulings on it; `with_requests` also in how many requests."""
    proposal = propose(store)
    adds, removals = difference_files(ledger)
    proposal.difference.write(adds, removals)
    files = [adds, removals] if settings.sync.order == "adds-first" else [removals, adds]
    if with_requests:
        packing = PackingRules(settings.limits_for(target), target.wire, settings.input.ordered)
        inputs = [Input(file.name, file) for file in files]
        seen = scan(inputs, reading(for_difference(settings), target.key_kind), packing)
    else:
        seen = InputScan(*proposal.difference.counts())
    feed = proposal.feed
    changes = Changes(*proposal.difference.counts(), _protected(proposal.difference, settings.guard))
    whole = judge_content(proposal.contents, settings.guard.demands(is_feed=True)) if proposal.is_of_feed else []
    rulings = [*proposal.arrived, *whole, *judge_feed(feed, proposal.bounds), *judge_changes(changes, proposal.bounds)]
    return SyncDiff(files, proposal, rulings, seen, proposal.difference.sample(_SAMPLE), store.fingerprint())


def _protected(difference: Difference, guard: GuardSettings) -> set[str]:
    """Some of the protected users and groups whose memberships would be changed."""
    found: set[str] = set()
    for label, patterns in (("user", guard.protected_users), ("group", guard.protected_groups)):
        meant = Patterns(patterns, folds=True)
        for keys in difference.touched(label) if meant else ():
            found |= {f"{label} {key}" for key in meant.among(keys)}
            if len(found) > _MOST_PROTECTED:
                break
    return found


def stretches_of(files: Sequence[Path], how: Reading, form: str, contents: Sequence[Content] = ()) -> Iterator[Columns]:
    """What is in these files; `contents` are filled while they are read.

    Raises:
        InputError: When one cannot be read, or changes meanwhile.

    """
    inputs = [Input(str(file), file, form).as_it_is() for file in files]
    for number, item in enumerate(inputs):
        content = contents[number] if contents else None
        with suppress(EmptyInputError):  # the guardrails deal with it
            for step in read(number, item, how, Position(), content):
                if not isinstance(step, Waits):
                    yield step[0]
    for item in inputs:  # only all of them together are the feed
        item.check_version()


def _invalid(what: str, files: Sequence[Path], loaded: Loaded) -> InputError:
    source, line, reason = loaded.rejects[0]
    return InputError(
        f"{what}: {loaded.rejected} of {loaded.lines} lines are invalid, nothing was sent; the first is"
        f" {files[source]}, line {line}: {reason}"
    )
