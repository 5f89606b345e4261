"""The simulated target, asked with requests written by hand from the vendors' pages."""

from __future__ import annotations

import json

import pytest

from batcher.core.errors import ConfigurationError
from batcher.core.rate import Rate
from batcher.simulator.behaviour import Behaviour, Fault, Insists
from batcher.simulator.messages import Arrival
from batcher.simulator.scenario import scenario_of
from batcher.simulator.server import serve
from batcher.simulator.world import World

MINAPP = "/oserve/v1/miniapp/group/membership/"
SCRUTINIZER = "/fcgi/scrut_fcgi.fcgi"
AUTHORIZE = "/api/oauth2/hydrogen/openapi/authorize/"
TOKEN = "/api/oauth2/access_token/"
ADD = [{"op": "add", "path": "/membership", "users": [5, 6], "groups": [53]}]


def patch(world, ops, token="t", now=0.0, method="PATCH"):
    body = ops if isinstance(ops, bytes) else json.dumps(ops).encode()
    return world.handle(Arrival(method, MINAPP, {"authorization": f"Bearer {token}"}, body), now)


def form(world, content, token="t", now=0.0, **fields):
    known = {"authToken": token, "rm": "user_api", "action": "membership", "json": json.dumps(content)} | fields
    parts = "".join(
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in known.items()
    )
    headers = {"content-type": "multipart/form-data; boundary=B"}
    reply = world.handle(Arrival("POST", SCRUTINIZER, headers, (parts + "--B--\r\n").encode()), now)
    return json.loads(reply.body)


def groups(world):
    return world.state()["groups"]


def test_minapp_membership():
    world = World(Behaviour())
    assert patch(world, ADD).status == 204
    assert groups(world) == {"53": [5, 6]}
    assert patch(world, [{"op": "remove", "users": [5], "groups": [53, 54]}]).status == 204
    assert groups(world) == {"53": [6]}
    assert (world.state()["changes"], world.state()["repeats"]) == (4, 1)


@pytest.mark.parametrize(
    "ops",
    [
        b"x",
        {},
        [],
        [5],
        [{"op": "x", "users": [1], "groups": [1]}],
        [{"op": ["add"], "users": [1], "groups": [1]}],
        [{"op": "add", "users": [], "groups": [1]}],
        [{"op": "add", "users": [1]}],
        [{"op": "add", "users": ["1"], "groups": [1]}],
        [{"op": "add", "users": [True], "groups": [1]}],
        [{"op": "add", "path": "/x", "users": [1], "groups": [1]}],
    ],
)
def test_minapp_bad_parameters(ops):
    """400 and an error text, and nothing is applied."""
    world = World(Behaviour())
    reply = patch(world, ops)
    assert reply.status == 400
    assert json.loads(reply.body)["status"] == "error"
    assert groups(world) == {}


@pytest.mark.parametrize(("is_atomic", "held"), [(True, {}), (False, {"1": [5], "2": [5]})])
def test_a_refused_request_is_atomic_or_not(is_atomic, held):
    world = World(Behaviour(bad_users=frozenset({6}), is_atomic=is_atomic))
    ops = [{"op": "add", "users": [5], "groups": [1]}, {"op": "add", "users": [5, 6], "groups": [2]}]
    assert patch(world, ops).status == 400
    assert groups(world) == held


@pytest.mark.parametrize("is_atomic", [True, False])
def test_repeats_can_be_refused(is_atomic):
    world = World(Behaviour(refuses_repeats=True, is_atomic=is_atomic))
    assert patch(world, ADD).status == 204
    assert patch(world, [{"op": "add", "users": [7], "groups": [53]}, *ADD]).status == 400
    assert groups(world) == {"53": [5, 6] if is_atomic else [5, 6, 7]}
    assert patch(world, [{"op": "remove", "users": [9], "groups": [53]}]).status == 400


def test_scrutinizer_membership():
    """Success names ids, also where names were sent; errors stand among the successes."""
    world = World(Behaviour(bad_pairs=frozenset({("eve", 4)})))
    data = form(
        world,
        {
            "membership": {
                "add": [
                    {"user_id": 13, "usergroup_id": 1},
                    {"user_name": "U2", "usergroup_name": "G2"},
                    {"user_id": 1},
                    5,
                ],
                "remove": [{"user_name": "eve", "usergroup_id": 4}],
            }
        },
    )["data"]
    assert data["added"][:2] == ["User 13 added to usergroup 1", "User 1001 added to usergroup 1002"]
    assert "either an id or a name" in data["added"][2]
    assert "must be an object" in data["added"][3]
    assert data["removed"] == ["Error: user eve may not be in usergroup 4"]
    assert groups(world) == {"1": [13], "G2": ["U2"]}


@pytest.mark.parametrize(
    ("content", "fields", "said"),
    [
        ({}, {}, "membership is missing"),
        ([], {}, "membership is missing"),
        ({}, {"action": "prefs"}, "unknown run mode"),
        ({}, {"json": "{"}, "could not be decoded"),
    ],
)
def test_scrutinizer_errors_inside_200(content, fields, said):
    assert said in form(World(Behaviour()), content, **fields)["err"]


def test_scrutinizer_odd_lists_and_entries():
    world = World(Behaviour())
    content = {"membership": {"add": None, "remove": [{"user_id": True, "usergroup_id": 1}]}}
    assert form(world, content)["data"]["added"] == []


def test_tokens():
    """401 at MinApp, which wants the word Bearer; 200 with `invalidToken` at Scrutinizer."""
    world = World(Behaviour(token="good"))
    assert patch(world, ADD, "bad").status == 401
    assert patch(world, ADD, "good").status == 204
    naked = Arrival("PATCH", MINAPP, {"authorization": "good"}, json.dumps(ADD).encode())
    assert world.handle(naked, 0.0).status == 401
    empty = {"membership": {"add": [], "remove": []}}
    assert form(world, empty, "bad")["details"] == "invalidToken"
    assert form(world, empty, "good") == {"data": {"added": [], "removed": []}}


def test_the_login_wants_every_step():
    """Two redirects with cookies, GET without a body, then the code for a token that ends."""
    world = World(Behaviour(client_id="id", client_secret="secret", token_uses=1))

    def post(path, content):
        return world.handle(Arrival("POST", path, {}, json.dumps(content).encode()), 0.0)

    known = {"client_id": "id", "client_secret": "secret"}
    assert json.loads(post(AUTHORIZE, known | {"client_secret": "x"}).body)["status"] == "error"
    first = post(AUTHORIZE, known)
    headers = dict(first.headers)
    cookie = {"cookie": headers["Set-Cookie"].split(";")[0]}
    assert first.status == 302
    assert world.handle(Arrival("GET", headers["Location"], {}), 0.0).status == 400
    assert world.handle(Arrival("GET", headers["Location"], cookie, b"body"), 0.0).status == 400
    second = world.handle(Arrival("GET", headers["Location"], cookie), 0.0)
    assert second.status == 302
    third = world.handle(Arrival("GET", dict(second.headers)["Location"], cookie), 0.0)
    code = json.loads(third.body)["code"]
    grant = known | {"code": code, "grant_type": "authorization_code"}
    assert post(TOKEN, known | {"code": code}).status == 400
    assert post(TOKEN, grant | {"code": [1]}).status == 400
    assert world.handle(Arrival("POST", TOKEN, {}, b"x"), 0.0).status == 400
    token = json.loads(post(TOKEN, grant).body)["access_token"]
    assert post(TOKEN, grant).status == 400
    assert patch(world, ADD, token).status == 204
    assert patch(world, ADD, token).status == 401


def test_addresses_and_methods():
    world = World(Behaviour())
    assert patch(world, ADD, method="POST").status == 405
    assert world.handle(Arrival("GET", "/nowhere", {}), 0.0).status == 404
    assert world.handle(Arrival("GET", "/oserve/v1/user-group/?limit=1", {}), 0.0).status == 200
    assert "requests" in repr(world)


def test_a_strict_limit_by_arrivals():
    world = World(Behaviour(limits=(Rate(2, 1),)))
    replies = [patch(world, ADD, now=now) for now in (0.0, 0.5, 0.9, 1.0)]
    assert [reply.status for reply in replies] == [204, 204, 429, 204]
    assert dict(replies[2].headers)["Retry-After"] == "0.100"
    assert world.state()["limited"] == 1


@pytest.mark.parametrize(
    ("kind", "status", "is_applied"),
    [
        ("503", 503, False),
        ("drop-before", None, False),
        ("drop-after", None, True),
        ("html", 200, True),
        ("cut", None, True),
    ],
)
def test_faults(kind, status, is_applied):
    world = World(Behaviour(faults=(Fault.parse(f"{kind}=1"),)))
    assert patch(world, ADD).status == status
    assert bool(groups(world)) is is_applied


def test_applied_late():
    world = World(Behaviour(faults=(Fault("late", 1.0),), late_seconds=30.0))
    assert patch(world, ADD, now=10.0).status is None
    world.catch_up(39.9)
    assert groups(world) == {}
    world.catch_up(40.0)
    assert groups(world) == {"53": [5, 6]}


@pytest.mark.parametrize("text", ["", "x=1", "600=1", "503=2", "503=x", "drop=0.1"])
def test_what_is_no_fault(text):
    with pytest.raises(ConfigurationError, match="--fault"):
        Fault.parse(text)


@pytest.mark.real_time
async def test_the_journal_survives_a_torn_line(tmp_path):
    """A kill may leave half a line; what was whole is restored, and nothing is glued to it."""
    journal = tmp_path / "journal"
    with journal.open("wb", buffering=0) as file:
        patch(World(Behaviour(), file.write), ADD)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"[true,[7")
    async with serve(Behaviour(), journal=journal) as url:
        assert url.startswith("http://127.0.0.1:")
        assert journal.read_bytes() == whole
        with pytest.raises(ConfigurationError, match="cannot be used"):
            async with serve(Behaviour(), port=int(url.rsplit(":", 1)[1])):
                raise AssertionError("two servers on one port")


def test_a_scenario_changes_with_time_and_with_requests():
    """Each stage keeps what it does not change."""
    scenario = scenario_of(
        {
            "latency_seconds": 0.5,
            "limits": ["2/s", "none"],
            "bad_pairs": [[1, 2], ["a", "b"]],
            "then": [{"after_seconds": 10, "faults": ["503=1"]}, {"after_requests": 2, "faults": [], "is_away": True}],
        },
        Behaviour(seed=3),
    )
    assert scenario.first.bad_pairs == {(1, 2), ("a", "b")}
    assert scenario.first.limits == (Rate(2, 1),)
    assert [stage.behaviour.latency_seconds for stage in scenario.stages] == [0.5, 0.5]
    world = World(scenario.first, stages=scenario.stages)
    assert patch(world, ADD, now=0.0).status == 204
    assert patch(world, ADD, now=10.0).status == 503
    assert not World(scenario.first, stages=scenario.stages).is_away(0.0)
    assert world.is_away(11.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"latency": 1}, "unknown key latency; did you mean"),
        ({"latency_seconds": "slow"}, "latency_seconds"),
        ({"faults": ["nonsense"]}, "expected a status"),
        ({"limits": [5]}, "limits"),
        ({"then": [{"faults": []}]}, "after_seconds or after_requests"),
    ],
)
def test_what_is_no_scenario(table, said):
    with pytest.raises(ConfigurationError, match=said):
        scenario_of(table, Behaviour())


@pytest.mark.parametrize(
    ("insists", "header"),
    [
        (Insists.INTEGER, ("Retry-After", "60")),
        (Insists.DECIMAL, ("Retry-After", "59.500")),
        (Insists.DATE, ("Retry-After", "Thu, 01 Jan 1970 00:17:41 GMT")),
        (Insists.PAST, ("Retry-After", "Wed, 31 Dec 1969 23:16:40 GMT")),
        (Insists.NEGATIVE, ("Retry-After", "-5")),
        (Insists.ABSURD, ("Retry-After", "94608000")),
        (Insists.RESET, ("X-RateLimit-Reset", "1060")),
        (Insists.MISSING, None),
    ],
)
def test_how_it_says_when_to_come_back(insists, header):
    world = World(Behaviour(limits=(Rate(1, 60),), insists=insists), utc_offset=1000.0)
    patch(world, ADD, now=0.0)
    reply = patch(world, ADD, now=0.5)
    assert reply.status == 429
    assert reply.headers == ((header,) if header else ())


def test_a_busy_target_queues():
    world = World(Behaviour(latency_seconds=1.0, capacity=2, seconds_per_change=0.5))
    assert [patch(world, ADD, now=0.0).delay for _ in range(4)] == [2.0, 2.0, 4.0, 4.0]
