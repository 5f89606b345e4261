"""`undo`: compiles the inverse of what a run applied as a plan, and sends such changes for a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from batcher.core.address import place_of
from batcher.core.errors import LedgerError, StateError
from batcher.core.guardrails import Ruling, judge_feed
from batcher.core.report import Report
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import check_new, names_of, preflight, reading
from batcher.engine.jobs.names import known_before, looked_up
from batcher.engine.preview.guardrails import judge
from batcher.engine.preview.input_scan import InputScan, PackingRules, Protected, scan
from batcher.engine.run.session import make_target
from batcher.engine.sync.diff import from_changes
from batcher.engine.sync.goal import Goal, SyncBasis
from batcher.engine.sync.locked_state import passing_state
from batcher.engine.sync.saved_plan import Basis
from batcher.engine.sync.sync import Terms, send
from batcher.files import is_file
from batcher.host.run_registry import RunRegistry
from batcher.ledger.reader import LedgerReader
from batcher.settings import Settings
from batcher.source.inputs import Input
from batcher.state.difference import Difference
from batcher.state.inverse import Inverse, invert, write_left_out
from batcher.state.store import StateStore


@dataclass(frozen=True, slots=True)
class Undo:
    """A compiled undo.

    `changes` are the files with additions and removals, `left_out` is a file with pairs and the reasons why they are
    left out. `unread` are missing ledgers of later runs: what those changed is not known.
    """

    inverse: Inverse
    changes: tuple[Path, Path]
    left_out: Path
    unread: Sequence[Path]
    state: Path | None
    basis: Basis
    seen: InputScan
    rulings: Sequence[Ruling]


def compile_undo(
    ledger: Path,
    later: Sequence[Path],
    settings: Settings,
    stem: Path,
    *,
    state: Path | None,
    state_folder: Path | None,
    utc: Callable[[], float],
) -> Undo:
    """Compile the inverse of a run into files whose paths begin with `stem`; nothing is sent.

    `utc` returns UTC seconds.

    Raises:
        LedgerError: When the file is not a ledger, or belongs to another target.
        StateError: When the state does not know the run.
        LedgerHeldError: When another run holds the state.

    """
    with LedgerReader(ledger) as reader:
        facts = reader.facts()
    target = preflight(settings, None)
    is_simulated = "simulated" in facts
    names = names_of(settings)
    mine = (target.name, "" if is_simulated else place_of(target.url), settings.target.env)
    its_place = "" if is_simulated else place_of(facts.get("url", ""))
    if (facts.get("target"), its_place, facts.get("env")) != mine:
        raise LedgerError(
            f"{ledger} is for {facts.get('target')} at {facts.get('url')}, not for {target.name} at {target.url}"
        )
    for path in later:
        if not is_file(path):
            raise LedgerError(f"{path}: no such file; leave it out, or name the ledger of a later run")
    known = state or (Path(facts["state"]) if "state" in facts else None)
    with ExitStack() as stack:
        folder = None if is_simulated else state_folder
        store, number = _store(stack, known, settings, facts, folder, is_simulated=is_simulated)
        own = {run.ledger for run in store.runs()} if known else set()
        others = _later(facts, later, state_folder, own)
        unread = [path for path in others if not is_file(path)]
        inverse = invert(store, ledger, [path for path in others if path not in unread], number=number, names=names)
        adds, removals, left_out = files_of(stem)
        changes = (adds, removals)
        difference = Difference(store)
        difference.write(*changes)
        write_left_out(store, left_out)
        rulings = judge_feed(difference.figures(), settings.guard.bounds().for_changes()) if known else []
        basis = Basis(store.fingerprint() if known else later_runs(ledger, state_folder))
    packing = PackingRules(settings.limits_for(target), target.wire, settings.input.ordered)
    inputs, how = [Input(file.name, file) for file in changes], reading(settings, target.key_kind)
    with known_before(target, settings, state_folder, utc) as named:
        seen = scan(inputs, how, packing, Protected.of(named.settings.guard), named)
    return Undo(inverse, changes, left_out, unread, known, basis, seen, [*rulings, *judge(seen, settings.guard)])


def files_of(stem: Path) -> tuple[Path, Path, Path]:
    """The files for the additions, the removals, and what is left out."""
    adds, removals, left_out = (stem.parent / f"{stem.name}.{kind}.csv" for kind in ("adds", "removals", "left-out"))
    return adds, removals, left_out


def later_runs(ledger: Path, state_folder: Path | None) -> str:
    """What an undo without a state is based on: the ledgers of later runs on this host, as one text."""
    with LedgerReader(ledger) as reader:
        return " ".join(map(str, _later(reader.facts(), (), state_folder, set())))


def _store(
    stack: ExitStack,
    state: Path | None,
    settings: Settings,
    facts: Mapping[str, str],
    state_folder: Path | None,
    *,
    is_simulated: bool,
) -> tuple[StateStore, int | None]:
    if state is None:
        return stack.enter_context(passing_state()), None
    goal = Goal([], state)
    target = make_target(settings)
    looked_at = SyncBasis(goal, target, settings, state_folder, is_simulated=is_simulated, is_look=True)
    comparison = stack.enter_context(looked_at)
    numbers = [run.number for run in comparison.store.runs() if run.run == facts["run"]]
    if not numbers:
        raise StateError(f"{state} has no record of the run {facts['run']}; is it the state of another target?")
    return comparison.store, numbers[0]


def _later(facts: Mapping[str, str], given: Sequence[Path], folder: Path | None, own: set[Path]) -> list[Path]:
    """Ledgers of later runs that the state does not know."""
    known = [path.absolute() for path in given]
    if folder is not None and "simulated" not in facts:
        register = RunRegistry(folder, facts["target"], facts["url"], facts["env"])
        known += [Path(path) for path in register.later_than(facts["run"], float(facts["started"]))]
    return [path for path in dict.fromkeys(known) if path not in own]


async def undo_changes(files: Sequence[Path], state: Path, context: RunContext, terms: Terms) -> Report:
    """Send changes whose pairs a state knows, and fold the outcomes into the state; raises like `sync`."""
    settings, goal = context.settings, Goal(files, state)
    target = preflight(settings, context.credentials)
    check_new(context.ledger)
    with SyncBasis(goal, target, settings, context.state_folder, is_simulated=context.is_simulated) as comparison:
        async with looked_up(iter(()), context.access, target) as named:  # the protected users and groups
            propose = from_changes(files, named.settings, target)
            return await send(comparison, propose, replace(context, settings=named.settings), terms)
