"""What the replies of logins mean; this is the same for every target."""

from __future__ import annotations

from batcher.core.http import Response, brief
from batcher.core.replies import parsed, unsuccessful
from batcher.core.target import LoginRefusedError
from batcher.core.verdict import Cause, Retry, Stop


def field_of(response: Response, name: str, now: float) -> str:
    """A string field of the reply, which is JSON whatever its content type says. `now` is UTC seconds.

    Raises:
        LoginRefusedError: When there is none; says what that means for the run.

    """
    content = parsed(response.body)
    content = content if isinstance(content, dict) else {}
    value = content.get(name)
    if response.is_success and isinstance(value, str) and value:
        return value
    said = next((content[key] for key in ("error_msg", "error_description", "error") if content.get(key)), "")
    text = brief(said)
    if content.get("status") == "error" or response.status in {400, 401, 403}:
        raise LoginRefusedError(
            Stop(Cause.CREDENTIALS, f"the client id or secret was refused ({response.status}: {text})")
        )
    if response.is_success:
        raise LoginRefusedError(Stop(Cause.ENDPOINT, f"the login reply contains no {name}; is the URL correct?"))
    verdict = unsuccessful(response, text, now)
    if isinstance(verdict, Stop | Retry):
        raise LoginRefusedError(verdict)
    raise LoginRefusedError(Stop(Cause.CREDENTIALS, f"the login was refused ({verdict.reason})"))
