"""The measurements of benchmarks/ run, at tiny sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FILES = {
    "attention.py": {"attention.json", "attention.md", "attention.png", "attention.svg"},
    "lengths.py": {"lengths.md"},
}


@pytest.mark.parametrize("script", FILES)
def test_a_quick_run_writes_its_report(tmp_path, script):
    words = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", f"--out={tmp_path / 'made'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "| global | 5 |" in out
    assert {p.name for p in (tmp_path / "made").iterdir()} == FILES[script]
