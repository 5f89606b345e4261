"""One load run in one process: from its specification to its measurement."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from batcher.core.arrivals import Arrivals, parse_arrivals
from batcher.core.errors import InputError
from batcher.core.model import Position
from batcher.core.report import Waited
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.in_doubt import remember_others
from batcher.engine.jobs.job import preflight, reading
from batcher.engine.jobs.looking_first import look_first
from batcher.engine.jobs.summary import LOAD
from batcher.engine.run.observers import Observer
from batcher.engine.run.pipeline import Invocation, work
from batcher.engine.run.session import Session
from batcher.engine.run.window_reader import WorkItem, read_windows
from batcher.host.runtime import Runtime
from batcher.ledger.facts import SourceFacts
from batcher.ledger.writer import LedgerWriter
from batcher.load.arrival_dispatch import ArrivalDispatch
from batcher.load.flights import Flights
from batcher.load.latencies import Latencies, Summary
from batcher.load.measurement import Generator as GeneratorFacts
from batcher.load.measurement import Measurement, rates
from batcher.load.plan import Finding, Plan, Stopwatch
from batcher.load.synthetic import Synthetic, synthetic_windows
from batcher.settings import Settings
from batcher.source.inputs import Input
from batcher.source.windows import Windower

_BUSY = 0.9
"""If a generator uses at least this share of a core, the measurement may be of the generator itself."""
_STARVED = 0.1
"""The same, if for at least this share of the time a closed loop could have sent more, and nothing was ready."""
_LAG_SECONDS = 0.001
_LAG_SHARE = 0.1
"""The share of the measured latency (99 %) by which a generator may be late."""


class LoadSpec(msgspec.Struct, frozen=True):
    """What a generator is to do, in plain values, so that it can be sent to another process."""

    settings: Settings
    ledger: str
    files: tuple[str, ...] = ()
    """Files of changes to send instead of synthetic changes."""
    synthetic: dict[str, Any] = {}
    """Fields of `Synthetic` that differ from the default."""
    arrivals: str = "10/s"
    """The rate of arrivals, as `parse_arrivals` takes it; empty for a closed loop."""
    seconds: float = 30.0
    """The duration of a closed loop, or of a stage without a duration."""
    most: int | None = None
    """The maximum number of requests, without the warm-up; None for no maximum."""
    warm_up: float = 0.0
    """The duration of the warm-up in seconds."""
    part: int = 0
    """The number of this generator, from 0 on."""
    parts: int = 1
    """How many generators share the load."""
    starts: float = 0.0
    """When to start, by the clock that all processes of the machine share (seconds)."""
    is_simulated: bool = False

    def schedule(self) -> Arrivals | None:
        """This generator's share of the arrivals, after a warm-up at the first rate; None in a closed loop.

        Raises:
            ConfigurationError: When the arrivals are invalid.

        """
        if not self.arrivals:
            return None
        whole = parse_arrivals(self.arrivals, self.seconds)
        if self.warm_up:
            whole = whole.after_warm_up(self.warm_up)
        return whole if self.parts == 1 else whole.share(self.part, self.parts)

    def plan(self) -> Plan:
        """The plan of this generator."""
        most = math.inf
        if self.most is not None:
            each, more = divmod(self.most, self.parts)
            most = each + (self.part < more)
        return Plan(self.schedule(), most, self.seconds, self.warm_up, in_order=bool(self.files))


async def measure(
    spec: LoadSpec, credentials: Credentials, runtime: Runtime, watch: Stopwatch, shutdown: Shutdown, look: Looking
) -> Measurement:
    """Generate the load and measure it.

    Raises:
        UsageError: When settings, files or the ledger cannot be used; nothing was sent.

    """
    changes, plan = Synthetic(**spec.synthetic), spec.plan()
    changes.check()
    for name in spec.files:
        if not Path(name).is_file():
            raise InputError(f"{name}: no such file")
    preflight(spec.settings, credentials)
    ledger = LedgerWriter.create(Path(spec.ledger))
    is_kept = False
    try:
        lasting = spec.settings.replace(guard={"max_failures": "", "deadline": ""})  # its own schedule ends a load run
        session = Session.of(lasting, ledger, runtime, shutdown)
        inputs: Sequence[Input] = [Input(name, Path(name), spec.settings.input.format) for name in spec.files]
        how = reading(spec.settings, session.target.key_kind)
        inputs, _ = await look_first(inputs, how, Access(spec.settings, credentials, runtime, shutdown))
        facts = _facts(spec, session)
        if inputs:
            facts |= remember_others(session, facts["run"], facts)
        ledger.begin_run(facts, _sources(spec))
        is_kept = True
        session.register_at_first_send(facts)
        clock = runtime.clock
        flights, start = Flights(plan, clock.now), clock.now() + spec.starts - clock.shared()
        look.flights = flights
        works: AsyncIterator[WorkItem]
        if inputs:
            works = read_windows(inputs, how, Position(), Windower(), runtime.executor)
        else:
            most = session.limits.max_changes
            works = synthetic_windows(changes, most, flights.missing, spec.part, runtime.executor)
            session.expect_late(0.0)  # windows of random changes follow each other without a gap
        dispatch = partial(ArrivalDispatch, flights=flights, watch=watch, start=start)
        observer = Observer(exchanged=flights.exchanged)
        run = await work(session, works, Invocation(LOAD, credentials, observer, dispatch=dispatch))
        finding = flights.finding
    finally:
        if is_kept:
            ledger.close()
        else:
            ledger.discard()
    began = clock.utc() - (clock.now() - finding.recorder.begin)
    return _measurement(spec, session, finding, run.tally, began)


class Looking:
    """Holds the flights of a running measurement, for code that displays its progress."""

    def __init__(self) -> None:
        self.flights: Flights | None = None

    def __repr__(self) -> str:
        return f"<Looking at {self.flights!r}>"


def _facts(spec: LoadSpec, session: Session) -> dict[str, str]:
    return {
        "run": uuid.uuid4().hex[:12],
        "kind": LOAD,
        "target": session.target.name,
        "url": session.target.url,
        "env": session.settings.target.env,
        "settings": session.settings.to_json(),
        "started": repr(session.runtime.clock.utc()),
        "load": msgspec.json.encode(_described(spec)).decode(),
    } | _mark(spec)


def _mark(spec: LoadSpec) -> dict[str, str]:
    return {"simulated": "yes"} if spec.is_simulated else {}


def _sources(spec: LoadSpec) -> list[SourceFacts]:
    if not spec.files:
        return [SourceFacts("synthetic", "", "synthetic", is_spool=False, size=0)]
    paths = [Path(name) for name in spec.files]
    return [SourceFacts(str(p), str(p.absolute()), spec.settings.input.format, False, p.stat().st_size) for p in paths]


def _described(spec: LoadSpec) -> dict[str, Any]:
    if spec.files:
        return {"files": list(spec.files)}
    return {"synthetic": msgspec.to_builtins(Synthetic(**spec.synthetic))}


def _measurement(
    spec: LoadSpec, session: Session, finding: Finding, tally: Mapping[Status, int], began: float
) -> Measurement:
    recorder = finding.recorder
    intervals = finding.intervals
    counted = recorder.requests
    sizes = {"sent": counted["bytes_sent"], "received": counted["bytes_received"]}
    requests = {name: counted[name] for name in ("sent", "ok", "failed", "late", "dropped")}
    requests |= {"retried": finding.requests.retried, "split": finding.requests.split}
    intended, actual = recorder.intended, recorder.actual
    shutdown = session.shutdown
    return Measurement(
        started=datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
        target=session.target.name,
        url=session.target.url,
        loop="open" if spec.arrivals else "closed",
        arrivals=str(parse_arrivals(spec.arrivals, spec.seconds)) if spec.arrivals else "",
        input=_described(spec),
        seconds=round(finding.seconds, 6),
        warm_up_seconds=spec.warm_up,
        interval_seconds=recorder.length,
        requests=requests,
        changes={status.label: tally.get(status, 0) for status in Status},
        accepted=counted["changes"],
        bytes=sizes,
        per_second=rates(requests, counted["changes"], sizes, finding.seconds),
        latency={"intended": Summary.of(intended), "actual": Summary.of(actual)},
        errors=dict(recorder.errors.most_common()),
        waited={name: round(sum(i.waited.get(name, 0.0) for i in intervals), 6) for name in _REASONS},
        server_seconds=round(recorder.server_seconds, 6),
        generator=_judged(finding, intended),
        intervals=intervals,
        ledgers=[spec.ledger],
        settings={
            "limits": msgspec.structs.asdict(session.settings.limits),
            "rate": msgspec.structs.asdict(session.settings.rate),
            "retry": msgspec.structs.asdict(session.settings.retry),
        },
        stopped=shutdown.cause.name.lower() if shutdown.cause else "",
        reason=shutdown.reason,
    )


_REASONS = tuple(field.name for field in fields(Waited) if field.name != "grace")
"""What sends wait for; nothing of what a load run makes up waits for late requests."""


def _judged(finding: Finding, intended: Latencies) -> GeneratorFacts:
    """Judge whether the generator itself may have been the bottleneck."""
    reasons = []
    if finding.cpu_share >= _BUSY:
        reasons.append(f"it used {finding.cpu_share:.0%} of a core")
    if finding.starved >= _STARVED:
        reasons.append(f"no request was ready during {finding.starved:.0%} of the time")
    if finding.lag > max(_LAG_SECONDS, _LAG_SHARE * intended.percentile(99)):
        reasons.append(f"requests were ready up to {finding.lag * 1000:.1f} ms after they were due (99 %)")
    return GeneratorFacts(
        round(finding.cpu_share, 3), round(finding.lag * 1000, 3), bool(reasons), " and ".join(reasons)
    )
