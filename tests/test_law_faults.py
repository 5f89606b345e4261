"""That the faults which once broke a law can still be put back; `python tools/law_faults.py` says who finds them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location("law_faults", ROOT / "tools" / "law_faults.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["law_faults"] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_each_fault_has_its_place_in_the_code(tool):
    for fault in tool.law_faults():
        for module, old, new in fault.changes:
            text = (ROOT / "batcher" / module).read_text("utf-8")
            assert text.count(old) == 1, f"fault {fault.number}: {module} has moved on: {old}"
            compile(text.replace(old, new), module, "exec")


def test_each_has_a_simulation_that_finds_it_or_a_reason(tool):
    faults = tool.law_faults()
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    for fault in faults:
        assert bool(fault.play) is not bool(fault.why)
        assert {*fault.play} <= {*tool.SEEDS, "worlds"}


def test_the_table_has_a_row_for_each(tool):
    table = tool.DOCS.read_text("utf-8").split(tool.BEGIN)[1].split(tool.END)[0]
    rows = [line.split(" | ")[:2] for line in table.splitlines()[2:]]
    assert rows == [[f"| {fault.number}", fault.what] for fault in tool.law_faults()]


def test_at_least_24_of_the_28_are_found_by_a_simulation(tool):
    table = tool.DOCS.read_text("utf-8").split(tool.BEGIN)[1].split(tool.END)[0]
    finders = [line.split(" | ")[2] for line in table.splitlines()[2:]]
    assert sum(finder != "–" for finder in finders[:28]) >= 24
