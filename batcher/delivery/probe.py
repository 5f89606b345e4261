"""Probes: requests that change nothing, to learn whether the target is reachable and accepts the credentials."""

from __future__ import annotations

import math

import anyio

from batcher.core.blame import Blame
from batcher.core.errors import EndpointError, ExhaustedError, TransportError
from batcher.core.target import LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Stop, Verdict
from batcher.delivery.dialect import Dialect, DialectError
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.token_provider import TokenProvider, stop_of


class Probe:
    """Sends probes; shared by all workers."""

    def __init__(self, dialect: Dialect, tokens: TokenProvider, gate: RequestGate, blame: Blame) -> None:
        self.peer = ""
        """The address that answered last."""
        self._dialect = dialect
        self._tokens = tokens
        self._gate = gate
        self._blame = blame
        self._asking = anyio.Lock()
        self._answered_at = -math.inf

    def __repr__(self) -> str:
        return f"<Probe {self._dialect!r} {self.peer}>"

    async def ask(self) -> Verdict:
        """Probe the target: `Settled` if it is reachable and accepts the credentials.

        Raises:
            Abandoned: When the run ends first.

        """
        try:
            response = await self._gate.send(self._dialect.probe(await self._tokens.token()), 0)
        except LoginRefusedError as refused:
            return refused.verdict
        except DialectError as error:
            return Stop(Cause.DIALECT, str(error))
        except (EndpointError, ExhaustedError) as error:
            return stop_of(error, is_known=self._blame.accepted_once)
        except TransportError as error:
            return Retry(str(error))
        self.peer = response.peer
        verdict = self._dialect.of_probe(response, self._gate.clock.utc())
        if isinstance(verdict, Retry):
            self._gate.heed(verdict)
        return verdict

    async def is_answered(self) -> bool:
        """Whether the target answers a probe, so that some changes are what it cannot handle.

        Workers that ask at the same time share one probe.

        Raises:
            Abandoned: When the run ends first.

        """
        clock = self._gate.clock
        asked = clock.now()
        async with self._asking:
            self._gate.shutdown.check()
            if self._answered_at < asked and isinstance(await self.ask(), Settled):
                self._answered_at = clock.now()
            return self._answered_at >= asked
