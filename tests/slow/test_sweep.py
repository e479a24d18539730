"""Sweeps and several processes as typed, with real trainings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TINY = (
    *("model.hidden_size=16", "data.train_size=100", "data.validation_size=5", "data.test_size=5", "data.max_words=10"),
    *("data.tokenizer.vocab_size=400", "trainer.max_steps=2", "decode=greedy", "logger.tensorboard=false", "threads=1"),
)  # fmt: skip


def run(cwd: Path, *words: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_with_a_failing_job(tmp_path, launcher):
    """init_from a run and one without weights: the good ones train, the bad ones are named, the exit is not 0."""
    assert run(tmp_path, "-m", "nmt.train", *TINY, "name=good").returncode == 0
    shutil.copytree(tmp_path / "runs" / "good", tmp_path / "runs" / "bad")
    shutil.rmtree(tmp_path / "runs" / "bad" / "checkpoints")
    words = ("init_from=runs/good,runs/bad", "seed=1,2", "sweep=s", f"hydra/launcher={launcher}")
    out = run(tmp_path, "-m", "nmt.train", "-m", *TINY, *words)
    assert out.returncode == 1
    assert "2 of 4 jobs failed" in out.stderr
    assert "init_from_runs_bad-seed_1: init_from: runs/bad" in out.stderr
    assert "Traceback" not in out.stderr
    made = sorted(p.name for p in (tmp_path / "runs" / "s").iterdir())
    assert made == ["init_from_runs_good-seed_1", "init_from_runs_good-seed_2"]
    assert "| all | 1, 2 |" in out.stdout, "the sweep ends with its table"


def test_jobs_in_processes_of_their_own_take_a_model_and_a_corpus_of_a_plugin(tmp_path):
    shutil.copy(ROOT / "tests" / "plugins" / "counting.py", tmp_path)
    own = [word for word in TINY if not word.startswith("data.") or "tokenizer" in word]
    words = ("plugins=[counting.py]", "model=gain", "data=counting", "seed=1,2", "sweep=s", "hydra/launcher=joblib")
    out = run(tmp_path, "-m", "nmt.train", "-m", *own, *words)
    assert out.returncode == 0, out.stderr
    for seed in (1, 2):
        stored = json.loads((tmp_path / "runs" / "s" / f"seed_{seed}" / "plugins" / "plugins.json").read_text())
        assert stored["plugins"][0]["adds"] == ["model=gain", "data=counting"]


def test_two_processes_train_one_run(tmp_path):
    """torchrun: one run directory, written once, by the first process."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "nmt.train")
    out = run(tmp_path, *torchrun, *TINY, "name=two", "device=cpu")
    assert out.returncode == 0, out.stderr
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["two"]
    events = [json.loads(line) for line in (tmp_path / "runs" / "two" / "log.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events].count("built") == 1
    assert json.loads((tmp_path / "runs" / "two" / "origin.json").read_text())["processes"] == 2
    assert (tmp_path / "runs" / "two" / "scores" / "test" / "results.json").exists()
