"""Sweeps that are typed again, launchers and sweepers; tests/cli/test_app.py has what a sweep checks and names."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from nmt.cli import app, optimizing
from nmt.cli.job_output import Marked, marked_lines
from nmt.cli.mistakes import PLUG_INS
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.errors import ConfigError, UserError
from nmt.models import LSTMConfig
from nmt.runs.directory import create_directory, directory_for, read_config, save_config, write_json
from tests.helpers.command_line import refused


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No test may leave anything in the source tree."""
    monkeypatch.chdir(tmp_path)


class Trainings:
    """Stands for trainings: makes run directories as they do; which seeds fail and are interrupted can be said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.ran: list[tuple[int, Path | None]] = []  # seed, and the run that was gone on with
        self.failing: set[int] = set()
        self.interrupted: set[int] = set()

    def __call__(self, config: Config, directory: Path | None = None) -> float:
        self.ran.append((config.seed, directory))
        directory = directory or create_directory(directory_for(config))
        save_config(directory, config)
        events: list[dict[str, Any]] = [{"event": "built"}]
        if config.seed in self.failing:
            events.append({"event": "failed", "reason": "no luck"})
        elif config.seed not in self.interrupted:
            best = {"loss": float(config.seed)}
            events.append({"event": "end", "ending": "steps", "best_step": 1, "best_metrics": best})
            for name in ("validation", "test"):
                write_json(directory / "scores" / name / "results.json", {"step": 1})
        log = "".join(json.dumps(event) + "\n" for event in events)
        (directory / "log.jsonl").write_text(log, encoding="utf-8")
        if config.seed in self.failing:
            raise UserError("no luck")
        if config.seed in self.interrupted:
            raise KeyboardInterrupt
        return float(config.seed)

    def sweep(self, *words: str) -> list[tuple[int, Path | None]]:
        """What is run for a command line; raises SystemExit as the command does."""
        self.ran = []
        self.monkeypatch.setattr(sys, "argv", ["nmt", "-m", *words])
        self.monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        app.run(COMMAND, self)
        return self.ran


@pytest.fixture
def trainings(monkeypatch):
    monkeypatch.setattr("nmt.cli.sweep.show_table", lambda folder: None)  # of scores, which these runs do not have
    return Trainings(monkeypatch)


def test_an_experiment_may_say_what_is_swept(trainings):
    """What is typed takes the place of a line of it, in the order and in the names of the jobs, too."""
    study = ("+experiment=luong2015_table4", "+mechanism=none,local_p_dot", "seed=1", "data=phrases")
    assert len(trainings.sweep(*study)) == 4
    names = [f"phrases-{recipe}-seed_1-{row}" for recipe in ("luong2015", "modern") for row in ("local_p_dot", "none")]
    assert sorted(path.name for path in Path("runs/study").iterdir()) == names
    assert trainings.sweep(*study, "+recipe=modern", "data.root=elsewhere") == []
    config = read_config(Path("runs/study/phrases-luong2015-seed_1-local_p_dot"))
    assert isinstance(config.model, LSTMConfig)
    assert (config.model.attention.name, config.optim.name, config.trainer.patience) == ("local_p", "sgd", 5)


def test_the_same_command_again_skips_what_is_finished(trainings, capsys):
    """Whatever the sweep's folder was called, and whatever is said of how to run it."""
    assert [seed for seed, _ in trainings.sweep("seed=1,2")] == [1, 2]
    (folder,) = Path("runs").iterdir()
    assert trainings.sweep("seed=1,2") == []
    assert trainings.sweep("seed=1,2", "device=cpu", "threads=1", "logger=jsonl") == []
    out = capsys.readouterr().out
    assert f"{folder} was begun before" in out
    assert "\n  seed_1  finished\n  seed_2  finished\n" in out
    assert [path.name for path in Path("runs").iterdir()] == [folder.name]


@pytest.mark.slow
def test_a_larger_sweep_trains_what_is_new(trainings):
    """In the folder of the smaller one."""
    trainings.sweep("seed=1,2")
    assert trainings.sweep("seed=1,2,3") == [(3, None)]
    (folder,) = Path("runs").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["seed_1", "seed_2", "seed_3"]


@pytest.mark.slow
def test_choices_may_be_typed_in_another_order(trainings):
    assert len(trainings.sweep("seed=1,2", "optim.lr=0.1,0.2", "sweep=s")) == 4
    assert trainings.sweep("optim.lr=0.1,0.2", "seed=1,2", "sweep=s") == []


@pytest.mark.slow
def test_another_setting_makes_another_run(trainings):
    """NAME-2, beside the finished one."""
    trainings.sweep("seed=1,2", "sweep=s")
    assert trainings.sweep("seed=1,2", "sweep=s", "trainer.max_steps=9") == [(1, None), (2, None)]
    assert sorted(path.name for path in Path("runs/s").iterdir()) == ["seed_1", "seed_1-2", "seed_2", "seed_2-2"]
    assert trainings.sweep("seed=1,2", "sweep=s") == []
    assert trainings.sweep("seed=1,2", "sweep=s", "trainer.max_steps=9") == []


def test_a_name_of_its_own_begins_a_new_sweep(trainings):
    trainings.sweep("seed=1,2")
    assert len(trainings.sweep("seed=1,2", "sweep=again")) == 2


@pytest.mark.slow  # a sweep of several trainings, twice
def test_what_failed_runs_again_and_what_was_interrupted_goes_on(trainings, capsys):
    """With a table of the states before and after."""
    trainings.failing, trainings.interrupted = {1}, {3}
    with pytest.raises(SystemExit) as caught:
        trainings.sweep("seed=1,2,3,4", "sweep=s")
    assert caught.value.code == 130
    capsys.readouterr()
    trainings.interrupted = set()
    with pytest.raises(SystemExit, match=r"^error: 1 of 4 jobs failed\n  seed_1: no luck$"):
        trainings.sweep("seed=1,2,3,4", "sweep=s")
    assert trainings.ran == [(1, Path("runs/s/seed_1")), (3, Path("runs/s/seed_3")), (4, None)]
    lines = capsys.readouterr().out.splitlines()
    (head,) = (number for number, line in enumerate(lines) if "best validation" in line)
    table = [line.split() for line in lines[head : head + 5]]
    assert table == [
        ["job", "before", "after", "best", "validation"],
        ["seed_1", "failed", "(no", "luck)", "failed"],
        ["seed_2", "finished", "finished", "loss", "2.0000"],
        ["seed_3", "half-done", "finished", "loss", "3.0000"],
        ["seed_4", "not", "started", "finished", "loss", "4.0000"],
    ]
    trainings.failing = set()
    assert trainings.sweep("seed=1,2,3,4", "sweep=s") == [(1, Path("runs/s/seed_1"))]


@pytest.mark.slow
def test_resume_still_goes_on_with_another_limit(trainings):
    """resume=true finds a run by its name; the training itself looks whether it may."""
    trainings.sweep("seed=1,2", "sweep=s")
    assert trainings.sweep("seed=1,2", "sweep=s", "resume=true") == []
    assert trainings.sweep("seed=1,2", "sweep=s", "resume=true", "trainer.max_steps=9") == [(1, None), (2, None)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("seed=1,2,1", "jobs 1 (seed_1) and 3 (seed_1) would train the same"),
        ("optim.lr=0.1,1e-1", "jobs 1 (lr_0.1) and 2 (lr_0.1) would train the same"),
        ("threads=1,2", "jobs 1 (threads_1) and 2 (threads_2) would train the same"),
        ("name=a,a", "jobs 1 (a) and 2 (a) would train the same"),
    ],
)
def test_a_job_twice_is_refused(words, message):
    """Names that are typed for each make two jobs of one configuration."""
    assert message in refused("-m", words)


@pytest.mark.parametrize("word", PLUG_INS)
def test_a_plug_in_that_is_not_installed_says_what_to_install(word, monkeypatch):
    """Whichever are installed here: Hydra finds none."""
    monkeypatch.setattr("nmt.cli.sweep.refuse_old_hydra", lambda overrides: None)
    group, _, name = word.partition("=")
    there = ConfigStore.instance().repo["hydra"][group.partition("/")[2]]
    monkeypatch.delitem(there, f"{name}.yaml", raising=False)
    message = refused("-m", "seed=1,2", word)
    assert message.startswith(f"error: {word} needs the package {PLUG_INS[word].split()[-1]}: pip install ")


# Jobs at the same time.


def test_every_line_says_whose_it_is():
    """Also the last, which has no end; a line is written at once, and there is no terminal."""
    stream = io.StringIO()
    out = Marked(stream, "[a] ")
    for text in ("one\ntw", "o", "\n\nthree"):
        out.write(text)
    assert stream.getvalue() == "[a] one\n[a] two\n[a]\n"
    out.finish()
    assert stream.getvalue().endswith("[a] three\n")
    assert not out.isatty()


def test_both_streams_are_marked(capsys):
    with marked_lines("job"):
        print("out")
        print("err", file=sys.stderr)
    assert capsys.readouterr() == ("[job] out\n", "[job] err\n")


# Optimizing sweepers.


def parsed(*words: str):
    return OverridesParser.create().parse_overrides(list(words))


@pytest.mark.parametrize(("version", "refuses"), [("1.3.8", True), ("1.4.0rc3", False), ("1.10.0", False)])
def test_an_old_hydra_is_refused_with_the_reason(monkeypatch, version, refuses):
    monkeypatch.setattr(optimizing.hydra, "__version__", version)
    optimizing.refuse_old_hydra(parsed("hydra/sweeper=basic"))
    if not refuses:
        optimizing.refuse_old_hydra(parsed("hydra/sweeper=optuna"))
        return
    with pytest.raises(ConfigError, match=r"needs Hydra 1\.4, and this is 1\.3\.8, .* Optuna 2"):
        optimizing.refuse_old_hydra(parsed("hydra/sweeper=optuna"))


def test_one_trial_is_checked_before_the_first():
    words = optimizing.example_words(
        parsed("seed=3", "optim.lr=interval(0.1,0.5)", "model.attention=global,none", "model.num_layers=range(1,4)")
    )
    assert words == ["seed=3", "optim.lr=0.1", "model.attention=global", "model.num_layers=1"]


@pytest.mark.parametrize(
    ("metric", "direction", "wanted"),
    [
        ("loss", "maximize", "minimize"),
        ("bleu", "minimize", "maximize"),
        ("loss", "minimize", None),
        ("bleu", "maximize", None),
    ],
)
def test_the_direction_is_that_of_the_metric(metric, direction, wanted):
    """Else the sweeper would look for the worst."""
    cfg = OmegaConf.create({"hydra": {"sweeper": {"direction": direction}}})
    config = SimpleNamespace(trainer=SimpleNamespace(metric=metric))
    if wanted is None:
        optimizing.check_optimizer(cfg, config)  # pyright: ignore[reportArgumentType]
        return
    with pytest.raises(ConfigError, match=f"type hydra.sweeper.direction={wanted}"):
        optimizing.check_optimizer(cfg, config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init_from=nosuch"], "init_from: nosuch: there is no such run directory"),
        (["device=cuda:99"], "device=cuda:99"),
        (["data.gold=nosuch"], "data.gold=nosuch is neither a file"),
        (["data=hansards_enfr", "data.gold=gold"], "no train.en and train.fr"),
        (["data.gold=test,nosuch"], "job 2 (data.gold_nosuch): data.gold=nosuch"),
    ],
)
def test_what_is_not_there_is_said_before_the_first_job(monkeypatch, words, said):
    trainings = Trainings(monkeypatch)
    assert said in refused("-m", "seed=1", *words)
    assert trainings.ran == []
    assert not Path("runs").exists()
