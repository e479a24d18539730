"""What the package gives to those above it."""

import subprocess
import sys
from pathlib import Path

import pytest

import nmt.runs

MODULES = sorted(path.stem for path in Path(nmt.runs.__file__).parent.glob("*.py"))


def test_no_function_hides_a_module():
    """``nmt.runs.checkpoint`` is the module, whatever was imported before."""
    assert all(hasattr(nmt.runs, name) for name in nmt.runs.__all__)
    assert not set(nmt.runs.__all__) & set(MODULES)


@pytest.mark.parametrize("first", ["nmt.runs", "nmt.runs.checkpoint", "nmt.train.loop", "nmt.config", "nmt.translate"])
def test_any_module_can_be_imported_first(first):
    """No cycle shows itself only to those who begin elsewhere."""
    subprocess.run([sys.executable, "-c", f"import {first}"], check=True)
