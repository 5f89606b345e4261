"""Inquiries: requests that change nothing, paced and tried again like any other, to learn something from the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from batcher.core.blame import Blame
from batcher.core.errors import EndpointError, ExhaustedError, TransportError
from batcher.core.http import Request, Response
from batcher.core.retry import RetryPolicy
from batcher.core.target import LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict
from batcher.delivery.dialect import DialectError
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.token_provider import TokenProvider, stop_of

T = TypeVar("T")


class Inquiry:
    """Asks the target; shared by all workers."""

    def __init__(self, tokens: TokenProvider, gate: RequestGate, blame: Blame, policy: RetryPolicy) -> None:
        self.peer = ""
        """The address that answered last."""
        self.sent = 0
        """How many requests were made."""
        self._answered = 0
        """How many times the target has told what it was asked."""
        self._tokens = tokens
        self._gate = gate
        self._blame = blame
        self._policy = policy

    def __repr__(self) -> str:
        return f"<Inquiry {self.sent} requests to {self.peer or 'nobody yet'}>"

    async def once(
        self, make: Callable[[str], Request], meaning: Callable[[Response, float], T | Verdict]
    ) -> T | Verdict:
        """Make one request, and say what its reply means, or what it means that there is none.

        Args:
            make: Returns the request, given the token.
            meaning: Returns what a reply means; it is given UTC seconds, too.

        Raises:
            Abandoned: When the run ends first.

        """
        try:
            request = make(await self._tokens.token())
            self.sent += 1
            response = await self._gate.send(request, 0)
        except LoginRefusedError as refused:
            return refused.verdict
        except DialectError as error:
            return Stop(Cause.DIALECT, str(error))
        except (EndpointError, ExhaustedError) as error:
            return stop_of(error, is_known=self._blame.accepted_once)
        except TransportError as error:
            return Retry(str(error))
        self.peer = response.peer
        found = meaning(response, self._gate.clock.utc())
        if isinstance(found, Retry):
            self._gate.heed(found)
        return found

    async def insist(
        self, make: Callable[[str], Request], meaning: Callable[[Response, float], T | Verdict]
    ) -> T | Verdict:
        """As `once`, again while the target cannot answer; a token that was refused is renewed.

        It is asked as often as for a batch if it answers others meanwhile, and else until the policy's patience ends.

        Raises:
            Abandoned: When the run ends first.

        """
        attempt, began, answered = 0, self._gate.clock.now(), self._answered
        while True:
            generation = self._tokens.generation
            found = await self.once(make, meaning)
            if isinstance(found, Stop) and found.cause is Cause.CREDENTIALS:
                try:
                    await self._tokens.renew(generation)
                    continue
                except LoginRefusedError as refused:
                    found = refused.verdict
            if not isinstance(found, Retry):
                self._answered += 1
                if not isinstance(found, Settled | Split | Stop):
                    self._tokens.proven(generation)
                return found
            attempt += 1
            if attempt >= self._policy.max_attempts:
                if self._answered > answered or self._gate.clock.now() - began >= self._policy.patience:
                    return found
                self._gate.log_once.say("the target does not answer, and is asked again: %s", found.reason)
            await self._gate.shutdown.pause(max(self._policy.delay(attempt), found.after or 0.0))
