"""Prints the lowest versions that pyproject.toml allows, as constraints for pip (`pip install -c`)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def constraints() -> list[str]:
    """One line per dependency, also of the extras: the newest patch release of the lowest allowed version."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", name) for name in wanted)
    return [f"{match[1]}=={match[2]}.*" for match in found if match]


if __name__ == "__main__":
    print("\n".join(constraints()))
