"""Inquiries: requests that change nothing, paced and tried again like any other, to learn something from the target."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from batcher.core.blame import Blame
from batcher.core.errors import EndpointError, ExhaustedError, NotSentError, OversizedReplyError, TransportError
from batcher.core.http import Request, Response
from batcher.core.retry import RetryPolicy
from batcher.core.target import LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict
from batcher.delivery.dialect import DialectError
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.token_provider import TokenProvider, stop_of

T = TypeVar("T")
_SERVER_ERROR, _BUSY = 500, {408, 429}
"""Statuses (RFC 9110 §15.6; §15.5.9, RFC 6585 §4) of a target that cannot answer now."""


_FIRST_ATTEMPTS = 4
"""After so many attempts to connect to a target that has never answered, its address may be wrong."""


class _Reached(Enum):
    """How far a request came."""

    NOBODY = 0
    TARGET = 1
    ANSWER = 2
    """The target is able to answer, whatever it says."""


class Inquiry:
    """Asks the target; shared by all workers."""

    def __init__(self, tokens: TokenProvider, gate: RequestGate, blame: Blame, policy: RetryPolicy) -> None:
        self.peer = ""
        """The address that answered last."""
        self.sent = 0
        """How many requests were made."""
        self.answered = 0
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
        found, _ = await self._exchange(make, meaning)
        return found

    async def _exchange(
        self, make: Callable[[str], Request], meaning: Callable[[Response, float], T | Verdict]
    ) -> tuple[T | Verdict, _Reached]:
        """The same, and how far it came."""
        try:
            request = make(await self._tokens.token())
            self.sent += 1
            response = await self._gate.send(request, 0)
        except LoginRefusedError as refused:
            return refused.verdict, _Reached.TARGET
        except DialectError as error:
            return Stop(Cause.DIALECT, str(error)), _Reached.ANSWER
        except OversizedReplyError as error:
            response = Response(error.status, is_cut=True)
        except (EndpointError, ExhaustedError) as error:
            return stop_of(error, is_known=self._blame.accepted_once), _Reached.NOBODY
        except NotSentError as error:
            return Retry(str(error), lost=False), _Reached.NOBODY
        except TransportError as error:
            return Retry(str(error)), _Reached.TARGET
        self.peer = response.peer or self.peer
        found = meaning(response, self._gate.clock.utc())
        if isinstance(found, Retry):
            self._gate.heed(found)
        is_able = response.status < _SERVER_ERROR and response.status not in _BUSY
        return found, _Reached.ANSWER if is_able else _Reached.TARGET

    async def insist(
        self, make: Callable[[str], Request], meaning: Callable[[Response, float], T | Verdict]
    ) -> T | Verdict:
        """As `once`, again while the target cannot answer; a token that was refused is renewed.

        It is asked as often as for a batch if it answers at all, and else until the policy's patience ends; only a few
        times if nobody has ever been reached.

        Raises:
            Abandoned: When the run ends first.

        """
        attempt, began, answered = 0, self._gate.clock.now(), self.answered
        while True:
            generation = self._tokens.generation
            found, reached = await self._exchange(make, meaning)
            if isinstance(found, Stop) and found.cause is Cause.CREDENTIALS:
                try:
                    await self._tokens.renew(generation)
                    continue
                except LoginRefusedError as refused:
                    found = refused.verdict
            if not isinstance(found, Retry):
                self.answered += 1
                if not isinstance(found, Settled | Split | Stop):
                    self._tokens.proven(generation)
                return found
            attempt += 1
            if reached is _Reached.NOBODY and not self.answered and attempt >= _FIRST_ATTEMPTS:
                return found
            if self._gate.clock.now() - began >= self._policy.patience:
                return found
            if attempt >= self._policy.max_attempts:
                if reached is _Reached.ANSWER or self.answered > answered:
                    return found
                self._gate.log_once.say("the target does not answer, and is asked again: %s", found.reason)
            await self._gate.shutdown.pause(max(self._policy.delay(attempt), found.after or 0.0))
