"""MinApp's authorize–code–token flow (the vendor's open API page on authentication).

`authorize/` answers with two redirects whose cookies must be kept; they are followed by hand, as GET without a
body, to the same host only, over https or loopback, five at most. Renewing runs the whole flow again: the
documented refresh would make the tokens of other processes invalid.
"""

from __future__ import annotations

from collections.abc import Generator
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urljoin, urlsplit

import orjson

from batcher.core.address import is_loopback
from batcher.core.http import Request, Response, brief
from batcher.core.replies import parsed, unsuccessful
from batcher.core.target import Credentials, Login, LoginRefusedError
from batcher.core.verdict import Cause, Retry, Stop

_AUTHORIZE = "/api/oauth2/hydrogen/openapi/authorize/"
_TOKEN = "/api/oauth2/access_token/"  # noqa: S105 — a path
_MOST_HOPS = 5
_JSON = {"Content-Type": "application/json"}


def login(url: str, credentials: Credentials, now: float) -> Login:
    """Request a code and exchange it for a token. `now` in UTC seconds.

    Raises:
        LoginRefusedError: When it is refused; says what that means for the run.

    """
    known = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    response = yield from _follow(Request("POST", url + _AUTHORIZE, _JSON, orjson.dumps(known)))
    code = _field(response, "code", now)
    body = known | {"code": code, "grant_type": "authorization_code"}
    response = yield Request("POST", url + _TOKEN, _JSON, orjson.dumps(body), (code,))
    return _field(response, "access_token", now)


def _follow(request: Request) -> Generator[Request, Response, Response]:
    cookies: dict[str, str] = {}
    origin = urlsplit(request.url)
    for _ in range(_MOST_HOPS + 1):
        response = yield request
        if not 300 <= response.status < 400:  # redirects
            return response
        for header in response.cookies:
            cookies |= _cookies(header)
        target = urlsplit(urljoin(request.url, response.headers.get("location", "")))
        is_safe = target.scheme == "https" or (target.scheme == "http" and is_loopback(target.hostname or ""))
        if not is_safe or target.hostname != origin.hostname:
            where = f"{target.scheme}://{brief(target.netloc.rpartition('@')[2])}"
            raise LoginRefusedError(Stop(Cause.ENDPOINT, f"the login was redirected to {where}, which is not trusted"))
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        request = Request("GET", target.geturl(), headers, secrets=tuple(cookies.values()))
    raise LoginRefusedError(Stop(Cause.ENDPOINT, f"the login was redirected more than {_MOST_HOPS} times"))


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.coded_value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _field(response: Response, name: str, now: float) -> str:
    """A string field of the reply, which is JSON whatever its content type says."""
    content = parsed(response.body)
    content = content if isinstance(content, dict) else {}
    value = content.get(name)
    if 200 <= response.status < 300 and isinstance(value, str) and value:
        return value
    said = next((content[key] for key in ("error_msg", "error_description", "error") if content.get(key)), "")
    text = brief(said)
    if content.get("status") == "error" or response.status in {400, 401, 403}:
        raise LoginRefusedError(
            Stop(Cause.CREDENTIALS, f"the client id or secret was refused ({response.status}: {text})")
        )
    if 200 <= response.status < 300:
        raise LoginRefusedError(Stop(Cause.ENDPOINT, f"the login reply contains no {name}; is the URL correct?"))
    verdict = unsuccessful(response, text, now)
    if isinstance(verdict, Stop | Retry):
        raise LoginRefusedError(verdict)
    raise LoginRefusedError(Stop(Cause.CREDENTIALS, f"the login was refused ({verdict.reason})"))
