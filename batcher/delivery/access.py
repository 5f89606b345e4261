"""The token: from the user, or from the target's login; renewed by one worker for all."""

from __future__ import annotations

import logging
from typing import cast

import anyio

from batcher.core.errors import NotSentError, ReplyLostError, UntrustedError
from batcher.core.http import Request
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials, LoginRefusedError, Target
from batcher.core.verdict import Cause, Retry, Stop
from batcher.delivery.turnstile import Turnstile

_log = logging.getLogger(__name__)


class Access:
    """Gives the current token. `generation` tells one token from the next."""

    def __init__(self, target: Target, credentials: Credentials, turnstile: Turnstile, secrets: Secrets) -> None:
        self.generation = 0
        self._target = target
        self._credentials = credentials
        self._turnstile = turnstile
        self.secrets = secrets
        self._token = credentials.token
        self._from_login = False
        self._proven = False
        self._renewing = anyio.Lock()
        secrets.add(*credentials.secrets)

    def __repr__(self) -> str:
        return f"<Access generation {self.generation}, {'proven' if self._proven else 'not proven'}>"

    async def token(self) -> str:
        """The token to use; logs in when there is none yet.

        Raises:
            LoginRefusedError: When there is no way to one.

        """
        if not self._token:
            await self.renew(self.generation)
        return self._token

    def proven(self, generation: int) -> None:
        """The target accepted the token of this generation."""
        self._proven = self._proven or generation == self.generation

    async def renew(self, generation: int) -> None:
        """Replace the token of this generation, which was refused; only the first to ask logs in.

        Raises:
            LoginRefusedError: When there is no other token, or a fresh one was refused before it ever worked.

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

    async def _log_in(self) -> str:
        login = self._target.login(self._credentials, self._turnstile.clock.utc())
        if login is None:
            how = "set BATCHER_TOKEN or auth.token_file" if not self._token else "renew the token"
            raise LoginRefusedError(Stop(Cause.CREDENTIALS, f"there is no valid token; {how}"))
        try:
            request: Request = next(login)
            while True:
                request = login.send(await self._turnstile.send(request, 0))
        except StopIteration as end:
            return str(end.value)
        except LoginRefusedError as refused:
            word = self.secrets.scrub_verdict(refused.verdict)
            raise LoginRefusedError(cast("Retry | Stop", word)) from None
        except UntrustedError as error:
            raise LoginRefusedError(Stop(Cause.ENDPOINT, str(error))) from None
        except (NotSentError, ReplyLostError) as error:
            counted = isinstance(error, ReplyLostError)
            raise LoginRefusedError(Retry(f"login: {error}", lost=False, counted=counted)) from None
        finally:
            login.close()
