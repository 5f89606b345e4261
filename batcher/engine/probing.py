"""One request that changes nothing: are address and credentials right?"""

from __future__ import annotations

from dataclasses import dataclass

from batcher.core.concurrency import FixedLimit
from batcher.core.errors import EndpointError, ExhaustedError, TransportError
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials, LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.delivery.access import Access, stop_of
from batcher.delivery.dialect import Dialect, DialectError
from batcher.delivery.stopping import Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.job import preflight
from batcher.engine.shared_pace import make_pacer
from batcher.engine.surroundings import Surroundings
from batcher.settings import Settings


@dataclass(frozen=True, slots=True)
class Probed:
    """What stands in the way of a run, None when nothing does; and the address that has answered."""

    stop: Stop | None
    peer: str = ""


async def probe(settings: Settings, credentials: Credentials, surroundings: Surroundings) -> Probed:
    """Ask the target what changes nothing; paced like a run's own requests."""
    target, secrets = preflight(settings, credentials), Secrets()
    dialect = Dialect(target, secrets)
    pacer = make_pacer(settings, target, surroundings)
    async with surroundings.transport(settings) as transport:
        turnstile = Turnstile(transport, pacer, FixedLimit(1), surroundings.clock, Stopping())
        access = Access(target, credentials, turnstile, secrets)
        try:
            response = await turnstile.send(dialect.probe(await access.token()), 0)
        except LoginRefusedError as refused:
            word = refused.verdict
            return Probed(_stop(word))
        except DialectError as error:
            return Probed(Stop(Cause.DIALECT, str(error)))
        except (EndpointError, ExhaustedError) as error:
            return Probed(_stop(stop_of(error)))
        except TransportError as error:
            return Probed(Stop(Cause.OUTAGE, str(error)))
        finally:
            pacer.close()
    verdict = dialect.of_probe(response, surroundings.clock.utc())
    return Probed(None if isinstance(verdict, Settled) else _stop(verdict), response.peer)


def _stop(word: Stop | Retry | Split) -> Stop:
    return word if isinstance(word, Stop) else Stop(Cause.OUTAGE, word.reason)
