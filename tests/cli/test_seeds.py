"""The vendors' own examples, as their pages print them, run through `apply` against the simulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import state_of

SEEDS = Path(__file__).parent.parent / "seeds"


@pytest.mark.parametrize(
    ("name", "kind", "changes", "groups"),
    [
        # The page adds and removes the same pairs: the last word wins.
        ("minapp_curl", "minapp", {"total": 8, "applied": 4, "superseded": 4}, {}),
        ("minapp_node", "minapp", {"total": 1, "applied": 1}, {"561": [36476036]}),
        ("scrutinizer_object", "scrutinizer", {"total": 3, "applied": 3}, {"2": [13], "USERGROUP2": ["USER2"]}),
        # Its own table says that ids are integers, its sample writes names there: in a document they are names.
        ("scrutinizer_call", "scrutinizer", {"total": 2, "applied": 2}, {"17": [3], "GROUPB": ["USER2"]}),
    ],
)
def test_the_vendors_examples(shell, name, kind, changes, groups):
    with shell.simulator() as url:
        result = shell.run(
            "apply",
            str(SEEDS / f"{name}.json"),
            "--target",
            kind,
            "--url",
            url,
            "--ledger",
            "l",
            "--json",
            BATCHER_TOKEN="t",
        )
        assert result.returncode == 0, result.stderr
        assert {key: n for key, n in json.loads(result.stdout)["changes"].items() if n} == changes
        assert state_of(url)["groups"] == groups
