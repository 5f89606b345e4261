"""What unsuccessful HTTP replies mean; this is the same for every target."""

from __future__ import annotations

import json
import re

import orjson

from batcher.core.http import Response, brief
from batcher.core.retry import wish_of
from batcher.core.verdict import Cause, Retry, Split, Stop

_TOO_FAST = re.compile(r"rate.?limit|too many requests|too frequent|throttl|频繁|请求过多|频率|限流", re.IGNORECASE)
_TOO_LARGE = re.compile(r"too (large|big|long|many)|exceeds? the (limit|maximum)|过大|超过", re.IGNORECASE)
_CAUSES = {
    401: (Cause.CREDENTIALS, "the credentials were refused"),
    402: (Cause.QUOTA, "the account is in arrears or its quota is used up"),
    403: (Cause.PERMISSION, "the credentials lack the permission"),
    404: (Cause.ENDPOINT, "there is no such address"),
    405: (Cause.ENDPOINT, "the address does not accept this method"),
    407: (Cause.CREDENTIALS, "a proxy asks for credentials"),
}
_OF_RUN_OR_CHANGE = {403, 404, 405}
"""They may speak of the run, or of a user or a group in the request."""


def unsuccessful(response: Response, said: str, now: float) -> Retry | Split | Stop:
    """The verdict on a reply that is not a success.

    Args:
        response: Any reply.
        said: Its error text, as far as the dialect can extract it; may be empty.
        now: UTC seconds, for `Retry-After` dates.

    """
    status = response.status
    text = f"{status}: {said}" if said else f"{status}"
    is_haste = status in {429, 503} or (400 <= status < 500 and _TOO_FAST.search(said) is not None)
    wish = wish_of(response.headers, now, or_reset=is_haste)
    after = None if wish is None else wish.seconds
    if wish is not None and wish.is_cut:
        text += f"; {wish}"
    if status in _CAUSES:
        cause, meaning = _CAUSES[status]
        return Stop(cause, f"{meaning} ({text})", or_changes=status in _OF_RUN_OR_CHANGE)
    if 300 <= status < 400:  # redirects
        location = brief(response.headers.get("location", "nowhere"))
        return Stop(
            Cause.ENDPOINT, f"{status}: redirected to {location}, but redirects are never followed; correct the URL"
        )
    if status == 429:
        return Retry(f"too many requests ({text})", after, lost=False, counted=False, back_pressure=True)
    if is_haste and status != 503:
        # Some vendors say it like this; but the text may also quote a name that reads like it, so tries are counted.
        return Retry(f"too many requests ({text})", after, lost=False, back_pressure=True)
    if status == 425:  # Too Early (RFC 8470): not processed
        return Retry(text, after, lost=False)
    if 400 <= status < 500 and status != 408:  # 408: the server may have read part of it
        return Split(text, is_size=status == 413 or _TOO_LARGE.search(said) is not None)
    return Retry(text, after, back_pressure=status == 503 and after is not None)


def parsed(body: bytes) -> object:
    """The JSON of a body; None when it is not JSON.

    A leading byte order mark and numbers that JSON does not have (`NaN`) are accepted, since some servers write them
    (RFC 8259 §8.1 lets a parser ignore the mark).
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
