"""SCIM 2.0: what is sent, what replies mean, and whole runs against a service with each of the known traps."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import orjson
import pytest
from columns import columns_of
from harness import Play, Target, final_state, settings_for
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Batch, Limits
from batcher.core.errors import ConfigurationError, OversizedReplyError
from batcher.core.http import Response
from batcher.core.lookups import Side
from batcher.core.pack import pack
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.ledger.reader import LedgerReader
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits
from batcher.targets import create
from batcher.targets.scim import Scim
from batcher.targets.scim_directory import ScimDirectory
from batcher.targets.scim_profiles import PROFILES

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
IDS = [f"2819c223-7f76-453a-919d-{number:012x}" for number in range(40)]
SCIM = Scim("https://example.org/scim/v2", "")


def batches(changes, target=SCIM, limits=None):
    columns = columns_of(changes)
    ops = pack(columns, np.arange(len(changes)), limits or target.limits, target.wire)
    return [Batch(number, 0, part, columns.user, columns.group) for number, part in enumerate(ops)]


def batch(op, users, group="g1"):
    (found,) = batches([(op, user, group) for user in users])
    return found


def error(status, detail, kind=""):
    content = {"schemas": [ERROR], "status": str(status), "detail": detail} | ({"scimType": kind} if kind else {})
    return Response(status, {}, orjson.dumps(content))


def group_with(*members, number="g1"):
    listed = [{"value": member} for member in members]
    return Response(200, {}, orjson.dumps({"schemas": [GROUP], "id": number, "members": listed}))


def test_members_are_added_by_one_op_and_removed_by_a_filter_each():
    added = SCIM.encode(batch("add", ["a", "b"], "g/1"), "t")
    assert (added.method, added.url) == ("PATCH", "https://example.org/scim/v2/Groups/g%2F1")
    assert json.loads(added.body) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "add", "path": "members", "value": [{"value": "a"}, {"value": "b"}]}],
    }
    removed = json.loads(SCIM.encode(batch("remove", ["a", "b"]), "t").body)
    assert removed["Operations"] == [
        {"op": "remove", "path": 'members[value eq "a"]'},
        {"op": "remove", "path": 'members[value eq "b"]'},
    ]
    assert added.headers["Content-Type"] == "application/scim+json"
    assert added.headers["User-Agent"]


@given(
    st.sampled_from(["add", "remove"]),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1, unique=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_any_text_is_an_id_and_nothing_else(op, users, group):
    """Quotes, backslashes, brackets and slashes do not lead out of the filter or the path."""
    sent, said = [], []
    for part in batches([(op, user, group) for user in users]):
        request = SCIM.encode(part, "t")
        assert unquote(request.url.removeprefix("https://example.org/scim/v2/Groups/")) == group
        assert "/" not in request.url.removeprefix("https://example.org/scim/v2/Groups/")
        for operation in json.loads(request.body)["Operations"]:
            if op == "add":
                said += [member["value"] for member in operation["value"]]
            else:
                match = re.fullmatch(r"members\[value eq (.*)\]", operation["path"], re.DOTALL)
                assert match is not None
                said.append(json.loads(match[1]))
                assert "value" not in operation
        sent += part.user.values(part.ops[0].users)
    assert said == sent
    assert sorted(said) == sorted(users)


@given(
    st.lists(st.text('a"\\\x01é', min_size=1, max_size=12), min_size=1, max_size=40, unique=True),
    st.integers(300, 1200),
    st.sampled_from(["add", "remove"]),
)
def test_no_body_is_larger_than_its_bound(users, most, op):
    limits = replace(SCIM.limits, max_bytes=most, max_changes=1000, max_removals=1000)
    for part in batches([(op, user, "g") for user in users], limits=limits):
        assert len(part) == 1 or len(SCIM.encode(part, "t").body) <= most


def test_ids_that_are_escaped_twice_are_counted_as_such():
    for part in batches(
        [("remove", '"' * 100 + str(number), "g") for number in range(40)],
        limits=replace(SCIM.limits, max_bytes=2000, max_removals=1000),
    ):
        assert len(SCIM.encode(part, "t").body) <= 2000


def test_a_group_is_never_emptied():
    """No op removes without naming who."""
    for profile in PROFILES:
        target = create("scim", "https://example.org", "", profile)
        for part in batches([("remove", user, group) for user in IDS[:5] for group in ("g", "h")], target):
            for operation in json.loads(target.encode(part, "t").body)["Operations"]:
                assert operation["path"].startswith("members[value eq ") or operation["value"]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_bound_additions_and_removals_apart(profile):
    target, known = create("scim", "https://example.org", "", profile), PROFILES[profile]
    for op, most in (("add", known.most_added), ("remove", known.most_removed)):
        for count in {most - 1, most, most + 1} - {0}:
            made = batches([(op, f"u{number}", "g") for number in range(count)], target)
            assert [len(part) for part in made] == [most] * (count // most) + [count % most] * bool(count % most)


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'awss'; known are atlassian, aws, django-scim2, entra"):
        create("scim", "https://example.org", "", "awss")
    with pytest.raises(ConfigurationError, match=r"target\.profile does not apply to minapp"):
        create("minapp", "https://example.org", "", "aws")
    with pytest.raises(ConfigurationError, match=r"target\.query does not apply to minapp"):
        create("minapp", "https://example.org", "", "", {"a": "b"})


def test_query_parameters_are_those_of_the_profile_unless_they_are_given():
    def url(**query):
        return create("scim", "https://example.org", "", "ibm-verify", query).encode(batch("add", ["a"]), "t").url

    assert url() == "https://example.org/Groups/g1?notifyType=NONE"
    assert url(notifyType="EMAIL", x="a b&c") == "https://example.org/Groups/g1?notifyType=EMAIL&x=a+b%26c"


def verdict(found):
    if isinstance(found, Settled):
        return [Status(status).label for status in found.statuses.tolist()]
    return found


@pytest.mark.parametrize(
    ("op", "reply", "expected"),
    [
        ("add", Response(204), ["applied", "applied"]),
        ("add", group_with(IDS[0], IDS[1], IDS[9]), ["applied", "applied"]),
        ("add", group_with(IDS[0], IDS[9]), ["applied", "failed"]),
        ("add", group_with(IDS[9]), ["failed", "failed"]),
        ("add", group_with(), ["failed", "failed"]),
        ("add", group_with("alice", "bob"), ["unknown", "unknown"]),
        ("remove", group_with("alice", "bob"), ["unknown", "unknown"]),
        ("remove", group_with(IDS[9]), ["applied", "applied"]),
        ("remove", group_with(IDS[1]), ["applied", "failed"]),
        ("remove", group_with(), ["applied", "applied"]),
        ("add", Response(200, {}, orjson.dumps({"schemas": [GROUP], "id": "g1"})), ["applied", "applied"]),
        ("add", Response(200, {}, orjson.dumps({"id": "g1", "members": [*IDS[:2], None, 5]})), ["applied", "applied"]),
        ("add", Response(200, is_cut=True), ["applied", "applied"]),
        ("add", error(404, "no such resource"), ["failed", "failed"]),
        ("add", error(400, "a maximum of 1000 members per group is allowed"), ["failed", "failed"]),
    ],
)
def test_a_reply_settles_what_it_shows(op, reply, expected):
    found = SCIM.interpret(batch(op, IDS[:2]), reply, 0.0)
    assert verdict(found) == expected
    assert all(found.details[place] for place, status in enumerate(expected) if status != "applied")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Response(200, {}, b"<html>Please sign in</html>"), Retry),
        (Response(200, {}, b""), Retry),
        (Response(200, {}, b"[]"), Retry),
        (Response(200, {}, b'{"id": "another", "members": []}'), Retry),
        (error(200, "odd"), Retry),
        (Response(202, {}, b""), Retry),
        (error(400, "User 7 does not exist", "invalidValue"), Split),
        (Response(400, {}, b"<html>"), Split),
        (error(400, "1 validation error detected: Member must have length less than or equal to 100"), Split),
        (error(409, "conflict", "uniqueness"), Split),
        (error(413, "too large"), Split),
        (error(412, "changed meanwhile"), Retry),
        (error(429, "slow down"), Retry),
        (error(500, "oops"), Retry),
        (error(501, "not implemented"), Stop),
        (error(401, "no"), Stop),
        (Response(404, {}, b"<html>"), Stop),
    ],
)
def test_other_replies_settle_nothing(reply, kind):
    found = SCIM.interpret(batch("add", IDS[:2]), reply, 0.0)
    assert isinstance(found, kind)
    if reply.status == 412:
        assert not found.lost
    if reply.status == 429:
        assert found.back_pressure
    if reply.status == 501:
        assert found.cause is Cause.UNSUPPORTED


def test_replies_of_services_that_list_no_members_prove_nothing():
    target = create("scim", "https://example.org", "", "aws")
    assert verdict(target.interpret(batch("add", IDS[:2]), group_with(), 0.0)) == ["applied", "applied"]


def test_a_refusal_is_told_in_the_services_words():
    found = SCIM.interpret(batch("add", ["a"]), error(400, "User 7 does not exist", "invalidValue"), 0.0)
    assert found.reason == "400: invalidValue: User 7 does not exist"


def test_a_probe_is_answered_with_a_list():
    assert isinstance(SCIM.interpret_probe(Response(200, {}, b'{"totalResults": 0}'), 0.0), Settled)
    assert not isinstance(SCIM.interpret_probe(Response(200, {}, b'{"id": "x"}'), 0.0), Settled)
    assert not isinstance(SCIM.interpret_probe(Response(500, {}, b'{"totalResults": 0}'), 0.0), Settled)


# Whole runs.


def patches(target):
    return [body for _, method, body in target.sends if method == "PATCH"]


def changes_of(rows, groups=7):
    return [
        ("remove" if row % 5 == 3 else "add", IDS[row * 7 % len(IDS)], f"group-{row * 3 % groups}")
        for row in range(rows)
    ]


@pytest.mark.parametrize("rows", [1, 100, 700])
def test_the_fewest_requests_bring_the_last_word(tmp_path, rows):
    target, changes = Target(), changes_of(rows)
    report = Play(tmp_path, target, settings_for("scim")).apply(changes)
    assert report.exit_code == 0
    assert target.members() == final_state(changes)
    least = Counter((op, group) for (_, group), op in {(user, group): op for op, user, group in changes}.items())
    bounds = {"add": 100, "remove": 20}
    assert len(patches(target)) == sum(-(-count // bounds[op]) for (op, _), count in least.items())


TRAPS = {
    "as the RFCs say": ScimTraits(),
    "200 with the group": ScimTraits(returns_groups=True),
    "listed twice": ScimTraits(returns_groups=True, lists_twice=True),
    "refusals without a name": ScimTraits(names_the_refused=False),
    "HTML errors": ScimTraits(says_html=True),
    "drops whom it does not know": ScimTraits(returns_groups=True, drops_unknown=True),
    "loses updates": ScimTraits(write_seconds=0.7),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("lines", [True, False])
def test_bad_users_fail_alone_whatever_the_service_is_like(tmp_path, trap, lines):
    bad = {IDS[3], IDS[11]}
    behaviour = Behaviour(bad_users=frozenset(bad), scim=TRAPS[trap], latency_seconds=0.7)
    target, changes = Target(behaviour, offers_lines=lines), [("add", user, "g") for user in IDS]
    changes += [("add", user, "h") for user in IDS[:9]] + [("remove", user, "i") for user in IDS[20:]]
    play = Play(tmp_path, target, settings_for("scim", rate_max_in_flight=8))
    assert play.apply(changes).exit_code == 3
    failed = [changes[line - 1] for line, status in play.statuses() if status == "failed"]
    assert sorted(failed) == sorted(change for change in changes if change[1] in bad and change[0] == "add")
    assert target.members() == final_state(changes, lambda user, _: user in bad)


@pytest.mark.parametrize(("status", "expected"), [(200, "applied"), (500, "unknown")])
def test_a_reply_that_is_too_large_to_be_read_counts_by_its_status(tmp_path, status, expected):
    """A group of 87,000 members comes back with 8 MiB."""

    def answer(_, request):
        if request.method == "PATCH":
            raise OversizedReplyError(status)

    target = Target(answer=answer)
    settings = settings_for("scim", retry_max_attempts=2, retry_base_seconds=0.1, retry_grace_seconds=1.0)
    play = Play(tmp_path, target, settings)
    play.apply([("add", "u", "g")])
    assert [found for _, found in play.statuses()] == [expected]


def test_a_full_group_fails_its_additions_at_once(tmp_path):
    target = Target(Behaviour(scim=ScimTraits(capacity=30)))
    changes = [("add", user, "full") for user in IDS] + [("add", user, "free") for user in IDS[:20]]
    play = Play(tmp_path, target, settings_for("scim"))
    assert play.apply(changes).exit_code == 3
    assert Counter(status for _, status in play.statuses()) == {"failed": 40, "applied": 20}
    assert len(patches(target)) == 2


def test_a_group_that_is_not_there_fails_alone(tmp_path):
    target = Target(Behaviour(bad_groups=frozenset({"gone"})))
    play = Play(tmp_path, target, settings_for("scim"))
    assert play.apply([("add", user, group) for user in IDS for group in ("here", "gone")]).exit_code == 3
    assert {group for _, group in target.members()} == {"here"}
    assert len(patches(target)) == 2


def test_a_form_that_is_not_supported_stops_the_run_and_blames_no_change(tmp_path):
    target = Target(Behaviour(scim=ScimTraits(refuses_filters=True, takes_arrays=True)))
    changes = [("add", user, "g") for user in IDS[:20]] + [("remove", user, "g") for user in IDS[20:]]
    play = Play(tmp_path, target, settings_for("scim"))
    report = play.apply(changes)
    assert (report.stopped, report.exit_code) == (Cause.UNSUPPORTED, 6)
    assert report.changes[Status.FAILED] == 0
    other = Play(tmp_path / "other", target, settings_for("scim", target_profile="django-scim2"))
    other.folder.mkdir()
    assert other.apply(changes).exit_code == 0
    assert target.members() == final_state(changes)


def test_a_service_that_lists_names_leaves_it_open_what_happened(tmp_path):
    target = Target(Behaviour(scim=ScimTraits(returns_groups=True, lists_user_names=True)))
    play = Play(tmp_path, target, settings_for("scim"))
    assert play.apply([("add", IDS[0], "g"), ("remove", IDS[1], "h")]).exit_code == 3
    assert {status for _, status in play.statuses()} <= {"unknown", "failed", "applied"}
    assert ("unknown") in {status for _, status in play.statuses()}


@pytest.mark.parametrize("seed", range(6))
def test_trouble_of_every_kind_is_borne(tmp_path, seed):
    faults = tuple(
        Fault(kind, 0.05) for kind in ("503", "412", "drop-before", "drop-after", "html", "truncated", "late")
    )
    behaviour = Behaviour(faults=faults, seed=seed, latency_seconds=0.3, scim=ScimTraits(returns_groups=seed % 2 == 0))
    target, changes = Target(behaviour), changes_of(900, groups=23)
    play = Play(tmp_path, target, settings_for("scim", limits_max_changes=9))
    assert play.apply(changes).exit_code == 0
    assert target.members() == final_state(changes)


@pytest.mark.parametrize("seed", range(8))
def test_a_late_request_does_not_undo_what_others_have_written(tmp_path, seed):
    """It reads the group when it arrives, and writes it back half a second later."""
    behaviour = Behaviour(
        faults=(Fault("late", 0.2),),
        late_seconds=3.0,
        latency_seconds=0.5,
        seed=seed,
        scim=ScimTraits(write_seconds=0.5),
    )
    target, changes = Target(behaviour), changes_of(120, groups=3)
    settings = settings_for("scim", limits_max_changes=5, retry_grace_seconds=10.0, retry_base_seconds=0.1)
    play = Play(tmp_path, target, settings)
    assert play.apply(changes).exit_code == 0
    target.world.catch_up(play.seconds + 100)
    assert target.members() == final_state(changes)


def test_requests_of_a_group_follow_each_other(tmp_path):
    target = Target(Behaviour(latency_seconds=1.0, scim=ScimTraits(write_seconds=1.0)))
    changes = [("add", user, group) for user in IDS for group in ("one", "two", "three")]
    settings = settings_for("scim", limits_max_changes=5, rate_max_in_flight=8)
    assert Play(tmp_path, target, settings).apply(changes).exit_code == 0
    assert target.highest_in_flight == 3
    assert target.members() == final_state(changes)


def test_the_least_requests_of_a_hundred_thousand_pairs():
    """The goal: Σ per group and action ⌈n / bound⌉."""
    rng = np.random.default_rng(5)
    rows = [
        (f"u{user}", f"g{group}")
        for user, group in zip(rng.integers(0, 20_000, 100_000), rng.integers(0, 300, 100_000), strict=True)
    ]
    changes = [("add", *pair) for pair in dict.fromkeys(rows)]
    sizes = Counter(group for _, _, group in changes)
    limits = Limits(
        **{**{name: getattr(SCIM.limits, name) for name in Limits.__dataclass_fields__}, "max_bytes": 1 << 20}
    )
    assert len(batches(changes, limits=limits)) == sum(-(-count // 100) for count in sizes.values())


def test_tokens_are_got_by_client_credentials_and_renewed_by_one(tmp_path):
    """Several requests at once are refused with the old token; one of them gets the new one."""
    behaviour = Behaviour(client_id="a client", client_secret="s3:cret", token_uses=5, latency_seconds=0.2)
    target = Target(behaviour)
    known = Credentials(
        client_id="a client", client_secret="s3:cret", token_url="http://127.0.0.1:1/oauth2/token", scope="scim"
    )
    changes = [("add", user, f"group-{number % 9}") for number, user in enumerate(IDS)]
    play = Play(tmp_path, target, settings_for("scim", limits_max_changes=2), known)
    assert play.apply(changes).exit_code == 0
    assert target.members() == final_state(changes)
    posts = [body for _, method, body in target.sends if method == "POST"]
    assert set(posts) == {b"grant_type=client_credentials&scope=scim"}
    assert len(posts) <= len(target.sends) / 5 + 1


def test_refused_client_credentials_stop_the_run(tmp_path):
    known = Credentials(client_id="a", client_secret="wrong", token_url="http://127.0.0.1:1/oauth2/token")
    target = Target(Behaviour(client_id="a", client_secret="right"))
    report = Play(tmp_path, target, settings_for("scim"), known).apply([("add", "u", "g")])
    assert (report.stopped, report.exit_code) == (Cause.CREDENTIALS, 4)
    assert "wrong" not in report.reason


def test_what_the_service_announces_is_heeded_and_kept(tmp_path):
    target = Target(Behaviour(scim=ScimTraits(refuses_patch=True)))
    report = Play(tmp_path, target, settings_for("scim")).apply([("add", "u", "g")])
    assert (report.stopped, report.exit_code) == (Cause.UNSUPPORTED, 6)
    assert not patches(target)
    for name, silent in (("silent", True), ("open", False)):
        folder = tmp_path / name
        folder.mkdir()
        play = Play(folder, Target(Behaviour(scim=ScimTraits(is_silent=silent))), settings_for("scim"))
        assert play.apply([("add", "u", "g")]).exit_code == 0
        with LedgerReader(play.ledger) as reader:
            assert ("announced" in reader.facts()) is not silent


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=3),
        lambda inner: st.dictionaries(
            st.sampled_from(["patch", "bulk", "filter", "supported", "maxResults", "x"]), inner, max_size=4
        ),
        max_leaves=9,
    )
)
def test_an_announcement_may_be_anything(content):
    found = SCIM.announced(Response(200, {}, orjson.dumps(content)))
    assert found is None or found.most_listed is None or found.most_listed > 0


# Bulk requests.

BULK = create("scim", "https://example.org", "", bulk=True)
RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"


def bulk_batch(*parts):
    changes = [("add", user, group) for group, users in parts for user in users]
    (found,) = batches(changes, BULK)
    return found


def bulk_reply(*results, ids=True):
    operations = [{"method": "PATCH"} | ({"bulkId": str(number)} if ids else {}) | result for number, result in results]
    return Response(200, {}, orjson.dumps({"schemas": [RESPONSE], "Operations": operations}))


def test_a_bulk_request_has_an_operation_for_each_group():
    request = BULK.encode(bulk_batch(("g/1", IDS[:2]), ("h", IDS[:1])), "t")
    assert (request.method, request.url) == ("POST", "https://example.org/Bulk")
    first, second = json.loads(request.body)["Operations"]
    assert (first["method"], first["path"], first["bulkId"]) == ("PATCH", "/Groups/g%2F1", "0")
    assert first["data"] == json.loads(SCIM.encode(batch("add", IDS[:2]), "t").body)
    assert (second["path"], second["bulkId"]) == ("/Groups/h", "1")


REFUSED = {"schemas": [ERROR], "detail": "User does not exist", "status": "400"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (bulk_reply((0, {"status": "204"}), (1, {"status": "200"})), ["applied", "applied", "applied"]),
        (bulk_reply((0, {"status": {"code": "200"}}), (1, {"status": 204})), ["applied", "applied", "applied"]),
        (bulk_reply((1, {"status": "204"})), ["pending", "pending", "applied"]),
        (bulk_reply((0, {"status": "204"}), ids=False), ["applied", "applied", "pending"]),
        (
            bulk_reply((0, {"status": "204"}), (1, {"status": "204"}), (2, {"status": "204"}), ids=False),
            ["pending"] * 3,
        ),
        (
            bulk_reply((0, {"status": "404", "response": REFUSED}), (1, {"status": "204"})),
            ["failed", "failed", "applied"],
        ),
        (
            bulk_reply((0, {"status": "400", "response": REFUSED}), (1, {"status": "204"})),
            ["pending", "pending", "applied"],
        ),
        (
            bulk_reply((0, {"status": "204"}), (1, {"status": "400", "response": REFUSED})),
            ["applied", "applied", "failed"],
        ),
        (bulk_reply((0, {"status": "204"}), (1, {"status": "429"})), ["applied", "applied", "pending"]),
        (
            bulk_reply((0, {"status": "204", "location": "/Groups/h"}), (1, {"status": "204"})),
            ["pending", "pending", "applied"],
        ),
        (bulk_reply((0, {"status": "nonsense"}), (1, {})), ["pending"] * 3),
        (bulk_reply(), ["pending"] * 3),
    ],
)
def test_results_of_a_bulk_request_are_those_of_its_operations(reply, expected):
    found = BULK.interpret(bulk_batch(("g", IDS[:2]), ("h", IDS[:1])), reply, 0.0)
    assert verdict(found) == expected


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (bulk_reply((0, {"status": "429"}), (1, {"status": "503"})), Retry),
        (Response(200, {}, b"{}"), Retry),
        (Response(501, {}, b""), Stop),
        (error(413, "too many operations"), Split),
        (error(500, "oops"), Retry),
    ],
)
def test_a_bulk_request_as_a_whole(reply, kind):
    assert isinstance(BULK.interpret(bulk_batch(("g", IDS[:2]), ("h", IDS[:1])), reply, 0.0), kind)


BULK_TRAITS = {
    "ids": ScimTraits(bulk=1000),
    "few at once": ScimTraits(bulk=3),
    "no ids": ScimTraits(bulk=1000, forgets_bulk_ids=True),
    "stops after an error": ScimTraits(bulk=1000, bulk_errors=1),
    "stops and has no ids": ScimTraits(bulk=1000, bulk_errors=1, forgets_bulk_ids=True),
    "groups": ScimTraits(bulk=1000, returns_groups=True, drops_unknown=True),
}


@pytest.mark.parametrize("traits", BULK_TRAITS)
@pytest.mark.parametrize("seed", range(3))
def test_bulk_runs_end_like_others(tmp_path, traits, seed):
    bad = {IDS[3], IDS[11]}
    faults = tuple(Fault(kind, 0.05) for kind in ("503", "429", "drop-before", "drop-after", "late")) if seed else ()
    behaviour = Behaviour(
        bad_users=frozenset(bad), bad_groups=frozenset({"group-5"}), faults=faults, seed=seed, scim=BULK_TRAITS[traits]
    )
    target, changes = Target(behaviour), changes_of(500, groups=19)
    changes = [(op, user, group) for op, user, group in changes if op == "add" or user not in bad]
    play = Play(tmp_path, target, settings_for("scim", target_bulk=True, limits_max_users=4))
    assert play.apply(changes).exit_code == 3
    target.world.catch_up(play.seconds + 100)
    assert target.members() == final_state(changes, lambda user, group: user in bad or group == "group-5")


def test_bulk_requests_are_only_made_where_they_are_announced(tmp_path):
    target = Target()
    report = Play(tmp_path, target, settings_for("scim", target_bulk=True)).apply([("add", "u", "g")])
    assert (report.stopped, report.exit_code) == (Cause.UNSUPPORTED, 6)
    assert "bulk" in report.reason
    assert [method for _, method, _ in target.sends] == ["GET"]


def test_fewer_requests_bring_many_small_groups(tmp_path):
    target = Target(Behaviour(scim=ScimTraits(bulk=100)))
    changes = [("add", user, f"group-{number}") for number in range(200) for user in IDS[:2]]
    assert Play(tmp_path, target, settings_for("scim", target_bulk=True)).apply(changes).exit_code == 0
    assert target.members() == final_state(changes)
    assert [method for _, method, _ in target.sends].count("POST") == 2


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.text("abc-._~012", min_size=1, max_size=30)),
        min_size=1,
        max_size=30,
        unique_by=lambda part: part[1],
    ),
    st.integers(1000, 4000),
    st.sampled_from(["add", "remove"]),
)
def test_no_bulk_request_is_larger_than_its_bound(groups, most, op):
    changes = [(op, user, group) for count, group in groups for user in IDS[:count]]
    limits = replace(BULK.limits, max_bytes=most, max_ops=7)
    made = batches(changes, BULK, limits)
    assert sum(map(len, made)) == len(changes)
    for part in made:
        assert len(part.ops) <= 7
        assert len(part) == 1 or len(BULK.encode(part, "t").body) <= most


def test_a_user_without_an_address_counts_in_a_list():
    """Or the list would never be complete, and the next page begin too early."""
    directory = ScimDirectory("http://127.0.0.1", {"user": "emails.value"})
    users = [{"id": "1", "emails": []}, {"id": "2"}, {"id": "3", "emails": [{"value": "c@x"}, {"value": "d@x"}]}]
    reply = Response(200, {}, orjson.dumps({"totalResults": 3, "Resources": users}))
    listing = directory.listing(Side.USER, reply)
    assert listing.entries == (("", "1"), ("", "2"), ("c@x", "3"), ("d@x", "3"))
    assert (listing.count, listing.total, listing.next) == (3, 3, "")
