"""nmt.train in a Python program: the run of the command, a process as it was before, and errors in the same words."""

import importlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import nmt
from nmt.config import Config
from nmt.errors import ConfigError
from nmt.runs import checkpoint

ROOT = Path(__file__).parents[2]
TINY = [
    *("model.hidden_size=16", "model.attention=local_p", "data.train_size=200", "data.validation_size=8"),
    *("data.test_size=9", "data.max_words=10", "data.tokenizer.vocab_size=400", "trainer.max_steps=2"),
    *("trainer.validate_every=1", "logger.tensorboard=false", "decode=greedy", "decode.max_length=12", "device=cpu"),
    *("trainer.precision=fp32", "threads=1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs lie in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made := tmp_path_factory.mktemp("trained"))
        yield made


def process_state():
    return (
        GlobalHydra.instance().is_initialized(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        dict(os.environ),
        (sys.stdout, sys.stderr, sys.argv, list(sys.path), sys.excepthook, threading.excepthook),
        (logging.getLogger().level, list(logging.getLogger().handlers), Path.cwd()),
    )


def test_a_run_tells_of_itself_and_the_process_is_as_before(folder):
    torch.set_num_threads(2)
    before = process_state()
    run = nmt.train([*TINY, "name=one", "deterministic=true"])
    assert process_state() == before
    assert run.directory.resolve() == (folder / "runs" / "one").resolve()
    assert run.config.model.name == "lstm"
    lines = (run.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert run.history == [json.loads(line) for line in lines]
    scored = [event for event in run.history if event["event"] == "scored"]
    assert {event["set"] for event in scored} == set(run.scores)
    assert isinstance(run.load(device="cpu").translate("two weeks"), str)


@pytest.mark.slow
def test_threads_and_a_config_give_the_weights_of_the_command(folder):
    """The command in another process; the same words, and the Config that they made, here in threads."""
    words = [*TINY, "name=command"]
    command, environment = [sys.executable, "-m", "nmt.train", *words], os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    config = nmt.train([*TINY, "name=words"]).config
    assert isinstance(config, Config)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(nmt.train, [[*TINY, "name=thread"], config]))
    states = [
        checkpoint.load(d / checkpoint.BEST)["model"] for d in (folder / "runs/command", *(r.directory for r in runs))
    ]
    for name, weights in states[0].items():
        assert all(torch.equal(weights, other[name]) for other in states[1:])


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        ("seed=1", TypeError, "overrides must be a list of str"),
        ([1], TypeError, "overrides must be a list of str"),
        (["-m", "seed=1,2"], ConfigError, "overrides: -m is a flag"),
        (
            ["seed=1,2"],
            ConfigError,
            r"^seed=1,2 has several values, .* call it once for each .*nmt\.train -m seed=1,2\)",
        ),
        (["modle=lstm"], ConfigError, "modle"),
        (["model.attention=nothing_such"], ConfigError, "model.attention"),
        (["trainer.max_steps=soon"], ConfigError, "trainer.max_steps"),
    ],
)
def test_a_wrong_argument_is_named_and_leaves_nothing(overrides, error, said, folder):
    before = process_state()
    with pytest.raises(error, match=said):
        nmt.train(overrides)
    assert process_state() == before


def test_importing_from_the_package_leaves_the_function():
    """Python sets the attribute nmt.train to the package whenever one of its modules is imported for the first time."""
    importlib.reload(importlib.import_module("nmt.train.coverage"))
    assert sys.modules["nmt.train"] is nmt.train
    with pytest.raises(TypeError, match="overrides must be"):
        nmt.train(3)  # pyright: ignore[reportArgumentType]


def test_a_run_is_gone_on_with_by_its_directory(folder):
    """As by the command: with its own settings, and those that are given on top."""
    first = nmt.train([*TINY, "name=resumed", "trainer.max_steps=1"])
    run = nmt.train([f"resume={first.directory}", "trainer.max_steps=2"])
    assert run.directory == first.directory
    assert run.config.trainer.max_steps == 2
    assert run.config.model == first.config.model
    assert [event["step"] for event in run.history if event["event"] == "validation"] == [1, 2]
    with pytest.raises(ConfigError, match="says which run, so name is not typed"):
        nmt.train([f"resume={first.directory}", "name=x"])
