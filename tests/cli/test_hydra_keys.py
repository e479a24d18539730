"""Settings of Hydra's own are honoured, or refused with what takes their place; never ignored."""

import re

import pytest

from nmt.cli.eval import COMMAND as EVAL
from nmt.config import Config
from nmt.data.corpus import PhrasesConfig
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.runs.directory import save_config
from tests.helpers.command_line import refused, typed


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No test may leave anything in the source tree."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def choice(tmp_path):
    """Writes a choice own=it with a node hydra; returns the words that choose it."""

    def write(hydra: str) -> tuple[str, ...]:
        path = tmp_path / "conf" / "own" / "it.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# @package _global_\nhydra: {hydra}\n", encoding="utf-8")
        return "--config-dir", "conf", "own=it"

    return write


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.run.dir=x", "hydra.run.dir does nothing here: .* runs=FOLDER name=NAME"),
        ("hydra.sweep.dir=x", "hydra.sweep.dir does nothing here: .* runs=FOLDER sweep=NAME"),
        ("hydra.job.chdir=true", "hydra.job.chdir does nothing here"),
        ("hydra.verbose=true", "hydra.verbose does nothing here"),
        ("hydra/job_logging=stdout", "hydra/job_logging does nothing here"),
        ("hydra.output_subdir=x", "hydra.output_subdir does nothing here: .* config.yaml"),
        ("hydra.mode=MULTIRUN", "hydra.mode does nothing here: -m starts a sweep"),
        ("hydra.sweeper.max_batch_size=1", "hydra.sweeper.max_batch_size does nothing here"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(word, message):
    """Typed, with and without a sweep."""
    assert re.match(f"error: {message}", refused(word, "seed=2"))
    assert re.match(f"error: {message}", refused(word, "-m", "seed=1,2"))


def test_so_is_one_that_a_file_sets(choice):
    """A choice under --config-dir may bring a node hydra; every command looks at it."""
    words = choice("{run: {dir: x}}")
    assert refused(*words).startswith("error: hydra.run.dir does nothing here")
    assert refused(*words, "-m", "seed=1,2").startswith("error: hydra.run.dir does nothing here")
    assert typed(*choice("{run: {dir: .}}"))


def test_what_is_for_sweeps_asks_for_one(choice):
    for words in (
        ["hydra/launcher=basic"],
        ["hydra.launcher._target_=x"],
        choice("{sweeper: {params: {seed: '1,2'}}}"),
    ):
        assert refused(*words, "seed=3").endswith("is for a sweep: add -m")


def test_parameters_of_the_sweeper_are_swept(choice):
    """As if they were typed; what is typed comes on top of them."""
    words = choice("{sweeper: {params: {seed: '1,2', optim.lr: 0.5}}}")
    found = typed(*words, "-m")
    assert [(config.seed, config.optim.lr, config.name) for config in found] == [(1, 0.5, "seed_1"), (2, 0.5, "seed_2")]
    assert [config.seed for config in typed(*words, "-m", "seed=5,6,7")] == [5, 6, 7]
    assert [(config.seed, config.name) for config in typed(*words, "-m", "seed=9", "optim.lr=1,2")] == [
        (9, "seed_9-lr_1"),
        (9, "seed_9-lr_2"),
    ], "the names are those of the whole sweep, so that a part of it is found again"


def test_commands_on_runs_refuse_them_too(tmp_path):
    save_config(tmp_path / "x", Config(model=LSTMConfig(attention=GlobalConfig()), data=PhrasesConfig()))
    assert refused("run=x", "hydra.run.dir=y", command=EVAL).startswith("error: hydra.run.dir does nothing here")
