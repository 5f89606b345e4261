"""Another target needs one file, its server another, and an entry point for each: nothing else knows of it."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path
from urllib.parse import unquote

import clubs
import orjson
import pytest
from columns import columns_of
from harness import Play, Target, final_state, settings_for
from hypothesis import given
from hypothesis import strategies as st

from batcher import targets
from batcher.core.batch import Batch, Op, Shape
from batcher.core.errors import ConfigurationError
from batcher.core.model import Action
from batcher.simulator import dialect
from batcher.simulator.behaviour import Behaviour, Fault


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As their entry points would have it."""
    point, other = (
        EntryPoint("clubs", "clubs:Clubs", targets.GROUP),
        EntryPoint("clubs", "clubs_server:ClubsServer", dialect.GROUP),
    )
    for module, entry in ((targets, point), (dialect, other)):
        known = {**module._installed(), "clubs": entry}
        monkeypatch.setattr(module, "_installed", lambda known=known: known)


def sent(target):
    """Each request: the club, the action, and the users."""
    found = []
    for _, method, body in target.sends:
        if method == "POST":
            ((action, users),) = orjson.loads(body).items()
            found.append((action, users))
    return found


def changes_of(rows):
    """Every kind of id that is a text: digits, zeros in front, a slash, none of ASCII."""
    users = ["17", "007", "a/b", "ü", "e@x.org", "x y", *[f"u{number}" for number in range(20)]]
    return [
        ("remove" if row % 7 == 3 else "add", users[row * 5 % len(users)], f"club {row * 3 % 11}")
        for row in range(rows)
    ]


@pytest.mark.parametrize("rows", [1, 20, 400])
def test_a_run_brings_each_group_by_itself(tmp_path, rows):
    target, changes = Target(), changes_of(rows)
    report = Play(tmp_path, target, settings_for("clubs")).apply(changes)
    assert report.exit_code == 0
    assert target.members() == final_state(changes)
    wanted = {(user, group): op for op, user, group in changes}
    least = Counter((op, group) for (_, group), op in wanted.items())
    bounds = {"add": 20, "remove": 5}
    assert len(target.sends) == sum(-(-count // bounds[op]) for (op, _), count in least.items())
    assert all(len(users) <= bounds[action] for action, users in sent(target))


def test_a_group_that_is_not_there_fails_alone(tmp_path):
    target = Target()
    changes = [("add", f"u{number}", group) for number in range(30) for group in ("open", "closed 1")]
    report = Play(tmp_path, target, settings_for("clubs")).apply(changes)
    assert report.exit_code == 3
    assert {group for _, group in target.members()} == {"open"}
    assert len(target.sends) == 4  # thirty users, twenty at once, each club by itself


def test_bad_users_stand_alone_and_trouble_is_borne(tmp_path):
    target = Target(
        Behaviour(bad_users=frozenset({"u3", "u11"}), faults=(Fault("503", 0.1), Fault("drop-after", 0.1)), seed=3)
    )
    changes = [("add", f"u{number}", f"club {number % 3}") for number in range(60)]
    play = Play(tmp_path, target, settings_for("clubs"))
    play.apply(changes)
    assert [line for line, status in play.statuses() if status == "failed"] == [4, 12]
    assert target.members() == final_state(changes, lambda user, _: user in {"u3", "u11"})


def test_requests_of_a_group_follow_each_other(tmp_path):
    """Whatever the setting says: the target rewrites whole groups."""
    target = Target(Behaviour(latency_seconds=1.0))
    changes = [("add", f"u{number}", "the only club") for number in range(100)]
    Play(tmp_path, target, settings_for("clubs", target_order_by="pair", rate_max_in_flight=8)).apply(changes)
    times = [at for at, _, _ in target.sends]
    assert target.highest_in_flight == 1
    assert times == sorted(times)
    assert len(times) == 5


def test_numbers_in_a_document_are_no_texts(tmp_path):
    path = tmp_path / "changes.json"
    path.write_text('[{"op": "add", "user_id": "17", "group_id": "g"}, {"op": "add", "user_id": 17, "group_id": "g"}]')
    play = Play(tmp_path, Target(), settings_for("clubs"))
    report = play.apply_files(path)
    assert [status for _, status in play.statuses()] == ["applied", "rejected"]
    assert report.exit_code == 3


def test_columns_of_ids_hold_texts_as_written(tmp_path):
    path = tmp_path / "changes.csv"
    path.write_text("op,user_id,group_id\nadd,007,1\nadd,7,01\n")
    target = Target()
    Play(tmp_path, target, settings_for("clubs")).apply_files(path)
    assert target.members() == {("007", "1"), ("7", "01")}


def test_limits_without_a_meaning_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="max_groups"):
        Play(tmp_path, Target(), settings_for("clubs", limits_max_groups=3)).apply([("add", "a", "b")])


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20))
def test_a_name_is_a_segment_and_nothing_else(name):
    (segment,) = (
        clubs.Clubs("http://127.0.0.1", "")
        .encode(_batch(name), "t")
        .url.removeprefix("http://127.0.0.1/clubs/")
        .split("/")[:-1]
    )
    assert unquote(segment) == name


def _batch(name):
    columns = columns_of([("add", "u", name)])
    op = Op(Action.ADD, columns.user.codes, columns.group.codes, columns.line * 0, Shape.PRODUCT)
    return Batch(1, 0, (op,), columns.user, columns.group)


def test_it_is_as_short_as_is_said():
    lines = (Path(clubs.__file__)).read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 60
