"""What is fixed for one invocation before it reaches its target, and what it knows of requests that may arrive late."""

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
from batcher.core.target import Credentials, Target
from batcher.delivery.shutdown import Shutdown
from batcher.host.run_registry import RegisteredRun, RunRegistry
from batcher.host.runtime import Runtime
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.targets import create

STATE_ID = "state_id"
"""The fact of a ledger that tells with which state its run worked, wherever that state's file is."""
_MOST_WORKERS = 32


@dataclass(frozen=True, slots=True)
class Registration:
    """How other runs on this host learn of this one; without a register they do not."""

    register: RunRegistry | None = None
    run: RegisteredRun | None = None
    started: float = 0.0
    """UTC seconds."""
    state: str = ""
    """Which state it works with."""

    def begun(self) -> None:
        """The first request with changes leaves."""
        if self.register is not None and self.run is not None:
            self.register.touch(self.run, self.started, self.state)

    def ended(self, last: Stamp) -> None:
        """The last one has come back, or nobody waits for it any more; what was lost was lost by then."""
        if self.register is not None and self.run is not None:
            self.register.ended(self.run.run, last)


@dataclass(slots=True, eq=False)
class Session:
    """One invocation on one ledger, made by `Session.of`."""

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
        """See the module.

        Raises:
            ConfigurationError: When the settings do not fit the target.

        """
        target = make_target(settings)
        order_by = OrderBy(settings.target.order_by)
        if target.order is OrderBy.GROUP:  # whatever the user asks for: it is how the target works
            order_by = OrderBy.GROUP
        if settings.input.ordered:
            order_by = OrderBy.INPUT
        limits = settings.limits_for(target)
        return Session(settings, target, limits, order_by, ledger, runtime, shutdown)

    def expect_late(self, grace: float) -> None:
        """Lost requests may still arrive within so many seconds; what is known of any is forgotten."""
        self.in_doubt = InDoubtRequests(grace, own_too=self.order_by is not OrderBy.PAIR)

    def register(self) -> RunRegistry | None:
        """Where runs on this target know of each other."""
        folder = self.runtime.state_folder
        settings = self.settings.target
        return None if folder is None else RunRegistry(folder, self.target.name, self.target.url, settings.env)

    def register_at_first_send(self, facts: Mapping[str, str]) -> None:
        """Let other runs know of this one, once it has touched the target."""
        register = self.register()
        if register is not None and "simulated" not in facts:
            run = RegisteredRun(facts["run"], self.ledger.path)
            self.registration = Registration(register, run, float(facts["started"]), facts.get(STATE_ID, ""))

    def remember_lost(self, window: Window, rows: Settlement | None, age: float, *, is_foreign: bool = False) -> None:
        """A request for these rows (all of the window's when None) may still arrive; it was lost `age` seconds ago.

        The windows of another run (`is_foreign`) are none of ours, whatever their numbers.
        """
        columns = window.columns
        index = slice(None) if rows is None else rows.rows
        valid = columns.action[index] <= 1
        user, group = columns.user.take(index).take(valid), columns.group.take(index).take(valid)
        moment = self.runtime.clock.now() - age
        number = -1 - window.id if is_foreign else window.id
        self.in_doubt.lost(number, ordering_keys(user, group, self.order_by), columns.action[index][valid], moment)

    def remember_unknown(self, age: float) -> None:
        """Requests of another run that nobody knows were lost `age` seconds ago."""
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
        ConfigurationError: When they name none.

    """
    return create(settings.target.kind, settings.target.url, settings.target.env)


def check_credentials(target: Target, given: Credentials) -> None:
    """See that there is anything to prove who we are.

    Raises:
        ConfigurationError: When there is not.

    """
    if not given.token and target.login(given, 0.0) is None:
        raise ConfigurationError(
            "no credentials: set BATCHER_TOKEN or auth.token_file"
            " (for a login: BATCHER_CLIENT_ID and BATCHER_CLIENT_SECRET)"
        )
