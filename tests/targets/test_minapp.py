"""MinApp's dialect."""

from __future__ import annotations

import orjson
import pytest
from columns import batch_of, product_of

from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.target import Credentials, LoginRefusedError
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.targets.minapp import MinApp

TARGET = MinApp("https://example.org/", "test")


def test_a_request_is_the_documented_one():
    """Seed 000: PATCH, an array of ops, Bearer, the environment's header."""
    request = TARGET.encode(product_of("add", [5, 6], [53, 54]), "token")
    assert (request.method, request.url) == ("PATCH", "https://example.org/oserve/v1/miniapp/group/membership/")
    assert request.headers == {
        "Authorization": "Bearer token",
        "Content-Type": "application/json",
        "X-Hydrogen-Env-ID": "test",
    }
    assert orjson.loads(request.body) == [{"op": "add", "path": "/membership", "users": [5, 6], "groups": [53, 54]}]


def test_a_names_code_never_gets_on_the_wire():
    """It would change a stranger's rights."""
    with pytest.raises(TypeError, match="integer ids only"):
        TARGET.encode(batch_of([("add", "bob", 5)]), "t")


def test_long_lists_are_encoded_alike():
    """Arrays and lists look the same on the wire."""
    users = list(range(1000))
    assert orjson.loads(TARGET.encode(product_of("remove", users, [1]), "t").body)[0]["users"] == users


def test_without_an_environment_its_header_is_not_sent():
    assert "X-Hydrogen-Env-ID" not in MinApp("", "").encode(product_of("add", [1], [2]), "t").headers
    assert MinApp("", "").url == "https://cloud.minapp.com"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", Retry),
        (200, b"<html>sign in</html>", Retry),
        (400, b'{"status":"error","error_msg":"no such user"}', Split),
        (400, '{"error_msg":"请求过于频繁"}'.encode(), Retry),
        (302, b"", Stop),
        (500, b"", Retry),
    ],
)
def test_only_204_settles(status, body, kind):
    """It is the only documented success."""
    verdict = TARGET.interpret(product_of("add", [5], [53]), Response(status, {}, body), 0.0)
    assert isinstance(verdict, kind)


def test_204_is_the_word_for_every_change():
    verdict = TARGET.interpret(product_of("add", [5, 6], [53]), Response(204), 0.0)
    assert isinstance(verdict, Settled)
    assert verdict.statuses.tolist() == [Status.APPLIED] * 2


def test_the_reason_of_a_refusal_is_the_vendors():
    response = Response(400, {}, b'{"status":"error","error_msg":"no \\u001b[1msuch user"}')
    assert TARGET.interpret(product_of("add", [5], [53]), response, 0.0) == Split("400: no  [1msuch user")


def test_the_probe_changes_nothing():
    request = TARGET.probe("t")
    assert (request.method, request.body) == ("GET", b"")
    assert isinstance(TARGET.interpret_probe(Response(200, {}, b"{}"), 0.0), Settled)
    assert isinstance(TARGET.interpret_probe(Response(401), 0.0), Stop)


GIVEN = Credentials(client_id="id", client_secret="secret")


def _login(*replies, url="https://example.org"):
    """Play a login; gives the requests and the token."""
    flow = MinApp(url, "").login(GIVEN, 0.0)
    requests = [next(flow)]
    try:
        for reply in replies:
            requests.append(flow.send(reply))  # noqa: PERF401 — the last send ends the flow
    except StopIteration as end:
        return requests, end.value
    raise AssertionError("the flow wants more")


def redirect(location, *cookies):
    return Response(302, {"location": location}, b"", cookies)


CODE, TOKEN = Response(200, {}, b'{"code":"c","expires_in":600}'), Response(200, {}, b'{"access_token":"tok"}')


def test_the_login_follows_its_redirects_by_hand():
    """GET without a body or secret, cookies kept, then the code for the token."""
    requests, token = _login(redirect("/next", "a=1; Path=/"), redirect("https://example.org/last", "b=2"), CODE, TOKEN)
    assert token == "tok"
    assert [r.method for r in requests] == ["POST", "GET", "GET", "POST"]
    assert [r.url for r in requests[1:3]] == [
        "https://example.org/api/oauth2/hydrogen/openapi/authorize/"[:19] + "/next",
        "https://example.org/last",
    ]
    assert requests[2].headers == {"Cookie": "a=1; b=2"}
    assert all(b"secret" not in r.body and r.body == b"" for r in requests[1:3])
    assert orjson.loads(requests[3].body) == {
        "client_id": "id",
        "client_secret": "secret",
        "code": "c",
        "grant_type": "authorization_code",
    }


@pytest.mark.parametrize(
    "location",
    ["http://example.org/x", "https://evil.example/x", "https://example.org@evil.example/", "ftp://example.org/"],
)
def test_a_redirect_elsewhere_ends_the_login(location):
    with pytest.raises(LoginRefusedError) as refused:
        _login(redirect(location))
    assert refused.value.verdict.cause is Cause.ENDPOINT


@pytest.mark.parametrize(("hops", "works"), [(4, True), (5, True), (6, False)])
def test_at_most_five_redirects(hops, works):
    """n−1, n, n+1."""
    replies = [redirect("/x")] * hops + [CODE, TOKEN]
    if works:
        assert _login(*replies)[1] == "tok"
    else:
        with pytest.raises(LoginRefusedError, match="more than 5 times"):
            _login(*replies)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Response(200, {}, b'{"status":"error","error_msg":"bad client"}'), Cause.CREDENTIALS),
        (Response(401, {}, b""), Cause.CREDENTIALS),
        (Response(400, {}, b"[]"), Cause.CREDENTIALS),
        (Response(422, {}, b""), Cause.CREDENTIALS),
        (Response(200, {}, b"<html>"), Cause.ENDPOINT),
        (Response(404, {}, b""), Cause.ENDPOINT),
        (Response(402, {}, b""), Cause.QUOTA),
    ],
)
def test_a_refused_login_says_whose_fault_it_is(reply, cause):
    with pytest.raises(LoginRefusedError) as refused:
        _login(reply)
    assert refused.value.verdict.cause is cause


def test_a_login_that_may_work_later_is_tried_again():
    with pytest.raises(LoginRefusedError) as refused:
        _login(Response(503))
    assert isinstance(refused.value.verdict, Retry)


def test_without_client_id_and_secret_there_is_no_login():
    assert MinApp("", "").login(Credentials(token="t"), 0.0) is None
