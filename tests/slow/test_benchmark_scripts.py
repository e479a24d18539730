"""The measurements of benchmarks/ run, at tiny sizes."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FILES = {
    "attention.py": {"attention.json", "attention.md", "attention.png", "attention.svg"},
    "lengths.py": {"lengths.md"},
    "self_attention.py": {f"self_attention.{kind}" for kind in ("json", "md", "png", "svg")},
}


@pytest.mark.parametrize("script", FILES)
def test_a_quick_run_writes_its_report(tmp_path, script):
    words = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", f"--out={tmp_path / 'made'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "| global | 5 |" in out
    assert {p.name for p in (tmp_path / "made").iterdir()} == FILES[script]


def test_a_peak_is_what_is_held_at_once(monkeypatch):
    """Two of three arrays of 4 MB, whatever was there before."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    peak, before = importlib.import_module("common").peak, [torch.zeros(1_000_000)]

    def run():
        before.clear()
        first = torch.zeros(1_000_000)
        second = first + 1
        del first
        return second + 1

    assert 8 <= peak(run) < 8.1
