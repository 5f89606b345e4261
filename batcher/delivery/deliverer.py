"""The delivery of one batch: turn → attempt → verdict → retry, split or settle. The only module that uses tenacity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import anyio
import tenacity

from batcher.core.batch import Batch
from batcher.core.durations import Durations
from batcher.core.errors import (
    EndpointError,
    ExhaustedError,
    NotSentError,
    OversizedReplyError,
    TransportError,
)
from batcher.core.evidence import Evidence
from batcher.core.http import Response
from batcher.core.rate import Waiting
from batcher.core.report import Requests
from batcher.core.retry import RetryPolicy
from batcher.core.status import Status
from batcher.core.target import LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict
from batcher.delivery.attempts import NO_CONNECTION, NO_REPLY, RENEWED, AttemptMade, Attempts
from batcher.delivery.delivery import Delivered, Delivery, Exchange, Sent
from batcher.delivery.dialect import Dialect, DialectError
from batcher.delivery.fast_lane import FastLane
from batcher.delivery.inquiry import Inquiry
from batcher.delivery.probe import Probe
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.resolution import Resolution
from batcher.delivery.token_provider import TokenProvider, stop_of


class Deliverer:
    """Delivers batches; shared by all workers."""

    def __init__(
        self,
        dialect: Dialect,
        tokens: TokenProvider,
        gate: RequestGate,
        evidence: Evidence,
        policy: RetryPolicy,
        departs: Callable[[Batch], None],
        exchanged: Callable[[Batch, Exchange], None] | None,
    ) -> None:
        """`departs` is called when a request leaves, `exchanged` when it was answered or will surely not be."""
        self._attempts = Attempts(gate, evidence, exchanged)
        self.lane = FastLane(dialect, tokens, gate, evidence, self._attempts, departs)
        self._resolution = Resolution(self._attempts.requests, evidence.health, gate.clock, dialect)
        self.inquiry = Inquiry(tokens, gate, evidence.blame, policy)
        self._probe = Probe(dialect, self.inquiry, gate)
        self.dialect = dialect
        self._tokens = tokens
        self._gate = gate
        self._evidence = evidence
        self._health = evidence.health
        self._policy = policy
        self._clock = gate.clock
        self._shutdown = gate.shutdown
        self._departs = departs
        self._probing = anyio.Lock()
        self._backing_off = 0
        self.doubted: Stop | None = None
        """A reply that stops the run unless it was about single changes, as long as neither is proven."""

    @property
    def requests(self) -> Requests:
        """Counts of what was sent so far, and of the results."""
        return self._attempts.requests

    @property
    def took(self) -> Durations:
        """Times from departure to reply."""
        return self._attempts.took

    @property
    def is_backing_off(self) -> bool:
        """Whether any delivery is waiting before its next attempt."""
        return self._backing_off > 0

    async def deliver(self, batch: Batch, sent: Sent | None = None) -> Delivered:
        """Send a batch until its outcome is final; `sent` is its first attempt, if that was made already.

        Raises:
            Abandoned: When the run ends first; the batch stays pending.

        """
        delivery = Delivery(batch, self._health.accepted)
        verdict = await (self._attempt(delivery) if sent is None else self._judge_first(delivery, sent))
        if isinstance(verdict, Retry):
            verdict = await self._insist(delivery, verdict)
        return self._resolution.of(delivery, verdict)

    async def _judge_first(self, delivery: Delivery, sent: Sent) -> Verdict:
        try:
            return await self._conclude(delivery, sent)
        finally:
            self.lane.judged()

    async def _insist(self, delivery: Delivery, first: Retry) -> Verdict:
        """Try again until there is another verdict or the attempts are used up.

        Most batches never get here. Setting up tenacity for each of them would cost more than their request.
        """
        seen: list[Verdict] = [first]

        async def next_verdict() -> Verdict:
            return seen.pop() if seen else await self._attempt(delivery)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(lambda verdict: isinstance(verdict, Retry)),
            stop=lambda _: self._is_exhausted(delivery),
            wait=self._wait,
            sleep=self._back_off,
            retry_error_callback=_last_verdict,
        )
        verdict: Verdict = await retrying(next_verdict)
        if isinstance(verdict, Retry):
            self._shutdown.check()
            if self._is_outage(delivery) and not await self._probe.is_answered():
                return Stop(Cause.OUTAGE, f"the target does not answer as it should: {verdict.reason}")
        return verdict

    def _is_outage(self, delivery: Delivery) -> bool:
        """Whether nothing was accepted while this delivery used up its attempts."""
        nothing = self._health.accepted == delivery.accepted_before
        return nothing or self._health.has_used_up(self._policy.max_attempts)

    async def ask(self) -> Verdict:
        """The target's verdict on a request that changes nothing; makes as many attempts as for a batch.

        Raises:
            Abandoned: When the run ends first.

        """
        verdict = await self._probe.ask()
        for attempt in range(1, self._policy.max_attempts):
            if not isinstance(verdict, Retry):
                break
            await self._back_off(self._policy.delay(attempt))
            verdict = await self._probe.ask()
        return verdict

    def _is_exhausted(self, delivery: Delivery) -> bool:
        most = self._policy.max_attempts
        return delivery.counted >= most or self._health.has_used_up(most)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """How long to back off: only this batch, or all sends if the target asked for a wait or is down."""
        verdict = _last_verdict(state)
        if not isinstance(verdict, Retry) or verdict.reason == RENEWED:
            return 0.0
        attempt = max(state.attempt_number, self._health.failures) if self._health.is_down else state.attempt_number
        delay = self._policy.delay(attempt)
        if verdict.after is not None:
            # A very short wait, such as one until a date in the past, would make us hammer the target.
            delay = verdict.after if verdict.after >= self._policy.base_seconds else max(delay, verdict.after)
        if verdict.back_pressure:
            self._gate.keep_quiet(delay, verdict.reason)
            return 0.0
        if self._health.is_down:
            self._gate.pacer.quiet(self._clock.now() + delay, Waiting.BACKOFF)
            return 0.0
        return delay

    async def _back_off(self, seconds: float) -> None:
        started = self._clock.now()
        self._backing_off += 1
        try:
            await self._shutdown.pause(seconds)
        finally:
            self._backing_off -= 1
            self._gate.waited.backoff += self._clock.now() - started

    async def _attempt(self, delivery: Delivery) -> Verdict:
        if self._health.is_down:
            async with self._probing:  # one worker probes, the others queue behind it
                if self._health.is_down:
                    return await self._try(delivery, is_probe=True)
        return await self._try(delivery, is_probe=False)

    async def _try(self, delivery: Delivery, *, is_probe: bool) -> Verdict:
        """Send one request and classify its outcome."""
        self._shutdown.check()
        return await self._conclude(delivery, await self._send(delivery.batch), is_probe=is_probe)

    async def _send(self, batch: Batch) -> Sent:
        started, departed = self._clock.now(), False

        def depart() -> None:
            nonlocal started, departed
            started, departed = self._clock.now(), True
            self._health.tries(started)
            self._departs(batch)
            self._attempts.requests.sent += 1

        size, generation = 0, self._tokens.generation
        outcome: Response | Exception
        try:
            token = await self._tokens.token()
            generation = self._tokens.generation
            request = self.dialect.encode(batch, token)
            size = len(request.body)
            outcome = await self._gate.send(request, len(batch), depart)
        except (LoginRefusedError, DialectError, TransportError, EndpointError, ExhaustedError) as error:
            outcome = error
        return Sent(started, departed, size, generation, outcome)

    async def _conclude(self, delivery: Delivery, sent: Sent, *, is_probe: bool = False) -> Verdict:
        """What an attempt means for the batch and for everything else."""
        response = sent.outcome if isinstance(sent.outcome, Response) else None
        error, verdict = self._meaning(delivery.batch, sent.outcome)
        verdict = await self._judge(delivery, verdict, response, sent.generation)
        made = AttemptMade(sent.started, sent.has_left, is_probe, sent.size, error, response)
        self._attempts.note(delivery, verdict, made)
        return verdict

    def _meaning(self, batch: Batch, outcome: Response | Exception) -> tuple[str, Verdict]:
        """What happened instead of a reply, and the verdict."""
        match outcome:
            case Response():
                return "", self.dialect.of_reply(batch, outcome, self._clock.utc())
            case LoginRefusedError():
                return "", outcome.verdict
            case DialectError():
                return "", Stop(Cause.DIALECT, str(outcome))
            case EndpointError() | ExhaustedError():
                return NO_CONNECTION, stop_of(outcome, is_known=self._evidence.blame.accepted_once)
            case NotSentError():
                return NO_CONNECTION, Retry(str(outcome), lost=False, counted=False)
            case OversizedReplyError() if self.dialect.status_suffices:
                cut = Response(outcome.status, is_cut=True)
                return "", self.dialect.of_reply(batch, cut, self._clock.utc())
            case _:
                return NO_REPLY, Retry(str(outcome))

    async def _judge(self, delivery: Delivery, verdict: Verdict, response: Response | None, generation: int) -> Verdict:
        """The verdict on the reply, revised by what the run has seen so far."""
        if isinstance(verdict, Stop) and response is not None:
            if verdict.cause is Cause.CREDENTIALS:
                return await self._renewed(verdict, generation)
            if verdict.or_changes and await self._speaks_of_changes(verdict):
                return Split(verdict.reason)
        if isinstance(verdict, Settled | Split):
            self._tokens.proven(generation)  # a request that is refused for its content was authenticated
        if isinstance(verdict, Settled) and len(delivery.batch) == 1 and verdict.statuses[0] == Status.PENDING:
            said = self.dialect.secrets.scrub(response.text()) if response else ""
            return Retry(f"the reply does not show what became of the change: {said}", lost=False)
        return verdict

    async def _speaks_of_changes(self, verdict: Stop) -> bool:
        """Whether a status that may be about the run or its changes is about the changes.

        That is so once a change was accepted, or a request that changes nothing. The latter only proves that we have
        access: until a change was accepted, nothing is recorded because of such a status.
        """
        if self._evidence.blame.accepted_once:
            return True
        if self.doubted is None and isinstance(await self._probe.ask(), Settled):
            self.doubted = verdict
        return self.doubted is not None

    async def _renewed(self, refusal: Stop, generation: int) -> Verdict:
        try:
            await self._tokens.renew(generation)
        except LoginRefusedError as refused:
            if isinstance(refused.verdict, Retry):
                return refused.verdict
            return replace(refused.verdict, reason=f"{refusal.reason}; {refused.verdict.reason}")
        return Retry(RENEWED, after=0.0, lost=False, counted=False)


def _last_verdict(state: tenacity.RetryCallState) -> Verdict:
    """The verdict on the attempt that has just ended."""
    verdict: Verdict = cast("tenacity.Future", state.outcome).result()
    return verdict
