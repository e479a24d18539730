"""Weights kept for averages: the latest, the best, both, and nothing else."""

import math

import pytest
import torch

from nmt.runs import checkpoint, retention

BLEU = [3.0, 9.0, 9.0, math.nan, 1.0, 7.0]  # at steps 10, 20, ..., 60


def names(directory):
    return [int(path.stem.removeprefix("step-")) for path in retention.retained_checkpoints(directory)]


def keep_all(directory, last, most, metric="bleu"):
    for step, value in enumerate(BLEU, 1):
        state = {"model": {"w": torch.tensor(step)}, "step": 10 * step, "metrics": {"bleu": value, "loss": value}}
        retention.retain(directory, state, last, most, metric)


def test_the_latest_stay_where_one_of_them_is_damaged(tmp_path):
    keep_all(tmp_path, 3, 0)
    (tmp_path / retention.FILE.format(40)).write_bytes(b"broken")
    retention.retain(tmp_path, {"model": {}, "step": 70, "metrics": {}}, 3, 0, "bleu")
    assert names(tmp_path) == [50, 60, 70]


@pytest.mark.parametrize(
    ("last", "most", "expected"),
    [
        (0, 0, []),
        (2, 0, [50, 60]),
        (4, 0, [30, 40, 50, 60]),  # fewer are there than are wanted, at first
        (99, 0, [10, 20, 30, 40, 50, 60]),
        (0, 1, [20]),
        (0, 3, [20, 30, 60]),
        (1, 2, [20, 30, 60]),
        (2, 4, [10, 20, 30, 50, 60]),
    ],
)
def test_the_latest_and_the_best_stay(tmp_path, last, most, expected):
    """Equals in the order they came in, and NaN behind every number."""
    keep_all(tmp_path, last, most)
    assert names(tmp_path) == expected


def test_losses_are_better_when_lower(tmp_path):
    keep_all(tmp_path, 0, 2, "loss")
    assert names(tmp_path) == [10, 50]
    assert [
        checkpoint.load(p)["step"]
        for p in retention.best_checkpoints(retention.retained_checkpoints(tmp_path), 9, "loss")
    ] == [50, 10]


def test_keeping_nothing_deletes_nothing(tmp_path):
    """Whoever stops keeping still has what was kept."""
    keep_all(tmp_path, 2, 0)
    keep_all(tmp_path, 0, 0)
    assert names(tmp_path) == [50, 60]
