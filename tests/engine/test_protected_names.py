"""Whoever a protected name belongs to at the target is protected, also if the input has ids."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from harness import Play, Target, settings_for

from batcher.core.errors import GuardrailError, NotBegunError
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits, Stage
from batcher.simulator.scim_directory import id_of


def user(number):
    return f"user{number}@example.org"


def play(folder, traits, *, stages=(), faults=(), **settings):
    behaviour = Behaviour(scim=traits, faults=faults)
    return Play(folder, Target(behaviour, stages=stages), settings_for("scim", **settings))


def applied(run, known):
    path = run.folder / "ids.csv"
    path.write_text(f"op,user_id,group_id\nadd,{known},g\n")
    return run.apply_files(path)


def refused(run, known):
    with pytest.raises(GuardrailError, match="protected"):
        applied(run, known)
    assert not run.target.members()


MANY = ScimTraits(population=250)


@pytest.mark.parametrize("pattern", [user(1), "user1@*", user(1).upper(), f" {user(1)} ", "USER1@example.org"])
def test_a_name_that_two_have_protects_both(tmp_path, pattern):
    traits = replace(MANY, ambiguous=frozenset({user(1)}))
    for number, known in enumerate((id_of("Users", user(1)), id_of("Users", f"{user(1)}, the other one"))):
        (tmp_path / str(number)).mkdir()
        refused(play(tmp_path / str(number), traits, guard_protected_users=[pattern]), known)


@pytest.mark.parametrize("pattern", ["user101@*", user(101)])
def test_who_moves_to_another_page_while_the_list_is_read_is_protected(tmp_path, pattern):
    """Somebody is deleted after the first page, so that the list is one entry shorter."""
    later = Behaviour(scim=MANY, bad_users=frozenset({user(5)}))
    stages = [Stage(later, after_requests=2)]
    refused(play(tmp_path, MANY, stages=stages, guard_protected_users=[pattern, "nobody*"]), id_of("Users", user(101)))


def test_a_name_in_the_input_whose_entry_moves_is_found(tmp_path):
    later = Behaviour(scim=MANY, bad_users=frozenset({user(5)}))
    run = play(tmp_path, MANY, stages=[Stage(later, after_requests=2)])
    path = tmp_path / "names.csv"
    path.write_text("op,user_name,group_id\n" + "".join(f"add,{user(number)},g\n" for number in range(98, 105)))
    assert run.apply_files(path).exit_code == 0
    assert len(run.target.members()) == 7


def test_a_protected_name_is_asked_for_anew(tmp_path):
    """What another run found last week is not relied on: the name may belong to somebody else by now."""
    run = play(tmp_path, MANY, guard_protected_users=[user(1)])
    run.state = tmp_path / "state"
    refused(run, id_of("Users", user(1)))
    run.target.world.behave(Behaviour(scim=replace(MANY, generation=1)))
    run.ledger.unlink(missing_ok=True)
    refused(run, id_of("Users", user(1), 1))


def test_a_protected_name_that_nobody_has_is_told(tmp_path, caplog):
    """An id is none, and needs no word."""
    known = id_of("Users", user(2))
    run = play(tmp_path, MANY, guard_protected_users=["boss@example.org", known])
    with caplog.at_level(logging.WARNING):
        refused(run, known)
    assert "none of the users has the userName 'boss@example.org' of a protection or a scope" in caplog.text
    assert caplog.text.count("of a protection") == 1


@pytest.mark.parametrize("pattern", [user(101), user(101).upper(), "USER101@*"])
def test_a_service_whose_filters_compare_case(tmp_path, pattern):
    traits = replace(MANY, compares_case=True)
    refused(play(tmp_path, traits, guard_protected_users=[pattern]), id_of("Users", user(101)))


@pytest.mark.parametrize(
    ("traits", "faults", "pattern"),
    [
        (ScimTraits(), (), "user9*"),
        (MANY, (Fault("503", 1.0),), "user1@*"),
        (MANY, (Fault("429", 1.0),), user(1)),
    ],
)
def test_the_deadline_counts_while_names_are_looked_up(tmp_path, traits, faults, pattern):
    """A directory of a million, an outage, a target that is too busy."""
    run = play(
        tmp_path, traits, faults=faults, guard_protected_users=[pattern], guard_deadline="30s", rate_requests="5/s"
    )
    with pytest.raises(NotBegunError) as ended:
        applied(run, "somebody")
    assert "deadline" in str(ended.value)
    assert ended.value.exit_code == 6


def test_a_short_patience_is_kept(tmp_path):
    run = play(tmp_path, MANY, faults=(Fault("503", 1.0),), guard_protected_users=[user(1)], retry_max_wait="3s")
    with pytest.raises(NotBegunError):
        applied(run, "somebody")
    assert all(at < 10 for at, _, _ in run.target.sends)
