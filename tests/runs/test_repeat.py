"""Which run directory belongs to a job of a sweep that is typed again, and how far it came."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nmt.config import Config
from nmt.data.corpus import PhrasesConfig
from nmt.device import Precision
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.runs.directory import save_config, write_json
from nmt.runs.repeat import State, earlier_sweep, find_runs, progress_of, same_run
from nmt.train.log import LoggerConfig


def config(name: str = "a", **values) -> Config:
    made = Config(name=name, sweep="s", model=LSTMConfig(attention=GlobalConfig()), data=PhrasesConfig(), **values)
    made.trainer.precision = Precision.fp32
    return made


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_log(directory: Path, *events: dict) -> None:
    (directory / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "cpu"), ("threads", 3), ("name", "b"), ("runs", "elsewhere"), ("sweep", "t"), ("resume", True)],
)
def test_how_it_is_run_makes_no_other_run(key, value):
    assert same_run(config(), replace(config(), **{key: value}))
    assert same_run(config(), replace(config(), logger=LoggerConfig(every=3, tensorboard=False)))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("trainer", "max_steps", 7), ("trainer", "metric", "bleu"), ("optim", "lr", 0.5), ("decode", "beam_size", 2)],
)
def test_everything_else_does(section, key, value):
    other = config()
    setattr(getattr(other, section), key, value)
    assert not same_run(config(), other)
    assert not same_run(config(), replace(config(), seed=2))


def test_precision_auto_is_what_the_device_had():
    """config.yaml of a run never says auto."""
    asked = config()
    asked.trainer.precision = Precision.auto
    assert same_run(config(), asked)
    asked.trainer.precision = Precision.bf16
    assert not same_run(config(), asked)


def test_a_run_is_found_by_its_configuration():
    """First among those of the job's own name, then in the whole folder; no two jobs get the same run."""
    folder = Path("runs/s")
    save_config(folder / "a", config("a", seed=1))
    save_config(folder / "a-2", config("a", seed=2))
    save_config(folder / "other", config("other", seed=3))
    (folder / "no_run").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.yaml").write_text("model: [", encoding="utf-8")
    jobs = [config("a", seed=1), config("a", seed=2), config("x", seed=3), config("y", seed=3), config("a", seed=4)]
    assert find_runs(jobs) == [folder / "a", folder / "a-2", folder / "other", None, None]
    assert find_runs([config("b", seed=1), config("a", seed=1)]) == [None, folder / "a"], "a name comes first"


def test_the_newest_sweep_with_one_of_the_jobs_is_gone_on_with():
    """Of those that were named by their time: a sweep with a name of its own has to be named again."""
    for folder in ("2026-01-02_03-04-05", "2026-01-03_03-04-05", "mine"):
        save_config(Path("runs", folder, "a"), config("a"))
    save_config(Path("runs/2026-01-04_03-04-05/a"), config("a", seed=9))
    jobs = [config("b", seed=2), config("a")]
    assert earlier_sweep("runs", jobs) == "2026-01-03_03-04-05"
    assert earlier_sweep("runs", jobs[:1]) is None
    assert earlier_sweep("nowhere", jobs[1:]) is None
    assert earlier_sweep("runs", [config("another_name")]) == "2026-01-03_03-04-05"


BUILT, END = {"event": "built"}, {"event": "end", "ending": "steps", "best_step": 4, "best_metrics": {"loss": 1.5}}


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], State.half_done),
        ([BUILT, {"event": "train", "step": 3}], State.half_done),
        ([BUILT, END | {"ending": "interrupted"}], State.half_done),
        ([BUILT, {"event": "failed", "reason": "no"}], State.failed),
        ([BUILT, {"event": "failed", "reason": "no"}, {"event": "resume"}], State.half_done),
        ([BUILT, END, {"event": "scored", "step": 4}], State.finished),
        ([BUILT, END, {"event": "failed", "reason": "no"}], State.failed),
    ],
)
def test_how_far_a_run_came(events, state):
    directory = Path("run")
    save_config(directory, config())
    for name in ("validation", "test"):
        write_json(directory / "scores" / name / "results.json", {"step": 4})
    write_log(directory, *events)
    progress = progress_of(directory, config())
    assert progress.state is state
    assert progress.objective == (1.5 if state is State.finished else None)
    assert progress_of(None, config()).state is State.new


def test_a_finished_run_has_scores_of_its_best_weights():
    """Those of an earlier, shorter training do not count, and no test set may lack them."""
    directory = Path("run")
    save_config(directory, config())
    write_log(directory, BUILT, END)
    write_json(directory / "scores" / "validation" / "results.json", {"step": 4})
    assert str(progress_of(directory, config())) == "half-done (to be scored)"
    write_json(directory / "scores" / "test" / "results.json", {"step": 2})
    assert progress_of(directory, config()).state is State.half_done
    write_json(directory / "scores" / "test" / "results.json", {"step": 4})
    assert progress_of(directory, config()).state is State.finished


def test_a_run_without_test_sets_is_finished_by_its_validation_set():
    """data.test=[] scores nothing else; else the sweep would try it again for ever."""
    asked = config()
    asked.data.test = []
    directory = Path("run")
    save_config(directory, asked)
    write_log(directory, BUILT, END)
    write_json(directory / "scores" / "validation" / "results.json", {"step": 4})
    assert progress_of(directory, asked).state is State.finished
    assert progress_of(directory, config()).state is State.half_done


def test_a_line_that_a_crash_cut_short_is_no_event():
    directory = Path("run")
    save_config(directory, config())
    write_log(directory, BUILT, {"event": "train", "step": 1234})
    with (directory / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "end", "end')
    assert str(progress_of(directory, config())) == "half-done (step 1,234)"
