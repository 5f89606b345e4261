"""Sessions: what is fixed for one invocation before it contacts its target, and the in-doubt requests it knows of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batcher.core.batch import Limits, Settlement
from batcher.core.clock import Stamp
from batcher.core.concurrency import AdaptiveLimit, ConcurrencyLimit, FixedLimit
from batcher.core.errors import ConfigurationError
from batcher.core.in_doubt import InDoubtRequests
from batcher.core.model import Window
from batcher.core.ordering import OrderBy, ordering_keys
from batcher.core.reading import InfersReading, OffersReading
from batcher.core.target import Credentials, Target
from batcher.delivery.shutdown import Shutdown
from batcher.host.run_registry import RegisteredRun, RunRegistry
from batcher.host.runtime import Runtime
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.targets import create

STATE_ID = "state_id"
"""The fact in a ledger that identifies the state of its run, wherever that state's file is now."""
_MOST_WORKERS = 32


@dataclass(frozen=True, slots=True)
class Registration:
    """How other runs on this host learn of this one; they do not if there is no run registry."""

    register: RunRegistry | None = None
    run: RegisteredRun | None = None
    started: float = 0.0
    """In UTC seconds."""
    state: str = ""
    """The id of the state that it uses; empty for none."""

    def begun(self) -> None:
        """The first request with changes is leaving."""
        if self.register is not None and self.run is not None:
            self.register.touch(self.run, self.started, self.state)

    def ended(self, last: Stamp) -> None:
        """The last request was answered or given up; requests that were lost were lost by the time `last`."""
        if self.register is not None and self.run is not None:
            self.register.ended(self.run.run, last)


@dataclass(slots=True, eq=False)
class Session:
    """One invocation on one ledger, created by `Session.of`."""

    settings: Settings
    target: Target
    limits: Limits
    order_by: OrderBy
    ledger: LedgerWriter
    runtime: Runtime
    shutdown: Shutdown
    in_doubt: InDoubtRequests = field(init=False)
    registration: Registration = field(default_factory=Registration)

    def __post_init__(self) -> None:
        self.expect_late(self.settings.retry.grace_seconds)

    @staticmethod
    def of(settings: Settings, ledger: LedgerWriter, runtime: Runtime, shutdown: Shutdown) -> Session:
        """The session for these settings.

        Raises:
            ConfigurationError: When the settings do not fit the target.

        """
        target = make_target(settings)
        order_by = OrderBy(settings.target.order_by)
        if target.order is OrderBy.GROUP:  # whatever the user asks for, as the target works that way
            order_by = OrderBy.GROUP
        if settings.input.ordered:
            order_by = OrderBy.INPUT
        limits = settings.limits_for(target)
        return Session(settings, target, limits, order_by, ledger, runtime, shutdown)

    def expect_late(self, grace: float) -> None:
        """Set for how many seconds a lost request may still arrive, and forget the in-doubt requests known so far."""
        is_by_group = self.order_by is OrderBy.GROUP
        self.in_doubt = InDoubtRequests(grace, own_too=self.order_by is not OrderBy.PAIR, whole_lanes=is_by_group)

    def register(self) -> RunRegistry | None:
        """The run registry through which runs on this target know of each other, if there is one."""
        folder = self.runtime.state_folder
        settings = self.settings.target
        return None if folder is None else RunRegistry(folder, self.target.name, self.target.url, settings.env)

    def register_at_first_send(self, facts: Mapping[str, str]) -> None:
        """Let other runs know of this one as soon as it sends changes."""
        register = self.register()
        if register is not None and "simulated" not in facts:
            run = RegisteredRun(facts["run"], self.ledger.path)
            self.registration = Registration(register, run, float(facts["started"]), facts.get(STATE_ID, ""))

    def remember_lost(self, window: Window, rows: Settlement | None, age: float, *, is_foreign: bool = False) -> None:
        """A request for these rows (None: all of the window) may still arrive; it was lost `age` seconds ago.

        The windows of another run (`is_foreign`) are kept apart from ours even if they have the same numbers.
        """
        columns = window.columns
        index = slice(None) if rows is None else rows.rows
        valid = columns.action[index] <= 1
        user, group = columns.user.take(index).take(valid), columns.group.take(index).take(valid)
        moment = self.runtime.clock.now() - age
        number = -1 - window.id if is_foreign else window.id
        self.in_doubt.lost(number, ordering_keys(user, group, self.order_by), columns.action[index][valid], moment)

    def remember_unknown(self, age: float) -> None:
        """Unknown requests of another run were lost `age` seconds ago."""
        self.in_doubt.lost_anything(self.runtime.clock.now() - age)

    def limit_in_flight(self) -> ConcurrencyLimit:
        """How many requests may be in flight at once."""
        if self.order_by is OrderBy.INPUT:
            return FixedLimit(1)
        most = self.settings.rate.max_in_flight
        return AdaptiveLimit(ceiling=_MOST_WORKERS) if most == "auto" else FixedLimit(most)


def make_target(settings: Settings) -> Target:
    """The target that the settings name.

    Raises:
        ConfigurationError: When they do not name a valid one.

    """
    target = settings.target
    names = {"user": target.names_of_users, "group": target.names_of_groups}
    given = {side: name for side, name in names.items() if name}
    made = create(target.kind, target.url, target.env, target.profile, target.query, given, bulk=target.bulk)
    if target.readable and isinstance(made, InfersReading):
        made.believe_documents()
    elif target.readable and not isinstance(made, OffersReading):
        raise ConfigurationError(f"target.readable: members of groups cannot be read at {made.name}")
    return made


def check_credentials(target: Target, given: Credentials) -> None:
    """Check that there are credentials.

    Raises:
        ConfigurationError: When there are none.

    """
    if not given.token and target.login(given, 0.0) is None:
        raise ConfigurationError(
            "no credentials: set BATCHER_TOKEN or auth.token_file"
            " (for a login: BATCHER_CLIENT_ID and BATCHER_CLIENT_SECRET)"
        )


def readable(target: Target) -> OffersReading:
    """The same target, which must be one that can be read.

    Raises:
        ConfigurationError: When it cannot.

    """
    if not isinstance(target, OffersReading):
        raise ConfigurationError(f"the members of groups cannot be read at {target.name}")
    if not target.can_be_read:
        raise ConfigurationError(
            f"how {target.name} is read is only inferred from its documents; to believe that: target.readable = true"
        )
    return target
