"""What the simulated directory answers, in the ways in which real ones do."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from batcher.simulator.behaviour import Behaviour, ScimTraits
from batcher.simulator.scim_directory import Refused, ServedDirectory

BOTH = quote('userName eq "user1@example.org" or userName eq "user2@example.org"')


def names(traits, query, now=0.0):
    said = ServedDirectory(Behaviour(scim=traits)).answer("Users", query, now)
    return [resource["userName"] for resource in said["Resources"]], said


def test_filters_with_or():
    """Two of five real servers refuse them, and one takes only the first comparison."""
    with pytest.raises(ValueError, match="only one comparison"):
        names(ScimTraits(population=9), f"filter={BOTH}")
    found, _ = names(ScimTraits(population=9, takes_first_of_or=True), f"filter={BOTH}")
    assert found == ["user1@example.org"]


def test_pages_by_cursor():
    traits = ScimTraits(population=5, page=2, pages_by="cursor", cursor_seconds=60.0)
    found, said = names(traits, "cursor=&count=2")
    assert said["totalResults"] == 5
    more, last = names(traits, f"cursor={said['nextCursor']}&count=2", now=60.0)
    end, none = names(traits, f"cursor={last['nextCursor']}&count=2", now=61.0)
    assert [*found, *more, *end] == [f"user{number}@example.org" for number in range(1, 6)]
    assert "nextCursor" not in none
    for query, now, status, kind in (
        (f"cursor={said['nextCursor']}", 61.0, 400, "expiredCursor"),
        ("cursor=nonsense", 0.0, 400, "invalidCursor"),
        ("startIndex=1", 0.0, 501, ""),
    ):
        with pytest.raises(Refused) as refused:
            names(traits, query, now)
        assert (refused.value.status, refused.value.kind) == (status, kind)
    with pytest.raises(Refused, match="another list"):
        ServedDirectory(Behaviour(scim=traits)).answer("Groups", f"cursor={said['nextCursor']}", 0.0)


def test_pages_by_number_where_cursors_come_first():
    found, said = names(ScimTraits(population=5, page=2, pages_by="both"), "startIndex=4")
    assert found == ["user4@example.org", "user5@example.org"]
    assert said["startIndex"] == 4
