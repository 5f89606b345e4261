"""What a plan says, as the JSON that `apply --plan` and `sync --plan` are bound to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from batcher.cli.runs.standard_input import as_files

if TYPE_CHECKING:
    from batcher.core.model import Columns
    from batcher.core.target import Target
    from batcher.engine.jobs.asking import Access
    from batcher.engine.preview.guardrails import Override
    from batcher.engine.preview.named import Named
    from batcher.engine.sync.goal import Goal
    from batcher.engine.sync.live import LiveReading
    from batcher.settings import Settings

_SHOWN_REJECTS = 10


Ask: TypeAlias = "Callable[[Callable[[Access], Awaitable[LiveReading | None]]], LiveReading | None]"
"""Does some asking of the target, from a thread without an event loop."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What kind of plan is wanted."""

    is_simulated: bool
    is_bound: bool
    """Whether it can be given to `--plan`."""
    resolves: bool
    """Whether the target is asked for the ids of names; nothing is changed there."""


def of_changes(files: Sequence[str], settings: Settings, given: Override, wanted: Wanted) -> dict[str, Any]:
    """The plan of an `apply`.

    Raises:
        UsageError: When the settings or the files cannot be used.

    """
    from batcher.core.guardrails import override
    from batcher.engine.jobs.job import preflight, reading
    from batcher.engine.preview.arrival import judge_files
    from batcher.engine.preview.guardrails import judge
    from batcher.engine.preview.input_scan import PackingRules, Protected, columns_of, scan
    from batcher.engine.sync.saved_plan import bind, described
    from batcher.source.inputs import Input

    target, guard = preflight(settings, None), settings.guard
    packing = PackingRules(settings.limits_for(target), target.wire, settings.input.ordered)
    with as_files(files) as paths:
        inputs = [Input(file, path, settings.input.format) for file, path in zip(files, paths, strict=True)]
        how = reading(settings, target.key_kind)
        with _named(columns_of(inputs, how), settings, target, wanted) as (named, _):
            seen = scan(inputs, how, packing, Protected.of(named.settings.guard), named)
        content = bind("apply", paths, settings) if wanted.is_bound else {}
        arrived = judge_files([Path(file) for file in files if file != "-"], guard, _now(), is_feed=False)
    rulings = override([*arrived, *judge(seen, guard)], given.guardrails)
    content |= described(settings, target, seen, rulings, lookups=named.figures)
    content["hints"] += _unasked(settings, target, named)
    return content


def _unasked(settings: Settings, target: Target, named: Named) -> list[str]:
    """What a plan that asks the target for nothing cannot know of protected users and groups."""
    from batcher.core.lookups import OffersLookups

    guard = settings.guard
    has_patterns = bool(guard.protected_users or guard.protected_groups)
    if named.is_final or not has_patterns or not isinstance(target, OffersLookups):
        return []
    return ["of protected users and groups only names that were looked up lately are known; --resolve asks the target"]


@contextmanager
def _named(
    stretches: Iterator[Columns], settings: Settings, target: Target, wanted: Wanted
) -> Iterator[tuple[Named, Ask]]:
    """What is known of the names in these stretches of input, and how to ask the target for more.

    Raises:
        ConfigurationError: When the target is to be asked, and there is none, or there are no credentials.
        NotBegunError: When it does not tell.

    """
    from anyio.from_thread import start_blocking_portal

    from batcher.core.errors import ConfigurationError
    from batcher.credentials import credentials
    from batcher.engine.jobs.asking import Access
    from batcher.engine.jobs.job import preflight
    from batcher.engine.jobs.names import known_before, looked_up
    from batcher.host.run_registry import state_folder
    from batcher.host.runtime import real_runtime

    folder = None if wanted.is_simulated else state_folder(os.environ)
    if not wanted.resolves:
        with known_before(target, settings, folder, _now) as named:
            yield named, _nobody
        return
    if wanted.is_simulated:
        raise ConfigurationError("this asks the target, and with --simulate there is none to ask")
    given = credentials(settings.auth, os.environ)
    preflight(settings, given)

    @asynccontextmanager
    async def asked() -> AsyncIterator[tuple[Named, Access]]:
        access = Access(settings, given, real_runtime(folder))
        async with looked_up(stretches, access, target) as named:
            yield named, access

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(asked()) as (named, access):
        yield named, lambda work: portal.call(work, access)


def _nobody(_: object) -> None:
    """Ask nobody."""


def _now() -> float:
    """UTC seconds."""
    from datetime import UTC, datetime

    return datetime.now(UTC).timestamp()


def prediction(files: Sequence[str], settings: Settings, described: Path) -> dict[str, Any]:
    """What a run of these files would come to against the server that a scenario describes."""
    from batcher.engine.jobs.prediction import predict
    from batcher.simulator.behaviour import Behaviour
    from batcher.simulator.scenario import read_scenario

    found = predict([Path(file) for file in files], settings, read_scenario(described, Behaviour()))
    summary = found.report.as_dict()
    return {
        "scenario": str(described),
        "requests": found.requests,
        "seconds": round(found.seconds, 3),
        "statuses": dict(sorted(found.statuses.items())),
        "highest_in_flight": found.highest_in_flight,
        "exit_code": summary["exit_code"],
        "stopped": found.report.reason,
        "changes": summary["changes"],
        "retried": found.report.requests.retried,
        "split": found.report.requests.split,
        "waited": summary["waited"],
    }


def of_sync(goal: Goal, settings: Settings, given: Override, wanted: Wanted) -> dict[str, Any]:
    """The plan of a `sync`.

    Raises:
        UsageError: When the settings, the feed or the state cannot be used.

    """
    import tempfile
    from datetime import datetime

    from batcher.core.guardrails import override
    from batcher.engine.jobs.job import feed_reading, preflight
    from batcher.engine.preview.arrival import judge_files
    from batcher.engine.sync.diff import draft, from_feed, stretches_of, stretches_of_snapshot
    from batcher.engine.sync.goal import SyncBasis
    from batcher.engine.sync.saved_plan import Basis, bind, described
    from batcher.engine.sync.sync import live_of
    from batcher.host.run_registry import state_folder

    target = preflight(settings, None)
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder:
        known = None if wanted.is_simulated else state_folder(os.environ)
        with SyncBasis(goal, target, settings, known, is_simulated=wanted.is_simulated, is_look=True) as comparison:
            arrived = judge_files(goal.feed, settings.guard, _now(), is_feed=True)
            day, is_passing = datetime.now().astimezone().date(), goal.state is None
            how = feed_reading(settings, target.key_kind, day)
            stretches = chain(
                stretches_of(goal.feed, how, settings.input.format), stretches_of_snapshot(goal.current, target)
            )
            wanted = replace(wanted, resolves=wanted.resolves or goal.is_live)
            with _named(stretches, settings, target, wanted) as (named, ask):
                comparison.take_snapshot(named.resolve)
                live = ask(partial(live_of, comparison, named, how, target))
                propose = from_feed(goal.feed, named, target, day, arrived=arrived, is_passing=is_passing, live=live)
                place = Path(folder) / "plan"
                made = draft(comparison.store, propose, named.settings, target, place, with_requests=True)
        rulings = override(made.rulings, given.guardrails)
        content = {}
        if wanted.is_bound:
            content = bind("sync", goal.feed, settings, state=goal.state, current=goal.current, basis=Basis.of(made))
        content |= described(settings, target, made.seen, rulings, draft=made, lookups=named.figures)
    loaded, live = made.proposal.loaded, made.proposal.live
    content["drift"] = live.as_dict()
    content["hints"] += _unasked(settings, target, named)
    content["changes"]["rejected"] = loaded.rejected
    content["held"] = {
        "look_alikes": made.proposal.feed.look_alikes,
        "removals": made.proposal.held_removals,
        "sample": [str(pair) for pair in made.proposal.look_alikes[:_SHOWN_REJECTS]],
    }
    content["rejects"] = [
        {"source": str(goal.feed[source]), "line": line, "reason": reason}
        for source, line, reason in loaded.rejects[:_SHOWN_REJECTS]
    ]
    return content


def write_plan(output: Path, content: dict[str, Any]) -> None:
    """Write it as a file for the `--plan` of `apply` and `sync`."""
    import orjson

    from batcher.core.errors import ConfigurationError
    from batcher.files import replaced

    try:
        data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        raise ConfigurationError(f"{output} cannot be written: the plan names a file whose name is not UTF-8") from None
    try:
        with replaced(output) as file:
            file.write(data)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None
