"""The records of a run: the same facts in log.jsonl and TensorBoard, read back with their own readers."""

import errno
import json
import math
import os
import re
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer import event_file_writer

from nmt.errors import ConfigError, RunError
from nmt.train.json_log import JSONLog
from nmt.train.log import LoggerConfig, RunLog, Sample, Validation


@pytest.fixture(autouse=True)
def files_in_order(monkeypatch: pytest.MonkeyPatch):
    """TensorBoard reads files by name: second, host, process, number; and number 10 would come before number 9.

    Only tests open a folder twice within a second and a process.
    """
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def events(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values, in the three or four digits that were put in: TensorBoard keeps float32."""
    return [(e.step, round(e.value, 6)) for e in events(directory).Scalars(tag)]


def picture() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().imshow([[0.0, 1.0]])
    return figure


def validation(bleu: float) -> Validation:
    samples = [Sample("ein <b> *Hund*", "a dog", "a  | dog")]
    return Validation({"loss": 1.5, "bleu": bleu}, samples, {"heatmap/3": picture()})


def test_training_figures_go_to_both_records(tmp_path):
    with RunLog(tmp_path, LoggerConfig()) as log:
        log.training(50, {"loss": 2.0, "lr": 1e-3})
        log.training(100, {"loss": 1.0, "lr": 1e-3})
    assert [(line["event"], line["step"], line["loss"]) for line in lines(tmp_path)] == [
        ("train", 50, 2.0),
        ("train", 100, 1.0),
    ]
    assert scalars(tmp_path, "train/loss") == [(50, 2.0), (100, 1.0)]
    assert scalars(tmp_path, "train/lr") == [(50, 1e-3), (100, 1e-3)]


def test_a_validation_is_metrics_samples_and_pictures(tmp_path, capsys):
    with RunLog(tmp_path, LoggerConfig()) as log:
        log.validation(100, validation(20.0), improved=True, minutes=2.0)
        log.validation(200, validation(19.0), improved=False, minutes=4.0)
    assert "bleu 20.00  best so far" in capsys.readouterr().out
    first = lines(tmp_path)[0]
    assert (first["bleu"], first["improved"], first["minutes"]) == (20.0, True, 2.0)
    assert first["samples"] == [{"source": "ein <b> *Hund*", "reference": "a dog", "hypothesis": "a  | dog"}]
    assert scalars(tmp_path, "validation/bleu") == [(100, 20.0), (200, 19.0)]
    assert scalars(tmp_path, "best/bleu") == [(100, 20.0)]
    read = events(tmp_path)
    assert [image.step for image in read.Images("heatmap/3")] == [100, 200]  # one tag: the slider goes over steps
    [text, _] = read.Tensors("samples/1/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "    source      ein <b> *Hund*\n" in shown
    assert "a  | dog" in shown


def test_settings_are_in_the_runs_own_events(tmp_path):
    """A session without an experiment summary, which TensorBoard would take for every run's list of keys."""

    class Colour(Enum):
        red = 1

    with RunLog(tmp_path, LoggerConfig()) as log:
        log.hparams({"optim.lr": 0.1, "model.bias": True, "model.attention": "local_p", "x": None, "y": Colour.red})
    content = events(tmp_path).summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    session = metadata.parse_session_start_info_plugin_data(content)
    values = {k: getattr(v, str(v.WhichOneof("kind"))) for k, v in session.hparams.items()}
    assert values == {"optim.lr": 0.1, "model.bias": True, "model.attention": "local_p", "x": "null", "y": "red"}
    assert metadata.EXPERIMENT_TAG not in events(tmp_path).summary_metadata
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []
    assert lines(tmp_path)[0]["values"]["y"] == "red"


def test_a_resumed_run_appends_and_takes_back_what_was_lost(tmp_path):
    """Steps behind the checkpoint vanish from both records, and so does a line that a crash cut short."""
    with RunLog(tmp_path, LoggerConfig()) as log:
        log.event("built", parameters=3)
        for step in (50, 100, 150):
            log.training(step, {"loss": 9.0})
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "train", "st')
    with RunLog(tmp_path, LoggerConfig(), step=100) as log:
        log.training(150, {"loss": 1.0})
    assert scalars(tmp_path, "train/loss") == [(50, 9.0), (100, 9.0), (150, 1.0)]
    assert [(line["event"], line.get("step"), line.get("loss")) for line in lines(tmp_path)] == [
        ("built", None, None),
        ("train", 50, 9.0),
        ("train", 100, 9.0),
        ("resume", 100, None),
        ("train", 150, 1.0),
    ]


def test_a_run_that_had_no_checkpoint_begins_again(tmp_path):
    """In the same folder: nothing of the lost attempt stays."""
    for loss in (9.0, 1.0):
        with RunLog(tmp_path, LoggerConfig()) as log:
            log.training(50, {"loss": loss})
    assert scalars(tmp_path, "train/loss") == [(50, 1.0)]
    assert [(line["event"], line["step"]) for line in lines(tmp_path)] == [("resume", 0), ("train", 50)]


def test_each_set_that_was_scored_has_figures_and_text_of_its_own(tmp_path, capsys):
    with RunLog(tmp_path, LoggerConfig()) as log:
        log.scored(100, "validation", "BLEU 20", {"bleu": 20.0})
        log.scored(100, "test", "BLEU 30", {"bleu": 30.0})
    assert [(line["set"], line["bleu"]) for line in lines(tmp_path)] == [("validation", 20.0), ("test", 30.0)]
    assert scalars(tmp_path, "scored test/bleu") == [(100, 30.0)]
    [text] = events(tmp_path).Tensors("scored validation/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "    BLEU 20"
    assert capsys.readouterr().out == "BLEU 20\nBLEU 30\n"


def test_a_line_is_a_line_to_every_reader(tmp_path):
    """Whatever a sample holds."""
    odd = "a\u2028b\x85c\nd é"
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        log.event("odd", text=odd)
    [line] = lines(tmp_path)
    assert line["text"] == odd
    assert "é" in (tmp_path / "log.jsonl").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_explained(tmp_path):
    """One error that names the file, and no other on the way out."""
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        (tmp_path / "log.jsonl").unlink()
        [json_log] = log.loggers
        assert isinstance(json_log, JSONLog)
        json_log.file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115 - the log closes it
        with pytest.raises(RunError, match=r"log\.jsonl could not be written: No space left on device"):
            log.event("built")


def test_a_key_that_may_be_null_is_text_in_every_run(tmp_path):
    """Text in one run and a number in another, and TensorBoard would leave one of them out; the row has a name."""
    with RunLog(tmp_path, LoggerConfig()) as log:
        log.hparams(
            {"optim.lr": 0.1, "decode.max_ratio": 2.0, "model.bias": True}, {"optim.lr", "model.bias"}, "runs/a"
        )
    content = events(tmp_path).summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    session = metadata.parse_session_start_info_plugin_data(content)
    values = {k: getattr(v, str(v.WhichOneof("kind"))) for k, v in session.hparams.items()}
    assert values == {"optim.lr": 0.1, "decode.max_ratio": "2.0", "model.bias": True}
    assert session.group_name == "runs/a"
    assert lines(tmp_path)[0]["values"]["decode.max_ratio"] == 2.0


def test_other_ranks_write_nothing(tmp_path, capsys):
    with RunLog(tmp_path / "run", LoggerConfig(), main=False) as log:
        log.event("built", "a model", parameters=3)
        log.hparams({"a": 1})
        log.training(1, {"loss": 1.0})
        log.validation(1, validation(1.0), improved=True)
        log.progress(1, 0.5, 3.0)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


def test_without_tensorboard_there_is_only_the_jsonl(tmp_path, capsys):
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        log.event("data", "12 pairs\n 3 dropped", pairs=12, bad=math.nan, path=Path("a/b"), nested={"k": [Path("c")]})
        log.validation(1, validation(1.0), improved=True)
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
    fact = lines(tmp_path)[0]
    assert (fact["pairs"], fact["bad"], fact["path"], fact["nested"]) == (12, None, "a/b", {"k": ["c"]})
    assert capsys.readouterr().out.startswith("12 pairs\n 3 dropped\n")


def test_each_line_is_on_disk_at_once(tmp_path):
    log = RunLog(tmp_path, LoggerConfig(tensorboard=False))
    log.training(1, {"loss": 1.0})
    assert lines(tmp_path)[0]["loss"] == 1.0
    log.close()


def test_off_a_terminal_training_figures_are_rare(tmp_path, capsys):
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        for step in range(1, 100):
            log.training(step, {"loss": 1.0})
            log.progress(step, step / 100, 1.0)
    out, err = capsys.readouterr()
    assert out == "step 1  loss 1.0000\n"
    assert err == ""


def test_on_a_terminal_a_bar_shows_figures_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        assert log.console is not None
        assert log.console.bar is not None
        log.console.bar.mininterval = 0.0
        log.training(7, {"loss": 1.25, "tokens_per_second": 5210.4})
        log.progress(7, 0.5, 83.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert " 50%|" in err
    assert "step 7  01:23 left  loss 1.2500  5,210 tokens/s" in err


@pytest.mark.parametrize("kernel", [True, False], ids=["notebook", "IPython without one"])
def test_in_a_notebook_the_bar_stands_among_the_lines(kernel, tmp_path, capsys, monkeypatch):
    """Each line takes its place for a moment."""
    shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with RunLog(tmp_path, LoggerConfig(tensorboard=False)) as log:
        assert log.console is not None
        if log.console.bar is not None:
            log.console.bar.mininterval = 0.0
        log.training(7, {"loss": 1.25})
        log.progress(7, 0.5, 83.0)
        log.say("a line")
    out, err = capsys.readouterr()
    assert err == ""
    assert (" 50%|" in out) is kernel
    assert (re.search(r"\r {50,}\ra line\n\r 50%", out) is not None) is kernel


def test_impossible_values_are_refused_by_their_key():
    with pytest.raises(ConfigError, match=r"logger\.every must be at least 1, got 0"):
        LoggerConfig(every=0)


def test_a_disk_that_refuses_to_shorten_the_log_is_reported(tmp_path, monkeypatch):
    """The log of a resumed run is rewritten whole or not at all."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "train", "step": 5}\n', encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"log\.jsonl could not be written: No space"):
        RunLog(tmp_path, LoggerConfig(tensorboard=False), step=1)
    assert path.read_text(encoding="utf-8") == '{"event": "train", "step": 5}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
