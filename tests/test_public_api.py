"""The public interface is complete, sorted, and cheap to import."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import batcher

PACKAGE = Path(batcher.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)


def test_every_public_name_is_there():
    assert batcher.__all__ == sorted(batcher.__all__)
    for name in batcher.__all__:
        assert getattr(batcher, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = batcher.nothing


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module):
    """Every module has a docstring and can be imported."""
    assert import_module(module).__doc__


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".") <= 1])
def test_every_package_can_be_imported_alone(module):
    """No circular import is hidden by the order of imports."""
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, timeout=60)


def test_help_needs_nothing_heavy():
    """`batcher --help` must not load numpy, pyarrow or aiohttp."""
    script = "import sys, batcher.cli; print([m for m in ('numpy', 'pyarrow', 'aiohttp') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    assert result.stdout.strip() == b"[]"
