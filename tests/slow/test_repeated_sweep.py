"""Sweeps with real trainings: killed at random and typed again, and with the launchers and sweepers of the extras."""

import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TINY = (
    *("model.hidden_size=16", "data.train_size=100", "data.validation_size=5", "data.test_size=5", "data.max_words=10"),
    *("data.tokenizer.vocab_size=400", "data.batching.tokens=200", "trainer.max_steps=30", "trainer.validate_every=5"),
    *("decode=greedy", "logger.tensorboard=false", "threads=1"),
)  # fmt: skip
JOBS = ("model.attention=local_p,none", "seed=1,2")
NAMES = ["local_p-seed_1", "local_p-seed_2", "none-seed_1", "none-seed_2"]


def start(cwd: Path, *words: str) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nmt.train", "-m", *TINY, *words]
    return subprocess.Popen(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def sweep(cwd: Path, *words: str) -> str:
    """What a sweep prints; fails where it fails."""
    running = start(cwd, *words)
    out, err = running.communicate()
    assert running.returncode == 0, err
    return out


def outcome(directory: Path) -> dict[str, Any]:
    """Everything that a training results in: weights, optimizer, logged losses, scores and translations."""
    last = torch.load(directory / "checkpoints" / "last.pt", weights_only=True)
    best = torch.load(directory / "checkpoints" / "best.pt", weights_only=True)
    events = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    validations = [(e["step"], e["loss"], e["bleu"]) for e in events if e["event"] == "validation"]
    texts = {str(p.relative_to(directory)): p.read_text() for p in sorted(directory.glob("scores/*/*.txt"))}
    scores = {str(p): json.loads((directory / p).read_text())["scores"] for p in ("scores/test/results.json",)}
    tensors = {
        f"{name} {key}": value
        for name, saved in (("last", last), ("best", best))
        for key, value in saved["model"].items()
    }
    moments = {f"{i} {key}": value for i, state in last["optimizer"]["state"].items() for key, value in state.items()}
    return {"steps": (last["step"], best["step"]), "validations": validations, **texts, **scores, **tensors, **moments}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """In every bit."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        same = torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]
        assert same, key


def test_a_sweep_that_is_killed_at_random_and_repeated_ends_as_an_undisturbed_one(tmp_path):
    """SIGKILL, ten times at moments that are drawn; then the command once more."""
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    began = time.monotonic()
    sweep(tmp_path / "whole", *JOBS, "sweep=s")
    usual, rng = time.monotonic() - began, random.Random(1)
    for _ in range(10):
        running = start(tmp_path / "killed", *JOBS)
        try:
            running.communicate(timeout=rng.uniform(0.2, 0.7) * usual)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    out = sweep(tmp_path / "killed", *JOBS)
    (folder,) = (path for path in (tmp_path / "killed" / "runs").iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    for name in NAMES:
        assert_same(outcome(tmp_path / "whole" / "runs" / "s" / name), outcome(folder / name))
    assert out.count("finished") >= len(NAMES)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    out = sweep(tmp_path / "killed", *JOBS)
    assert "== job" not in out, "all are finished"
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}, "nothing was touched"


@pytest.mark.parametrize(
    ("launcher", "package", "words"),
    [
        ("joblib", "hydra_joblib_launcher", ("hydra.launcher.n_jobs=2",)),
        ("submitit_local", "hydra_submitit_launcher", ("hydra.launcher.timeout_min=20",)),
    ],
)
def test_jobs_at_the_same_time(tmp_path, launcher, package, words):
    """Each line says whose it is, the results are those of jobs one after the other, and finished ones are skipped."""
    if importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        pytest.skip(f"{package} is not installed")
    sweep(tmp_path, *JOBS[1:], "sweep=one")
    choice = f"hydra/launcher={launcher}", *words
    out = sweep(tmp_path, *JOBS[1:], "sweep=many", *choice)
    logs = sorted((tmp_path / "runs" / "many" / ".submitit").glob("*/*_log.out"))
    lines = out.splitlines() if launcher == "joblib" else [x for log in logs for x in log.read_text().splitlines()]
    for name in ("seed_1", "seed_2"):
        assert any(line.startswith(f"[{name}] ended at step 30") for line in lines), lines
        assert_same(outcome(tmp_path / "runs" / "one" / name), outcome(tmp_path / "runs" / "many" / name))
    assert not [line for line in lines if "validation loss" in line and not line.startswith("[seed_")]
    assert "== job" not in sweep(tmp_path, *JOBS[1:], "sweep=many", *choice)
    assert not (tmp_path / "multirun").exists()


@pytest.mark.skipif(importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="not installed")
@pytest.mark.parametrize("to_all", [False, True], ids=["kill", "ctrl-c"])
def test_a_signal_to_jobs_at_the_same_time_saves_each_and_leaves_no_process(tmp_path, to_all):
    """SIGTERM to the sweep's own process alone, or SIGINT to all, as from a terminal; the third job does not begin."""
    words = ("seed=1,2,3", "sweep=s", "trainer.max_steps=100000", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    running, lines = start(tmp_path, *words), []
    assert running.stdout is not None
    while {line.split("]")[0] for line in lines if "validation loss" in line} != {"[seed_1", "[seed_2"}:
        lines.append(running.stdout.readline())
        assert lines[-1], "the sweep goes on until it is stopped"
    if to_all:
        os.killpg(running.pid, signal.SIGINT)
    else:
        os.kill(running.pid, signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 128 + (signal.SIGINT if to_all else signal.SIGTERM), err
    assert "Traceback" not in err
    for name in ("seed_1", "seed_2"):
        events = [json.loads(line) for line in (tmp_path / "runs" / "s" / name / "log.jsonl").read_text().splitlines()]
        last = torch.load(tmp_path / "runs" / "s" / name / "checkpoints" / "last.pt", weights_only=True)
        assert any(event.get("ending") == "interrupted" and event["step"] == last["step"] for event in events), events
        assert re.search(rf"{name}  not started  half-done", out), out
    assert re.search("seed_3  not started  not started", out), out
    assert "[seed_3]" not in out
    assert not (tmp_path / "runs" / "s" / "seed_3").exists()
    for _ in range(100):  # a process that only waits for work ends after the sweep
        if not is_running(running.pid):
            break
        time.sleep(0.1)
    assert not is_running(running.pid)


def is_running(group: int) -> bool:
    """Whether any process of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="no plug-in")
@pytest.mark.skipif(hydra.__version__.startswith("1.3"), reason="the plug-in is for Hydra 1.4")
def test_an_optimizing_sweeper_gets_the_best_validation(tmp_path):
    """And, typed again with the same seed, the same from runs that are finished."""
    words = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1", "sweep=o")
    searched = ("optim.lr=interval(0.001,0.1)", "model.attention=global,none")
    out = sweep(tmp_path, *words, *searched)
    folder = tmp_path / "runs" / "o"
    losses = {}
    for directory in (path.parent for path in folder.glob("*/config.yaml")):
        events = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
        losses[directory.name] = min(e["loss"] for e in events if e["event"] == "validation")
    assert 1 < len(losses) <= 4
    assert f"{min(losses.values()):.4f}" in next(line for line in out.splitlines() if line.startswith("best of"))
    again = sweep(tmp_path, *words, *searched)
    assert again.count("is finished") == 4
    assert "validation loss" not in again
