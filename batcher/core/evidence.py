"""What the requests of a run so far tell: of the target, of what may still arrive, and of whose fault a refusal is."""

from __future__ import annotations

from dataclasses import dataclass, field

from batcher.core.blame import Blame
from batcher.core.health import Health
from batcher.core.lanes import OrderBy
from batcher.core.late import LateRequests


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Shared by what sends and by what decides what is sent next."""

    order_by: OrderBy
    late: LateRequests
    health: Health = field(default_factory=Health)
    blame: Blame = field(default_factory=Blame)
