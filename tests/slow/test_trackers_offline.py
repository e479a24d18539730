"""wandb, trackio and mlflow in their offline modes: a run that was resumed is one run there, and has no step twice.

Pictures of attention arrive as they are drawn; trackio takes none.
"""

import io
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nmt.eval.figures.heatmap import NotebookFigure
from nmt.train.log import LoggerConfig, RunLog, Validation

pytestmark = pytest.mark.slow


PICTURE = "attention translation/sentence 0"


def train(directory: Path, config: LoggerConfig, step: int, steps: tuple[int, ...], loss: float) -> None:
    """What a training from ``step`` on tells."""
    with RunLog(directory, config, step=step) as log:
        log.hparams({"optim.lr": 0.5, "model.attention": "local_p"})
        for at in steps:
            log.training(at, {"loss": loss})
            log.validation(at, Validation({"loss": loss}, figures={PICTURE: drawn(at)}), improved=True)


def drawn(step: int) -> NotebookFigure:
    """A figure of the class that heatmaps have."""
    figure = NotebookFigure(figsize=(1, 1))
    figure.text(0.1, 0.5, str(step))
    return figure


def assert_pictures(files: dict[int, Path]) -> None:
    """By step: each shows what was drawn for it, pixel by pixel."""
    assert sorted(files) == [100, 200, 300]
    for step, path in files.items():
        expected = io.BytesIO()
        drawn(step).savefig(expected, format="png")
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(expected)))


def records(file: Path) -> Iterator[bytes]:
    """The records of a file of wandb's, a LevelDB log: blocks of 32 KiB, and in them pieces of records.

    A piece is a checksum (4 bytes), its length (2), whether it is a whole record (1), the first (2), a middle (3) or
    the last piece of one (4), and its bytes.  A header of 7 bytes begins the file.
    """
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""


def test_wandb(tmp_path, monkeypatch):
    record_type = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = LoggerConfig(tensorboard=False, more=["wandb"])
    train(tmp_path, config, 0, (100, 200), 2.0)
    time.sleep(1.1)  # wandb names a folder by the second, and no process starts twice within one
    train(tmp_path, config, 100, (200, 300), 2.0)
    pytest.importorskip("wandb").teardown()  # its process may still be writing
    ids, steps, settings, pictures = set(), [], {}, {}
    for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        for data in records(file):
            record = record_type()
            record.ParseFromString(data)
            if record.run.run_id:
                ids.add(record.run.run_id)
            for row in (record.run.config.update, record.config.update):
                settings |= {item.key or item.nested_key[0]: item.value_json for item in row}
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "train/loss" in row:
                steps.append((row["step"], row["train/loss"]))
            if f"{PICTURE}.path" in row:
                pictures[row["step"]] = file.parent / "files" / row[f"{PICTURE}.path"]
    assert len(ids) == 1
    assert steps == [(100, 2.0), (200, 2.0), (300, 2.0)]
    assert settings["optim.lr"] == "0.5"
    assert_pictures(pictures)


def test_trackio(tmp_path, monkeypatch):
    for module in ("trackio.utils", "trackio.sqlite_storage"):
        monkeypatch.setattr(pytest.importorskip(module), "TRACKIO_DIR", tmp_path / "trackio")
    config = LoggerConfig(tensorboard=False, more=["trackio"])
    train(tmp_path / "run", config, 0, (100, 200), 2.0)
    train(tmp_path / "run", config, 100, (200, 300), 2.0)
    [file] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
        [(settings,)] = set(database.execute("select config from configs").fetchall())
    assert len({name for name, _, _ in rows}) == 1
    assert [(step, json.loads(metrics)["train/loss"]) for _, step, metrics in rows] == [
        (100, 2.0),
        (200, 2.0),
        (300, 2.0),
    ]
    assert json.loads(settings)["optim.lr"] == 0.5


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    config = LoggerConfig(tensorboard=False, more=["mlflow"])
    train(tmp_path / "run", config, 0, (100, 200), 2.0)
    train(tmp_path / "run", config, 100, (200, 300), 2.0)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("nmt")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(100, 2.0), (200, 2.0), (300, 2.0)]
    assert run.data.params["optim.lr"] == "0.5"
    assert run.info.status == "FINISHED"
    found = client.list_artifacts(run.info.run_id, PICTURE)
    folder = Path(client.download_artifacts(run.info.run_id, PICTURE))
    assert_pictures({int(Path(file.path).stem.removeprefix("step-")): folder / Path(file.path).name for file in found})
