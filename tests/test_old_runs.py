"""Runs that an earlier version left (tests/fixtures/runs) are read, translated with and gone on with.

Only what users type is used here, so that the test says the same whatever moves inside nmt.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest
import torch
import yaml

import nmt

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "tests" / "fixtures" / "runs"
SOURCES = (RUNS / "sources.txt").read_text(encoding="utf-8").splitlines()
TRAINED = ("lstm_local_p", "transformer")
# What unfinished was started with: a run goes on only with the model and the data that it had.
UNFINISHED = (
    "name=unfinished runs=. threads=1 device=cpu data=files data.source=en data.target=de "
    "data.train.source=text/train.en data.train.target=text/train.de "
    "data.validation.source=text/dev.en data.validation.target=text/dev.de data.cache=cache "
    "data.tokenizer.kind=char data.tokenizer.vocab_size=100 data.batching.tokens=250 "
    "logger=jsonl logger.samples=0 logger.every=1 model.hidden_size=8 model.attention=local_p "
    "model.attention.hidden_size=4 model.attention.half_width=3 model.tied=all optim.warmup=2 optim.lr=0.01 "
    "trainer.ema=0.9 trainer.precision=fp32 trainer.validate_every=4 trainer.validation_sentences=4 "
    "trainer.metric=loss decode=greedy decode.max_length=20 decode.precision=fp32"
)
# What was .inf in a config.yaml and does not change this training, as it is typed now.
INFINITE = (
    "data.checks.max_ratio=null",
    "trainer.max_minutes=null",
    "trainer.max_epochs=null",
    "optim.halve_after=null",
)


def run(module: str, *words: str, cwd: Path, source: str = "") -> str:
    """What a command of nmt says; fails with all that it said if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        command, cwd=cwd, env=environment, input=source, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def one_thread():
    """As the fixtures were made, and ten times as fast as two where anything else wants a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lines(name: str) -> list[str]:
    return (RUNS / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", TRAINED)
def test_old_runs_translate_as_they_did(name):
    """The three best differ by far more than another processor's rounding, so that their order is the same anywhere."""
    translator = nmt.load(RUNS / name, device="cpu")
    assert translator.translate(SOURCES[:5]) == lines(f"{name}.translations.txt")[:5]
    translator.decode.n_best = 3
    everything = translator.hypotheses(SOURCES)
    assert [found[0].text for found in everything] == lines(f"{name}.translations.txt")
    stored = [json.loads(line)["hypotheses"] for line in lines(f"{name}.hypotheses.jsonl")]
    for found, expected in zip(everything, stored, strict=True):
        assert [(h.text, h.finished) for h in found] == [(e["text"], e["finished"]) for e in expected]
        assert [h.score for h in found] == pytest.approx([e["score"] for e in expected], abs=1e-4)
        assert [h.log_prob for h in found] == pytest.approx([e["log_prob"] for e in expected], abs=1e-3)


@pytest.mark.parametrize(("name", "checkpoint"), [*((name, "best") for name in TRAINED), ("unfinished", "last")])
def test_parameters_keep_their_names_and_shapes(name, checkpoint):
    """Of the model that is built today, and of the file: an old file fits only if both are the same."""
    model = nmt.load(RUNS / name, device="cpu", checkpoint=checkpoint).model
    file = torch.load(RUNS / name / "checkpoints" / f"{checkpoint}.pt", weights_only=True)
    for state in (model.state_dict(), file["model"]):
        shapes = (", ".join(map(str, value.shape)) for value in state.values())
        assert [f"{key} ({shape})" for key, shape in zip(state, shapes, strict=True)] == lines(f"{name}.keys.txt")


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.slow
def test_old_runs_translate_through_the_command(name, tmp_path):
    """Which reads config.yaml through Hydra."""
    words = f"run='{RUNS / name}'", "device=cpu", "threads=1", "translate.format=jsonl"
    out = run("nmt.translate", *words, cwd=tmp_path, source="".join(f"{line}\n" for line in SOURCES[:4]))
    found = [json.loads(line)["translation"] for line in out.splitlines()]
    assert found == lines(f"{name}.translations.txt")[:4]


@pytest.mark.parametrize("typed", [(), pytest.param(INFINITE, marks=pytest.mark.slow)], ids=["as it is", "infinite"])
def test_an_old_run_goes_on_as_if_it_had_not_stopped(typed, tmp_path):
    """Optimizer, average, schedule, order of batches and random numbers are all in its last.pt.

    ``typed`` are keys that are null now, where the run's config.yaml has the infinity that they were.
    """
    shutil.copytree(RUNS / "unfinished", tmp_path / "unfinished")
    shutil.copytree(RUNS / "text", tmp_path / "text")
    config = tmp_path / "unfinished" / "config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    for key in (word.removesuffix("=null").split(".") for word in typed):
        section = reduce(dict.__getitem__, key[:-1], tree)
        assert key[-1] in section
        section[key[-1]] = math.inf
    config.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    run("nmt.train", *UNFINISHED.split(), *typed, "trainer.max_steps=8", "resume=true", cwd=tmp_path)
    log = (tmp_path / "unfinished" / "log.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line) for line in log.split("\n") if line]
    assert [event["step"] for event in events if event["event"] == "resume"] == [4]
    found = {str(event["step"]): event["loss"] for event in events if event["event"] == "train"}
    expected = json.loads((RUNS / "unfinished.losses.json").read_text(encoding="utf-8"))
    assert found == pytest.approx(expected, rel=1e-5)
    assert (tmp_path / "unfinished" / "checkpoints" / "best.pt").exists()
