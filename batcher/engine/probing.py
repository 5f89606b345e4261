"""One request that changes nothing: are address and credentials right?"""

from __future__ import annotations

from batcher.core.concurrency import FixedLimit
from batcher.core.errors import EndpointError, ExhaustedError, TransportError
from batcher.core.secrets import Secrets
from batcher.core.target import Credentials, LoginRefusedError
from batcher.core.verdict import Cause, Settled, Stop
from batcher.delivery.access import Access, stop_of
from batcher.delivery.dialect import Dialect, DialectError
from batcher.delivery.stopping import Stopping
from batcher.delivery.turnstile import Turnstile
from batcher.engine.job import preflight
from batcher.engine.shared_pace import make_pacer
from batcher.engine.surroundings import Surroundings
from batcher.settings import Settings


async def probe(settings: Settings, credentials: Credentials, surroundings: Surroundings) -> Stop | None:
    """What stands in the way of a run; None when nothing does. Paced like a run's own requests."""
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
            return word if isinstance(word, Stop) else Stop(Cause.OUTAGE, word.reason)
        except DialectError as error:
            return Stop(Cause.DIALECT, str(error))
        except (EndpointError, ExhaustedError) as error:
            word = stop_of(error)
            return word if isinstance(word, Stop) else Stop(Cause.OUTAGE, word.reason)
        except TransportError as error:
            return Stop(Cause.OUTAGE, str(error))
        finally:
            pacer.close()
    verdict = dialect.of_probe(response, surroundings.clock.utc())
    if isinstance(verdict, Settled):
        return None
    return verdict if isinstance(verdict, Stop) else Stop(Cause.OUTAGE, verdict.reason)
