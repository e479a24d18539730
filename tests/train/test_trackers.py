"""Trackers: what a run was given before is not given again; tests/slow has wandb, trackio and mlflow themselves."""

import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nmt.errors import ConfigError
from nmt.eval.figures.heatmap import NotebookFigure
from nmt.train.log import LOGGERS, LoggerConfig, RunLog
from nmt.train.logger import Logger
from nmt.train.trackers import Tracker, WandbLog

NAMES = [name for name, kind in LOGGERS.items() if issubclass(kind, Tracker)]


class Kept(Tracker):
    """A tracker whose package is there: the figures go into a list."""

    name = "kept"
    figures: list[tuple[str, int, float]]

    @classmethod
    def check(cls):
        return None

    def __init__(self, directory, step):
        super().__init__(directory, step)
        self.id = self.id or "one"
        self.figures = []
        self.flush()

    def scalars(self, group, step, figures):
        if self.is_new(group, step):
            self.figures.append((group, step, figures["loss"]))
            self.flush()


def train(directory: Path, config: LoggerConfig, step: int, steps: tuple[int, ...], loss: float) -> list[Logger]:
    """What a training from ``step`` on tells, without the end if it was not the last."""
    with RunLog(directory, config, step=step) as log:
        log.hparams({"optim.lr": 0.5, "model.attention": "local_p"})
        for at in steps:
            log.training(at, {"loss": loss})
        return log.loggers


def test_wandb_is_given_pictures_as_pixels(tmp_path):
    """And no figure: it takes a class for one of matplotlib's by its name alone."""
    log, given = object.__new__(WandbLog), []
    log.directory, log.given = tmp_path, {}
    log.package, log.run = SimpleNamespace(Image=np.asarray), SimpleNamespace(log=given.append)
    figure = NotebookFigure(figsize=(2, 1), dpi=50)
    for _ in range(2):  # the second is not new
        log.figure("attention", figure, 100)
    assert [(row["step"], row["attention"].shape) for row in given] == [(100, (50, 100, 4))]


def test_a_resumed_run_gives_no_step_twice(tmp_path, monkeypatch):
    """A checkpoint of step 100, and a crash after step 200; step 100 of another group is another step."""
    monkeypatch.setitem(LOGGERS, "kept", Kept)
    config = LoggerConfig(tensorboard=False, more=["kept"])
    for step, steps, given in ((0, (100, 200), [100, 200]), (100, (200, 300), [300])):
        kept = train(tmp_path, config, step, steps, loss=1.0)[1]
        assert isinstance(kept, Kept)
        assert kept.figures == [("train", at, 1.0) for at in given]
    assert kept.is_new("validation", 100)
    assert json.loads((tmp_path / "loggers" / "kept.json").read_text()) == {"id": "one", "given": {"train": 300}}


def test_a_tracker_that_fails_does_not_end_a_training(tmp_path, monkeypatch, capsys):
    """Its server may be away for an hour of a week; it is said once.  log.jsonl has every step."""

    class Failing(Kept):
        def scalars(self, group, step, figures):
            super().scalars(group, step, figures)
            raise OSError("no answer\nfrom the server")

        def close(self):
            raise ValueError("still none")

    monkeypatch.setitem(LOGGERS, "kept", Failing)
    train(tmp_path, LoggerConfig(tensorboard=False, more=["kept"]), 0, (100, 200), loss=1.0)
    said = capsys.readouterr().err
    assert said.count("note: kept does not take what is logged (OSError: no answer from the server); training") == 1
    assert "still none" not in said
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "train"] == [100, 200]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_one_line_that_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # imports of it fail
    with pytest.raises(
        ConfigError, match=rf"^logger.more=\[{name}\] needs .* pip install {name}, or pip install '\.\[{name}\]'"
    ):
        LoggerConfig(more=[name]).check()
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert name in extras["optional-dependencies"]


def test_tables_and_keys():
    """jsonl is always there, each is there once, and pictures are drawn where a logger shows them."""
    assert LoggerConfig().names == ["jsonl", "tensorboard"]
    assert LoggerConfig(tensorboard=False, more=["wandb", "jsonl", "tensorboard"]).names == [
        "jsonl",
        "wandb",
        "tensorboard",
    ]
    assert not LoggerConfig(tensorboard=False, more=["trackio"]).draws
    assert LoggerConfig(tensorboard=False, more=["mlflow"]).draws
    with pytest.raises(ConfigError, match=r"logger\.more: 'wand' is not one of jsonl, tensorboard, wandb"):
        LoggerConfig(more=["wand"])
