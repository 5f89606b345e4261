"""The token provider: the user's token, or one from the target's login, renewed by one worker for all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import cast

import anyio

from batcher.core.errors import (
    EndpointError,
    ExhaustedError,
    NotSentError,
    ReplyLostError,
    UnknownClientError,
    UntrustedError,
)
from batcher.core.http import Request
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials, Login, LoginRefusedError, Target
from batcher.core.verdict import Cause, Retry, Stop
from batcher.delivery.request_gate import RequestGate

_log = logging.getLogger(__name__)
_BROKEN = "the target's plug-in is broken: login"


def stop_of(error: EndpointError | ExhaustedError, *, is_known: bool = False) -> Stop | Retry:
    """What it means for a run that the endpoint cannot be used, or that this machine has no resources for it.

    If the target has answered before (`is_known`), the trouble may pass, unless its certificate is wrong now.
    """
    if isinstance(error, ExhaustedError):
        return Stop(Cause.EXHAUSTED, str(error))
    if isinstance(error, UnknownClientError):
        return Stop(Cause.CREDENTIALS, str(error))
    if is_known and not isinstance(error, UntrustedError):
        return Retry(str(error), lost=False, counted=False)
    return Stop(Cause.UNTRUSTED if isinstance(error, UntrustedError) else Cause.ENDPOINT, str(error))


class TokenProvider:
    """Provides the current token. `generation` is the number of that token."""

    def __init__(self, target: Target, credentials: Credentials, gate: RequestGate, secrets: Secrets) -> None:
        self.generation = 0
        self._target = target
        self._credentials = credentials
        self._gate = gate
        self.secrets = secrets
        self._token = credentials.token
        self._from_login = False
        self._proven = False
        self._renewing = anyio.Lock()
        secrets.add(*credentials.secrets)

    def __repr__(self) -> str:
        return f"<TokenProvider generation {self.generation}, {'proven' if self._proven else 'not proven'}>"

    @property
    def current(self) -> str:
        """The token; empty if there is none yet."""
        return self._token

    @property
    def is_proven(self) -> bool:
        """Whether the target has accepted the current token."""
        return self._proven

    async def token(self) -> str:
        """The token to use; logs in if there is none yet.

        Raises:
            LoginRefusedError: When none can be obtained.

        """
        if not self._token:
            await self.renew(self.generation)
        return self._token

    def proven(self, generation: int) -> None:
        """The target accepted the token of this generation."""
        self._proven = self._proven or generation == self.generation

    async def renew(self, generation: int) -> None:
        """Replace the token of this generation, which was refused; only the first worker to ask logs in.

        Raises:
            LoginRefusedError: When no other token can be obtained, or a fresh one was refused without ever working.

        """
        async with self._renewing:
            if generation != self.generation:
                return
            if self._from_login and not self._proven:
                raise LoginRefusedError(Stop(Cause.CREDENTIALS, "a fresh token was refused too"))
            self._token = await self._log_in()
            self.secrets.add(self._token)
            self._from_login, self._proven = True, False
            self.generation += 1
            _log.info("logged in to %s", self._target.name)

    def _begin(self) -> Login:
        try:
            login = self._target.login(self._credentials, self._gate.clock.utc())
        except Exception as error:  # noqa: BLE001 — a plug-in may raise anything, and quote anything
            raise LoginRefusedError(Stop(Cause.DIALECT, f"{_BROKEN} raised {type(error).__name__}")) from None
        if login is None:
            how = "set BATCHER_TOKEN or auth.token_file" if not self._token else "renew the token"
            raise LoginRefusedError(Stop(Cause.CREDENTIALS, f"there is no valid token; {how}"))
        if not isinstance(login, Generator):
            raise LoginRefusedError(Stop(Cause.DIALECT, f"{_BROKEN} returned {type(login).__name__}"))
        return login

    async def _log_in(self) -> str:
        login = self._begin()
        try:
            request = _step(lambda: next(login))
            while not isinstance(request, str):
                self.secrets.add(*request.secrets)
                response = await self._gate.send(request, 0)
                request = _step(lambda response=response: login.send(response))  # type: ignore[misc]  # mypy cannot type defaults
        except LoginRefusedError as refused:
            word = self.secrets.scrub_verdict(refused.verdict)
            raise LoginRefusedError(cast("Retry | Stop", word)) from None
        except (EndpointError, ExhaustedError) as error:
            raise LoginRefusedError(stop_of(error, is_known=self._proven)) from None
        except (NotSentError, ReplyLostError) as error:
            counted = isinstance(error, ReplyLostError)
            raise LoginRefusedError(Retry(f"login: {error}", lost=False, counted=counted)) from None
        finally:
            login.close()
        return request


def _step(go_on: Callable[[], Request]) -> Request | str:
    """The login's next request, or finally the token; a plug-in that raises or returns anything else is broken.

    Raises:
        LoginRefusedError: With what that means for the run.

    """
    try:
        request: object = go_on()
    except StopIteration as end:
        request = end.value
    except LoginRefusedError:
        raise
    except Exception as error:  # noqa: BLE001 — a plug-in may raise anything, and quote anything
        raise LoginRefusedError(Stop(Cause.DIALECT, f"{_BROKEN} raised {type(error).__name__}")) from None
    if isinstance(request, Request) or (isinstance(request, str) and request):
        return request
    raise LoginRefusedError(Stop(Cause.DIALECT, f"{_BROKEN} returned neither a request nor a token"))
