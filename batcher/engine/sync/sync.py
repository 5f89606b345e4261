"""`sync`: makes the memberships of a target match a feed.

The difference from the state (or from a second snapshot) is checked by the guardrails and applied like any other
changes. The outcomes are then folded into the state.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from itertools import chain
from pathlib import Path

import orjson

from batcher.core.errors import BatcherError
from batcher.core.report import Report
from batcher.core.target import Target
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Occasion, apply
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import (
    STATE,
    check_new,
    difference_files,
    feed_reading,
    for_difference,
    not_begun,
    preflight,
    rejects_file,
    sheets_fact,
)
from batcher.engine.jobs.names import looked_up
from batcher.engine.preview.arrival import arrive
from batcher.engine.preview.guardrails import NOTHING_OVERRIDDEN, Override, enforce, on_record
from batcher.engine.preview.named import Named
from batcher.engine.run.session import STATE_ID, make_target
from batcher.engine.run.tasks import alongside
from batcher.engine.sync.diff import (
    Propose,
    SyncDiff,
    draft,
    from_feed,
    stretches_of,
    stretches_of_snapshot,
)
from batcher.engine.sync.goal import Goal, SyncBasis
from batcher.engine.sync.live import DRIFT, Governed, LiveReading, read_live
from batcher.engine.sync.locked_state import LockedState
from batcher.engine.sync.rotation import rotate
from batcher.files import remove, replaced_privately
from batcher.host.runtime import Executor, Runtime
from batcher.source.inputs import Reading
from batcher.state.folding import FEED, NAMED
from batcher.state.store import StateStore

_log = logging.getLogger(__name__)
_TOLD = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions under which a difference is sent. `agreed` is called with it, and may refuse it by raising."""

    override: Override = NOTHING_OVERRIDDEN
    agreed: Callable[[SyncDiff], None] = lambda _: None


async def sync(goal: Goal, context: RunContext, terms: Terms) -> Report:
    """Bring the target to what the feed says, as far as it differs.

    Raises:
        UsageError: When settings, inputs, state or the ledger's path cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the state, or works on its last ledger.

    """
    settings, clock = context.settings, context.runtime.clock
    target = preflight(settings, context.credentials)
    check_new(context.ledger)
    with SyncBasis(goal, target, settings, context.state_folder, is_simulated=context.is_simulated) as comparison:
        arrived = await arrive(goal.feed, settings.guard, clock, terms.override, is_feed=True)
        day, is_passing = today(context.runtime), goal.state is None
        how = feed_reading(settings, target.key_kind, day)
        given = chain(stretches_of(goal.feed, how, settings.input.format), stretches_of_snapshot(goal.current, target))
        async with looked_up(given, context.access, target) as named:
            known = named.settings
            await context.runtime.executor(lambda: comparison.take_snapshot(named.resolve))
            live = await live_of(comparison, named, how, target, context.access)
            propose = from_feed(goal.feed, named, target, day, arrived=arrived, is_passing=is_passing, live=live)
            report = await send(comparison, propose, replace(context, settings=known), terms)
        if goal.state is not None and settings.job.keep:
            rotate(goal.state, settings.job.keep, clock, settings.retry.grace_seconds)
        return report


async def live_of(
    comparison: SyncBasis, named: Named, how: Reading, target: Target, access: Access
) -> LiveReading | None:
    """Read at the target what the feed governs, if the goal says so; see `read_live`."""
    goal, settings = comparison.goal, named.settings
    if not goal.is_live:
        return None
    stretches = map(named.resolve, stretches_of(goal.feed, how, settings.input.format))
    governed = Governed(stretches, settings.sync.master_groups)
    is_passing = goal.state is None
    return await read_live(comparison.store, governed, target, access, is_first=goal.is_first, is_passing=is_passing)


async def send(comparison: SyncBasis, propose: Propose, context: RunContext, terms: Terms) -> Report:
    """Check the proposed changes and send them; see `sync`."""
    held, store, executor = comparison.held, comparison.store, context.runtime.executor
    settings, ledger = context.settings, context.ledger
    has_begun = False
    try:
        target = make_target(settings)
        made = await _drafted(
            lambda: draft(store, propose, settings, target, ledger, with_requests=False),
            store,
            executor,
            context.shutdown,
        )
        _tell_rejects(made, ledger)
        terms.agreed(made)
        rulings = enforce(made.rulings, terms.override)

        def begun(run: str) -> None:
            nonlocal has_begun
            if held is not None:
                held.take_over(context.runtime.clock.stamp())
                made.proposal.difference.accept(run, ledger)
            comparison.close_store()
            if held is not None:
                held.keep()
            has_begun = True

        facts = {**on_record(rulings, terms.override), "in_turn": "yes"}
        if made.proposal.is_of_feed:
            feed = made.proposal.feed
            told = {"lines": feed.lines, "rejected": feed.rejected, "pairs": feed.pairs}
            told |= {"look_alikes": feed.look_alikes} if feed.look_alikes else {}
            facts[FEED] = orjson.dumps(told).decode()
            is_first = comparison.goal.is_first  # no copy of a state is older than its first run
            named = [] if held is None or is_first else made.proposal.difference.newly_named()
            facts[NAMED] = orjson.dumps(named).decode()
            if comparison.goal.is_live:
                facts[DRIFT] = orjson.dumps(made.proposal.live.as_dict()).decode()
            facts |= sheets_fact({file.name: file.sheet for file in made.proposal.contents})
        if held is not None:
            facts |= {STATE: str(held.path.absolute()), STATE_ID: store.name}
        earlier = [run.ledger for run in held.runs] if held is not None else []
        plain = replace(context, settings=for_difference(settings))
        return await apply(made.files, plain, occasion=Occasion(facts, begun, earlier, is_judged=True))
    finally:
        if has_begun and held is not None:
            await executor(lambda: _fold(held))
        if not has_begun:
            for file in difference_files(ledger):
                remove(file)  # the list of invalid lines stays: it may show why the run did not begin


async def _drafted(work: Callable[[], SyncDiff], store: StateStore, executor: Executor, shutdown: Shutdown) -> SyncDiff:
    """Compute the difference; a run that is to end meanwhile does not wait for it.

    Raises:
        NotBegunError: When the run is to end.

    """

    async def interrupt() -> None:
        await shutdown.wait()
        store.connection.interrupt()

    try:
        made = await alongside(interrupt, partial(executor, work))
    except Exception:
        if shutdown.is_set:
            raise not_begun(shutdown) from None
        raise
    if shutdown.is_set:
        raise not_begun(shutdown)
    return made


def _tell_rejects(made: SyncDiff, ledger: Path) -> None:
    """List invalid lines of a feed in a file beside the ledger, which does not have them, and log the first ones."""
    loaded, alike = made.proposal.loaded, made.proposal.look_alikes
    if not loaded.rejected and not alike:
        return
    file = rejects_file(ledger)
    with replaced_privately(file) as made_file, made_file.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("source", "line", "reason"))
        for number, (source, line, reason) in enumerate(loaded.rejects):
            rows.writerow((made.proposal.sources[source], line, reason))
            level = logging.WARNING if number < _TOLD else logging.INFO
            _log.log(level, "%s, line %d: %s", made.proposal.sources[source], line, reason, extra={"row": line})
        for number, pair in enumerate(alike):
            rows.writerow(("", "", str(pair)))
            _log.log(logging.WARNING if number < _TOLD else logging.INFO, "%s", pair)
    if loaded.rejected:
        _log.warning("the feed has %d invalid lines; they are listed in %s", loaded.rejected, file)
    if made.proposal.held_removals:
        _log.warning(
            "%d removals are left out: %d invalid lines do not show whose they are, and may concern anybody; fix them"
            " (guard.unread_lines)",
            made.proposal.held_removals,
            loaded.anybodys,
        )
    if alike:
        held = made.proposal.feed.look_alikes
        _log.warning("%d pairs that look like others are left unchanged; they are listed in %s", held, file)


def _fold(held: LockedState) -> None:
    """Fold the outcomes into the state; if that fails now, the next run does it."""
    try:
        held.fold()
    except BatcherError as error:
        _log.warning("the outcomes are in the ledger, but not in the state yet: %s", error)


def today(runtime: Runtime) -> date:
    """Today's date in the local time zone, against which validity dates are checked."""
    return datetime.fromtimestamp(runtime.clock.utc()).astimezone().date()
