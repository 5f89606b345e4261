"""Scrutinizer's dialect: sentences prove changes, or they do not."""

from __future__ import annotations

from email import message_from_bytes

import orjson
import pytest
from columns import batch_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.errors import ConfigurationError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.targets.scrutinizer import Scrutinizer

TARGET = Scrutinizer("https://scrutinizer.example.org/", "")
A, F, P, U = Status.APPLIED, Status.FAILED, Status.PENDING, Status.UNKNOWN


def reply(added=(), removed=(), status=200):
    return Response(status, {}, orjson.dumps({"data": {"added": list(added), "removed": list(removed)}}))


def judged(changes, response):
    verdict = TARGET.interpret(batch_of(changes), response, 0.0)
    assert isinstance(verdict, Settled), verdict
    return [Status(s) for s in verdict.statuses.tolist()], verdict.details


def test_a_request_is_the_documented_form():
    """Seed 001: multipart, four fields, ids and names as they are."""
    request = TARGET.encode(batch_of([("remove", "USER3", 4), ("add", 13, 2), ("add", 'ü"\\', "G")]), "tok")
    assert (request.method, request.url) == ("POST", "https://scrutinizer.example.org/fcgi/scrut_fcgi.fcgi")
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + request.body).get_payload()
    fields = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}
    assert {name: fields[name] for name in ("authToken", "rm", "action")} == {
        "authToken": b"tok",
        "rm": b"user_api",
        "action": b"membership",
    }
    assert orjson.loads(fields["json"]) == {
        "membership": {
            "add": [{"user_id": 13, "usergroup_id": 2}, {"user_name": 'ü"\\', "usergroup_name": "G"}],
            "remove": [{"user_name": "USER3", "usergroup_id": 4}],
        }
    }


def test_by_position_when_the_counts_agree():
    changes = [("add", 13, 1), ("add", 14, 3), ("remove", 15, 4)]
    statuses, details = judged(
        changes, reply(["User 13 added to usergroup 1", "No such user"], ["User 15 removed from usergroup 4"])
    )
    assert statuses == [A, F, A]
    assert details == {1: "No such user"}


def test_another_order_is_matched_by_ids():
    """And the one that is left takes the one sentence that is left."""
    changes = [("add", 1, 7), ("add", 2, 7), ("add", 3, 7)]
    said = ["User 3 added to usergroup 7", "user 2 is locked", "User 1 added to usergroup 7"]
    assert judged(changes, reply(said)) == ([A, F, A], {1: "user 2 is locked"})


def test_what_cannot_be_told_stays_open():
    """Two errors in another order: neither is booked on anybody."""
    changes = [("add", 1, 7), ("add", 2, 7), ("add", 3, 7)]
    statuses, _ = judged(changes, reply(["error", "User 3 added to usergroup 7", "error"]))
    assert statuses == [P, P, A]
    assert judged(changes, reply(["User 3 added to usergroup 7"]))[0] == [P, P, A]
    assert judged(changes, reply([]))[0] == [P, P, P]


@pytest.mark.parametrize(
    ("change", "said", "status"),
    [
        (("add", 13, 1), "User 13 added to usergroup 1", A),
        (("add", 13, 1), "User 14 added to usergroup 1", P),
        (("add", 13, 1), "User 13 added to usergroup 2", P),
        (("add", 13, 1), "User 13 removed from usergroup 1", P),
        (("add", 13, 1), "User 13 added to usergroup 1 ", P),
        (("add", 13, 1), "User 13 could not be added to usergroup 1", F),
        (("add", 13, 1), "", U),
        (("add", 13, 1), "Benutzer 13 zur Gruppe 1 hinzugefügt", U),
        (("add", 13, 1), "用户 13 已添加到用户组 1", U),
        (("add", 13, 1), "Usuário 13 adicionado no grupo 1", U),
        (("add", "bob", 1), "User 99 added to usergroup 1", A),
        (("add", "bob", 1), "User BOB added to usergroup 1", A),
        (("add", "bob", 1), "User eve added to usergroup 1", P),
        (("add", "bob", 1), "User 99 added to usergroup 2", P),
        (("add", "my user", "my group"), "User my user added to usergroup my group", A),
        (("add", "my user", "my group"), "User my user not added to usergroup my group", P),
        (("add", "John Smith", "Web Team"), "User john smith added to usergroup 12", A),
        (("add", "John Smith", 7), "No such user: John Smith", F),
    ],
)
def test_a_lone_statement(change, said, status):
    """It is the change's success, its reason, or about somebody else."""
    assert judged([change], reply([said]))[0] == [status]


def test_beside_errors_a_success_must_name_its_own_entry():
    """The id of a name is not known, and the order is not documented: so nobody is booked on a guess."""
    changes = [("add", "x", 1), ("add", "y", 1)]
    assert judged(changes, reply(["User 9 added to usergroup 1", "no user x"]))[0] == [P, P]
    assert judged(changes, reply(["User 9 added to usergroup 1", "User 8 added to usergroup 1"]))[0] == [A, A]
    assert judged(changes, reply(["no user x", "User y added to usergroup 1"]))[0] == [F, A]
    assert judged(changes, reply(["User y added to usergroup 1", "no user x"]))[0] == [F, A]
    assert judged(changes, reply([None, {"a": 1}]))[0] == [P, P]


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Response(200, {}, b'{"err":"expired or invalid","details":"invalidToken"}'), Stop),
        (Response(403, {}, b'{"err":"expired","details":"invalidToken"}'), Stop),
        (Response(200, {}, b'{"err":"something else"}'), Split),
        (Response(200, {}, b'{"err":"Too many requests"}'), Retry),
        (Response(500, {}, b'{"err":"oops"}'), Retry),
        (Response(200, {}, b"<html>login</html>"), Retry),
        (Response(200, {}, b'{"data":[]}'), Retry),
        (Response(200, {}, b'{"data":{"added":['), Retry),
        (Response(204, {}, b""), Retry),
        (Response(302, {"location": "https://x/"}, b""), Stop),
        (Response(502, {}, b""), Retry),
        (Response(413, {}, b""), Split),
    ],
)
def test_other_answers(response, kind):
    assert isinstance(TARGET.interpret(batch_of([("add", 1, 2)]), response, 0.0), kind)


def test_an_invalid_token_is_a_matter_of_credentials():
    verdict = TARGET.interpret(
        batch_of([("add", 1, 2)]), Response(200, {}, b'{"err":"x","details":"invalidToken"}'), 0.0
    )
    assert verdict.cause is Cause.CREDENTIALS


_IDS = st.integers(0, 3)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove"]), _IDS, _IDS), min_size=1, max_size=6, unique_by=lambda c: c[1:]
    ),
    st.data(),
)
def test_a_change_is_never_applied_without_its_own_sentence(changes, data):
    """Whatever is said, in whatever order and number."""
    sentences = [
        f"User {u} {v} usergroup {g}" for u in range(4) for g in range(4) for v in ("added to", "removed from")
    ]
    some = st.lists(st.one_of(st.sampled_from(sentences), st.just("error")), max_size=8)
    added, removed = data.draw(some), data.draw(some)
    ordered = sorted(changes, key=lambda c: c[0])
    statuses, _ = judged(changes, reply(added, removed))
    for (op, user, group), status in zip(ordered, statuses, strict=True):
        own = f"User {user} {'added to' if op == 'add' else 'removed from'} usergroup {group}"
        if status is A:
            assert own in (added if op == "add" else removed)
    if added == [f"User {u} added to usergroup {g}" for o, u, g in ordered if o == "add"]:
        assert all(s is A for (o, _, _), s in zip(ordered, statuses, strict=True) if o == "add")


def test_what_it_needs():
    with pytest.raises(ConfigurationError, match="--url"):
        Scrutinizer("", "")
    with pytest.raises(ConfigurationError, match=r"target\.env"):
        Scrutinizer("https://x", "e")
    assert TARGET.login(Credentials(token="t"), 0.0) is None
    assert b'{"membership":{"add":[],"remove":[]}}' in TARGET.probe("t").body
    assert isinstance(TARGET.interpret_probe(reply(), 0.0), Settled)
    assert isinstance(TARGET.interpret_probe(Response(200, {}, b"<html>"), 0.0), Retry)


_BOUNDS = st.one_of(st.integers(0, 20), st.sampled_from([2**63 - 1, -(2**63), -1]))


@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), _BOUNDS, _BOUNDS), min_size=1, max_size=8))
def test_ids_go_out_and_come_back_as_one_text(changes):
    """The fast way over all numbers says what an object per entry says, and takes its own statements back."""
    batch = batch_of(changes)
    body = TARGET.encode(batch, "t").body
    said = orjson.loads(body[body.index(b'{"membership"') : body.rindex(b"\r\n--")])["membership"]
    for action, verb in (("add", "added to"), ("remove", "removed from")):
        wanted = [(user, group) for op, user, group in changes if op == action]
        assert [(entry["user_id"], entry["usergroup_id"]) for entry in said[action]] == wanted
        said[action] = [f"User {user} {verb} usergroup {group}" for user, group in wanted]
    reply = {"data": {"added": said["add"], "removed": said["remove"]}}
    verdict = TARGET.interpret(batch, Response(200, {}, orjson.dumps(reply)), 0.0)
    assert (verdict.statuses == Status.APPLIED).all()
    listed = "added" if said["add"] else "removed"
    reply["data"][listed][-1] += "\n"
    verdict = TARGET.interpret(batch, Response(200, {}, orjson.dumps(reply)), 0.0)
    assert not (verdict.statuses == Status.APPLIED).all()


PAIRS = [("add", 1, 2), ("add", 3, 4), ("remove", 5, 6)]
SAID = st.sampled_from(
    [
        "User 1 added to usergroup 2",
        "User 3 added to usergroup 4",
        "User 5 removed from usergroup 6",
        '"User 1 added to usergroup 2"',
        "no such user",
        "as expected: added",
        "as expected: removed",
        1,
    ]
)


@given(
    st.dictionaries(st.sampled_from(["added", "removed", "note"]), st.lists(SAID, max_size=3), max_size=3),
    st.sampled_from([{}, {"err": "no"}, {"note": ["User 1 added to usergroup 2", "User 3 added to usergroup 4"]}]),
)
def test_a_reply_means_the_same_with_and_without_blanks(data, beside):
    """Only without blanks it may be taken for a plain success without being parsed."""
    content = {"data": data, **beside}
    compact, spaced = orjson.dumps(content), orjson.dumps(content, option=orjson.OPT_INDENT_2)
    one, other = (TARGET.interpret(batch_of(PAIRS), Response(200, {}, body), 0.0) for body in (compact, spaced))
    assert type(one) is type(other)
    if isinstance(one, Settled):
        assert (one.statuses.tolist(), one.details) == (other.statuses.tolist(), other.details)


def test_successes_in_another_place_prove_nothing():
    added = b'"User 1 added to usergroup 2","User 3 added to usergroup 4"'
    removed = b'"User 5 removed from usergroup 6"'
    for body in (
        b'{"data":{"added":[],"note":[%b],"removed":[%b]}}' % (added, removed),
        b'{"data":{"added":["as expected: added"],"note":[%b],"removed":[%b]}}' % (added, removed),
        b'{"data":{"added":["\\u0061s expected: added"],"note":[%b],"removed":[%b]}}' % (added, removed),
        b'{"data":{"added":[%b],"removed":[%b]}}' % (removed, added),
        b'{"note":{"added":[%b],"removed":[%b]},"data":{"added":[],"removed":[]}}' % (added, removed),
    ):
        assert judged(PAIRS, Response(200, {}, body))[0] != [A, A, A], body
    assert judged(PAIRS, Response(200, {}, b'{"data":{"added":[%b],"removed":[%b]}}' % (added, removed)))[0] == [A] * 3


CLASHES = [
    [("add", "bob", 1), ("add", "Bob", 1)],
    [("add", 17, 5), ("add", "17", 5)],
    [("add", 17, 5), ("add", "bob", 5)],
    [("add", "17", 5), ("add", "bob", 5)],
    [("add", 3, "4"), ("add", 3, 4)],
    [("add", "straße", 1), ("add", "STRASSE", 1)],
    [("add", "a added to usergroup b", "c"), ("add", "a", "b added to usergroup c")],
]
"""Entries of which the first one's success may be the second one's."""


@pytest.mark.parametrize("changes", CLASHES)
@pytest.mark.parametrize("order", [1, -1])
def test_a_success_that_two_entries_could_claim_proves_nothing(changes, order):
    _, user, group = changes[0]
    said = [f"User {user} added to usergroup {group}", "no such user"][::order]
    assert judged(changes, reply(said))[0] == [P, P]


@pytest.mark.parametrize("changes", CLASHES)
def test_successes_for_all_of_them_prove_all(changes):
    said = [f"User {user} added to usergroup {group}" for _, user, group in changes]
    assert judged(changes, reply(said))[0] == [A, A]
    assert F not in judged(changes, reply(said[::-1]))[0]


names = st.one_of(st.sampled_from([1, 2, 17, "1", "17", "bob", "Bob", "BOB", "eve"]), st.integers(1, 30))


@given(st.lists(st.tuples(names, names), min_size=1, max_size=8, unique=True), st.data())
def test_no_status_that_the_appliance_contradicts(pairs, data):
    """Whatever the order, whoever is refused, names called by ids or in another case: what is booked is so."""
    changes = [("add", *pair) for pair in pairs]
    refused = data.draw(st.sets(st.integers(0, len(pairs) - 1)))
    ids = {
        name: name if isinstance(name, int) else 1 + index
        for index, name in enumerate(["bob", "Bob", "BOB", "eve", "1", "17"])
    }
    by_id = data.draw(st.booleans())

    def called(name):
        return ids.get(name, name) if by_id else str(name).lower() if data.draw(st.booleans()) else name

    said = [
        f"user {user} is not allowed" if index in refused else f"User {called(user)} added to usergroup {called(group)}"
        for index, (user, group) in enumerate(pairs)
    ]
    said = data.draw(st.permutations(said))
    for index, status in enumerate(judged(changes, reply(said))[0]):
        assert status in ((F, P, U) if index in refused else (A, P, U))


@pytest.mark.parametrize("form", ["\ufeff%s", '{"seconds": NaN, %s'])
def test_what_some_servers_write_instead_of_json(form):
    said = orjson.dumps({"data": {"added": ["User 13 added to usergroup 1"], "removed": []}}).decode()
    body = form % (said if form.startswith("\ufeff") else said[1:])
    assert judged([("add", 13, 1)], Response(200, {}, body.encode()))[0] == [A]
