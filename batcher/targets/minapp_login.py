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
from batcher.core.login_replies import field_of
from batcher.core.target import Credentials, Login, LoginRefusedError
from batcher.core.verdict import Cause, Stop

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
    code = field_of(response, "code", now)
    body = known | {"code": code, "grant_type": "authorization_code"}
    response = yield Request("POST", url + _TOKEN, _JSON, orjson.dumps(body), (code,))
    return field_of(response, "access_token", now)


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
