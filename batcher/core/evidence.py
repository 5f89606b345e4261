"""What the requests of a run so far tell: of the target, of what may still arrive, and of whose fault a refusal is."""

from __future__ import annotations

from dataclasses import dataclass, field

from batcher.core.blame import Blame
from batcher.core.health import Health
from batcher.core.in_doubt import InDoubtRequests
from batcher.core.ordering import OrderBy


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Shared by what sends and by what decides what is sent next."""

    order_by: OrderBy
    in_doubt: InDoubtRequests
    health: Health = field(default_factory=Health)
    blame: Blame = field(default_factory=Blame)
