"""What torchrun starts, as typed: seeds repeat, killed trainings go on, any number of processes resumes any run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from nmt.runs import checkpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TINY = (
    *("model.hidden_size=16", "data.train_size=120", "data.validation_size=5", "data.test_size=5", "data.max_words=10"),
    *("data.tokenizer.vocab_size=400", "data.tokenizer.sampling=0.1", "data.batching.tokens=100", "decode=greedy"),
    *("logger.tensorboard=false", "logger.every=1", "threads=1", "device=cpu", "trainer.precision=fp32"),
)  # fmt: skip


def command(processes: int, *words: str, restarts: int = 0) -> list[str]:
    """nmt.train by torchrun, or by itself where it is one process."""
    elastic = ("--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}")
    torchrun = ("-m", "torch.distributed.run", *elastic) if processes > 1 else ()
    return [sys.executable, *torchrun, "-m", "nmt.train", *TINY, *words]


def start(folder: Path, typed: list[str]) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(typed, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def train(folder: Path, processes: int, *words: str) -> None:
    """To the end, without a fault."""
    running = start(folder, command(processes, *words))
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors


def records(folder: Path, name: str, event: str = "train") -> list[dict]:
    file = folder / "runs" / name / "log.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in map(json.loads, lines) if line["event"] == event]


def wait_for(what: Callable[[], object], running: subprocess.Popen) -> None:
    """Until ``what`` is true; fails where the command ends before, or after five minutes."""
    end = time.monotonic() + 300
    while not what():
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def rank_process(running: subprocess.Popen, rank: int) -> psutil.Process:
    """The process that torchrun started with this rank."""
    children = psutil.Process(running.pid).children(recursive=True)
    return next(child for child in children if child.environ().get("RANK") == str(rank))


def weights(folder: Path, name: str) -> torch.Tensor:
    state = checkpoint.load(folder / "runs" / name / checkpoint.LAST)["model"]
    return torch.cat([value.flatten() for value in state.values()])


def course(folder: Path, name: str) -> dict[int, tuple[float, float]]:
    """Epoch and loss by step."""
    return {r["step"]: (r["epoch"], r["loss"]) for r in records(folder, name)}


def test_a_killed_training_with_sampling_is_the_undisturbed_one(tmp_path):
    """Another process draws the same pieces: same weights, losses and epochs, after SIGKILL in the middle."""
    words = ("trainer.max_steps=60", "trainer.validate_every=20", "model.dropout=0.2")
    train(tmp_path, 1, *words, "name=whole")
    running = start(tmp_path, command(1, *words, "name=killed"))
    wait_for(lambda: len(records(tmp_path, "killed")) > 30, running)
    running.kill()
    running.communicate()
    assert not records(tmp_path, "killed", "end")
    train(tmp_path, 1, *words, "name=killed", "resume=true")
    assert torch.equal(weights(tmp_path, "killed"), weights(tmp_path, "whole"))
    assert course(tmp_path, "killed") == course(tmp_path, "whole")


def test_two_processes_with_sampling_end_together(tmp_path):
    """Eight epochs, whose numbers of batches differ and are not all even; and three with fewer batches than ranks."""
    train(tmp_path, 2, "trainer.max_epochs=8", "trainer.max_steps=null", "trainer.validate_every=1000", "name=two")
    assert records(tmp_path, "two", "end")[0]["ending"]
    assert records(tmp_path, "two")[-1]["epoch"] == 8
    few = ("data.batching.tokens=100000", "trainer.max_epochs=3", "trainer.max_steps=null")
    train(tmp_path, 2, *few, "name=few")
    assert records(tmp_path, "few")[-1]["step"] == 3


def test_a_killed_process_ends_the_training_with_one_message(tmp_path):
    """No traceback of this project's; torchrun's own report follows."""
    running = start(tmp_path, command(2, "trainer.max_steps=1000000", "trainer.validate_every=1000000", "name=dies"))
    wait_for(lambda: len(records(tmp_path, "dies")) > 3, running)
    rank_process(running, 1).send_signal(signal.SIGKILL)
    _, errors = running.communicate(timeout=120)
    assert running.returncode != 0
    assert errors.count("error: another process of this training has ended") == 1
    before = errors.partition("torch/distributed/elastic")[0]
    assert "Traceback" not in before
    assert "[rank" not in errors


def test_an_error_of_one_process_is_the_only_message(tmp_path):
    """Rank 0 finds that there is no such test set while the other one waits for it."""
    running = start(tmp_path, command(2, "data.test=[nowhere]", "name=none"))
    _, errors = running.communicate(timeout=120)
    assert running.returncode != 0
    assert errors.count("error: ") == 1, errors
    assert "nowhere" in errors
    assert "[rank" not in errors


def test_torchrun_restarts_what_was_killed(tmp_path):
    """With --max-restarts and resume=true: on the way to the same weights."""
    words = ("trainer.max_steps=80", "trainer.validate_every=10", "name=again")
    running = start(tmp_path, command(2, *words, "resume=true", restarts=2))
    for steps in (15, 35):
        wait_for(
            lambda steps=steps: records(tmp_path, "again") and records(tmp_path, "again")[-1]["step"] > steps, running
        )
        rank_process(running, 1).send_signal(signal.SIGKILL)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    train(tmp_path, 2, *words[:2], "name=whole")
    assert torch.equal(weights(tmp_path, "again"), weights(tmp_path, "whole"))


def test_any_number_of_processes_resumes_any_run(tmp_path):
    """Two, one and three processes are one process that accumulates two, one and three batches, with sampling."""
    for name in ("processes", "alone"):
        for count, steps in ((2, 5), (1, 10), (3, 25)):
            words = (f"trainer.max_steps={steps}", "trainer.validate_every=100", f"name={name}", "resume=true")
            if name == "alone":
                train(tmp_path, 1, *words, "model.dropout=0", f"trainer.accumulate={count}")
            else:
                train(tmp_path, count, *words, "model.dropout=0")
    alone, processes = course(tmp_path, "alone"), course(tmp_path, "processes")
    assert list(alone) == list(processes) == list(range(1, 26))
    within_an_epoch = [step for step in alone if alone[step][0] < 1]
    assert len(within_an_epoch) > 12
    for step in within_an_epoch:
        assert processes[step] == pytest.approx(alone[step], rel=1e-4), step


def test_a_training_that_waits_for_a_process_says_where(tmp_path):
    """One process is stopped: the other one prints its stacks, and both go on when it goes on."""
    words = ("trainer.max_steps=1000000", "trainer.validate_every=1000000", "trainer.stall_minutes=0.05", "name=waits")
    with (tmp_path / "errors").open("w") as errors:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        running = subprocess.Popen(command(2, *words), cwd=tmp_path, env=env, stdout=errors, stderr=errors)
        wait_for(lambda: len(records(tmp_path, "waits")) > 3, running)
        stopped = rank_process(running, 1)
        stopped.suspend()
        wait_for(lambda: "process 0 of 2" in (tmp_path / "errors").read_text(), running)
        steps = len(records(tmp_path, "waits"))
        stopped.resume()
        wait_for(lambda: len(records(tmp_path, "waits")) > steps + 3, running)
        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)
    assert "in all_reduce" in (tmp_path / "errors").read_text() or "in backward" in (tmp_path / "errors").read_text()
