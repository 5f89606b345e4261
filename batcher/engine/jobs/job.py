"""What the jobs have in common: checks before anything is sent, opening a ledger again, and how a job ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from batcher.core.errors import GuardrailError, LedgerError, NotBegunError
from batcher.core.look_alikes import Names
from batcher.core.model import KeyKind
from batcher.core.report import Report, command
from batcher.core.status import Status
from batcher.core.target import Credentials, Target
from batcher.core.units import parse_day
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.in_doubt import CLOSED, registers_of
from batcher.engine.jobs.reaching import Anew
from batcher.engine.jobs.summary import LOAD, report, report_of
from batcher.engine.run.admission import AdmissionRules
from batcher.engine.run.session import Session, check_credentials, make_target, readable
from batcher.host.runtime import Runtime, proxy_of, trust_of
from batcher.ledger.creation import is_begun
from batcher.ledger.facts import SourceFacts
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.source.foreign import check_encoding
from batcher.source.formats import named
from batcher.source.inputs import Reading
from batcher.source.layout import Fields
from batcher.source.mapping import read_mapping
from batcher.source.refine import PLAIN, Condition, Refinement, Validity
from batcher.source.spool import Spool, was_whole
from batcher.source.trailer import Trailer
from batcher.source.windows import Windower
from batcher.targets import key_kind_of
from batcher.transport.protocol import Trust, check_authorities

_log = logging.getLogger(__name__)

STATE = "state"
"""The fact in a ledger that names the state which the run uses."""
BEGUN = "begun"
"""The fact in such a ledger that the state knows of the run."""
JUDGED = "judged"
"""The fact in a ledger that the checks of the whole input, if there were any, were made before anything was sent."""


def settings_of(ledger: Path) -> Settings:
    """The settings of a ledger's run.

    Raises:
        LedgerError: When there is no run.

    """
    with LedgerReader(ledger) as reader:
        facts = reader.facts()
    if "settings" not in facts:
        raise LedgerError(f"{ledger} holds no run yet; start one with batcher apply --ledger {ledger}")
    return Settings.from_json(facts["settings"])


def preflight(settings: Settings, credentials: Credentials | None) -> Target:
    """Check what can be checked before anything is created; returns the target.

    Args:
        settings: All settings.
        credentials: None if nothing will be sent.

    Raises:
        ConfigurationError: When something is wrong.

    """
    target = make_target(settings)
    settings.limits_for(target)
    reading(settings, target.key_kind)
    _check_trust(trust_of(settings), target.url)
    proxy_of(settings)
    if credentials is not None:
        check_credentials(target, credentials)
    if settings.target.verify_after != "none" or settings.target.skip_unchanged:
        readable(target)
    return target


def _check_trust(trust: Trust, url: str) -> None:
    """Check that TLS works as configured. With the defaults, the TLS context is created only when it is needed."""
    if trust != Trust():
        trust.context()
    if urlsplit(url).scheme == "https" and not (trust.ca_file or trust.fingerprint or trust.insecure):
        check_authorities()


def not_begun(shutdown: Shutdown) -> NotBegunError:
    """The error for a run that is to end before it has begun."""
    return NotBegunError(shutdown.reason, shutdown.cause.exit_code if shutdown.cause else 1)


def check_wanted(shutdown: Shutdown) -> None:
    """Check that the run is not to end already. An input that failed does not count: what arrived is still sent.

    Raises:
        NotBegunError: When the run is to end.

    """
    if shutdown.is_set and shutdown.cause is not Cause.INPUT:
        raise not_begun(shutdown)


def reading(settings: Settings, kind: KeyKind) -> Reading:
    """How files of changes are read under these settings.

    Raises:
        ConfigurationError: When the settings are invalid.

    """
    where = tuple(map(Condition.parse, settings.input.where))
    refinement = Refinement(where) if where else PLAIN
    return _reading(settings, kind, refinement)


def feed_reading(settings: Settings, kind: KeyKind, today: date) -> Reading:
    """How feeds are read under these settings.

    Raises:
        UsageError: When the settings are invalid, or a mapping file cannot be read.

    """
    feed = settings.feed
    day = parse_day(feed.as_of) if feed.as_of else today
    takes_open_end = settings.guard.open_end == "allow"
    refinement = Refinement(
        tuple(map(Condition.parse, settings.input.where)),
        Validity(feed.valid_from, feed.valid_to, day, feed.date_format),
        feed.group_separator,
        tuple(feed.groups),
        read_mapping(Path(feed.user_map), is_single=True, takes_open_end=takes_open_end) if feed.user_map else None,
        read_mapping(Path(feed.group_map), is_single=False, takes_open_end=takes_open_end) if feed.group_map else None,
        is_feed=True,
    )
    return _reading(settings, kind, refinement)


def _reading(settings: Settings, kind: KeyKind, refinement: Refinement) -> Reading:
    given = settings.input
    fields = Fields.of(given.map, kind, is_feed=refinement.is_feed, takes_odd=given.odd_names == "allow")
    check_encoding(given.encoding)
    if given.format:
        named(given.format)
    return Reading(
        fields,
        given.delimiter,
        given.encoding,
        given.sheet,
        given.skip_rows,
        refinement,
        # Ids are compared as they are (RFC 7643 §3.1), and names only once they have become ids.
        Names.EXACT if kind is KeyKind.LOOKUP else names_of(settings),
        Trailer(settings.guard.trailer) if settings.guard.trailer else None,
    )


def sheets_fact(sheets: Mapping[str, str]) -> dict[str, str]:
    """The fact in a ledger that names the sheets that were read, for inputs that are spreadsheets."""
    found = {name: sheet for name, sheet in sheets.items() if sheet}
    return {"sheets": orjson.dumps(found).decode()} if found else {}


def difference_files(ledger: Path) -> tuple[Path, Path]:
    """The files with the additions and the removals of a sync, beside its ledger."""
    return ledger.with_name(f"{ledger.name}.adds.csv"), ledger.with_name(f"{ledger.name}.removals.csv")


def rejects_file(ledger: Path) -> Path:
    """The file that lists the invalid lines of a feed."""
    return ledger.with_name(f"{ledger.name}.rejected.csv")


def for_difference(settings: Settings) -> Settings:
    """The settings for reading the files that were written from a difference, whatever the feed looked like."""
    plain = {"format": "csv", "delimiter": ",", "encoding": "", "sheet": "", "skip_rows": 0, "where": []}
    # They hold ids, under the heading for texts where ids are texts: nothing in them is to be looked up.
    is_looked_up = key_kind_of(settings.target.kind) is KeyKind.LOOKUP
    plain |= {"map": {"user": "user_name", "group": "group_name"} if is_looked_up else {}}
    whole = {"settle": "", "min_age": "", "max_age": "", "done_file": "", "trailer": "", "expect_rows": ""}
    return settings.replace(input=plain | {"strict": False, "odd_names": "allow"}, guard=whole)


def check_new(ledger: Path) -> None:
    """Check that no ledger would be overwritten.

    Raises:
        LedgerError: When the ledger exists.

    """
    if not is_begun(ledger):
        return
    try:
        with LedgerReader(ledger) as reader:
            facts = reader.facts()
    except LedgerError:  # it is in the way all the same
        facts = {}
    _refuse_if_not_begun(ledger, facts)
    raise LedgerError(f"{ledger} already exists; to continue it: {command('resume', ledger)}")


def _refuse_if_not_begun(ledger: Path, facts: Mapping[str, str]) -> None:
    if STATE in facts and BEGUN not in facts:
        raise LedgerError(
            f"{ledger}: the run had not begun, and nothing was sent; run its command again with another --ledger"
        )


def reopen(
    ledger: LedgerWriter,
    runtime: Runtime,
    shutdown: Shutdown,
    anew: Anew,
) -> tuple[Session, dict[str, str], list[SourceFacts]]:
    """The session for a ledger that holds a run, the facts of the run, and its inputs.

    Raises:
        LedgerError: When the ledger holds no run, or one that cannot be continued.
        GuardrailError: When a newer run worked on the same target, unless `anew.despite_later_runs` is set.

    """
    with LedgerReader(ledger.path) as reader:
        facts, sources = reader.facts(), reader.sources()
    if not facts:
        raise LedgerError(f"{ledger.path} holds no run yet; start one with batcher apply --ledger {ledger.path}")
    if facts.get("kind") == LOAD:
        raise LedgerError(f"{ledger.path} belongs to a load run, which cannot be continued; start a new one")
    _refuse_if_not_begun(ledger.path, facts)
    if CLOSED in facts:
        raise LedgerError(
            f"{ledger.path} was closed by a later run with the state {facts[STATE]}: what it left open was included"
            " in that run, and is included in the next sync"
        )
    settings = Settings.from_json(facts["settings"]).replace(**anew.reach)
    session = Session.of(settings.replace(**anew.overrides), ledger, runtime, shutdown)
    session.register_at_first_send(facts)
    for register in registers_of(session, facts):
        later = register.later_than(facts["run"], float(facts["started"]))
        if later and not anew.despite_later_runs:
            raise GuardrailError(
                f"a newer run worked on the same target ({later[0]}); continuing this one could undo its changes."
                " If this is intended: --despite-later-runs"
            )
    if anew.reach:  # from now on that is how the target is reached
        ledger.set_fact("settings", settings.to_json())
        ledger.set_fact("url", session.target.url)
    return session, facts, sources


FIRST = 100
"""How many changes are sent, and read back at the target, before all others."""


def names_of(settings: Settings) -> Names:
    """How the target treats names that look alike."""
    return Names(settings.target.names)


def rules_of(facts: Mapping[str, str], *, canary_is_over: bool = False) -> AdmissionRules:
    """What must be settled first in this run, according to its facts."""
    canary = 0 if canary_is_over else int(facts.get("canary", "0"))
    is_proven = not canary_is_over and Settings.from_json(facts["settings"]).target.verify_after != "none"
    return AdmissionRules(canary, facts.get("in_turn") == "yes", FIRST if is_proven else 0)


def finish(session: Session, all_read: bool, windower: Windower, spool: Spool | None) -> None:  # noqa: FBT001
    """Record how far the input was read, and delete the spool once all of it is settled."""
    if session.shutdown.ledger_is_dead:
        return
    if windower.ended and all_read:
        session.ledger.mark_ended(windower.ended)
    if spool is not None and spool.is_whole:
        session.ledger.set_fact("spool", "whole")
    path = spool_path(session.ledger.path)
    if path.exists() and all_read and was_whole(path) and not report(session.ledger.path).changes[Status.PENDING]:
        path.unlink()


def ending(ledger: LedgerWriter, shutdown: Shutdown) -> Report:
    """The summary after a job, read from wherever its ledger is by now."""
    ledger.place()
    with ledger.reader() as reader:
        return report_of(reader, shutdown.cause, shutdown.reason)


def spool_path(ledger: Path) -> Path:
    """The file in which an input that cannot be read twice is kept."""
    return ledger.with_name(ledger.name + ".spool")
