"""What the house keeps, and no other tool holds: short modules, and class names that mean one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import batcher

HOUSE = Path(batcher.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))


def test_no_module_is_longer_than_300_lines():
    lengths = {str(path.relative_to(HOUSE)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
    assert len(lengths) > 200


def test_no_two_classes_have_one_name():
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(HOUSE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_each_module_and_room_says_what_it_is():
    for path in MODULES:
        said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        assert path.name == "__main__.py" or (said and len(said.splitlines()[0]) > 10), path
