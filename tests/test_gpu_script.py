"""benchmarks/gpu.sh, with a stand-in for Python that writes down what it is asked to run."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in *"$FAILS"*) exit 1 ;; esac
"""


@pytest.fixture
def script(tmp_path):
    """Runs it; returns the exit status, what it said, and what it asked Python for."""
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)

    def run(fails: str = "nothing fails", **variables: str) -> tuple[int, str, list[str]]:
        asked = tmp_path / "asked"
        asked.write_text("")
        env = {**os.environ, "PYTHON": str(tmp_path / "python"), "OUT": str(tmp_path / "out"), "ASKED": str(asked)}
        words = ["sh", str(ROOT / "benchmarks" / "gpu.sh")]
        done = subprocess.run(
            words, cwd=tmp_path, env={**env, "FAILS": fails, **variables}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr, asked.read_text().splitlines()

    return run


def test_without_a_device_it_says_so(script):
    status, said, asked = script(fails="torch.cuda.is_available")
    assert (status, len(asked)) == (2, 1)
    assert said.count("\n") == 1
    assert "finds no CUDA device" in said


def test_it_measures_every_model_in_both_precisions(script):
    status, said, asked = script(DEVICE="cpu", STEPS="3")
    assert status == 0, said
    trainings = [line for line in asked if "benchmarks/training.py" in line]
    assert len(trainings) == 8
    assert sum("trainer.precision=auto" in line for line in trainings) == 4
    assert all("device=cpu" in line and "--steps 3" in line for line in trainings)
    for line in asked:
        first = line.split()[0]
        assert first == "-m" or (ROOT / first).is_file(), line


def test_what_fails_is_named_and_the_rest_runs(script):
    status, said, asked = script(fails="score=concat", DEVICE="cpu")
    assert status == 1
    assert "failed: training-B-fp32 training-B-auto" in said
    assert any("benchmarks/search.py" in line for line in asked)
