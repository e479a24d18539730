"""What a checkpoint needs to resume from: how far training has come, and the random number generators."""

import random

import numpy as np
import pytest
import torch

from nmt.runs import checkpoint
from nmt.train.training_state import TrainingState, capture_rng, restore_rng

CPU = torch.device("cpu")


def test_random_numbers_go_on_where_they_were(tmp_path):
    """Through a file, for every generator."""

    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(2).tolist()

    draw()  # leaves the second half of each generator's Gaussian pair behind
    checkpoint.save(tmp_path / "a.pt", {"model": {}, "rng": capture_rng(CPU)})
    expected = [draw() for _ in range(3)]
    restore_rng(checkpoint.load(tmp_path / "a.pt")["rng"], CPU)
    assert [draw() for _ in range(3)] == expected


def test_the_keys_of_earlier_versions_are_read_and_written():
    """Runs that they made can be resumed, and they could read what is saved now."""
    old = {
        **{"step": 30, "seconds": 12.5, "validated": 30, "waited": 2},
        **{"best_step": 10, "best_metrics": {"loss": 1.5}},
    }
    state = TrainingState.from_state_dict(old)
    assert (state.validated_step, state.validations_since_best) == (30, 2)
    assert state.state_dict() == old
    state.step = 40
    assert state.record_validation({"loss": 1.0}, "loss")
    assert state.state_dict() == {
        **{"step": 40, "seconds": 12.5, "validated": 40, "waited": 0},
        **{"best_step": 40, "best_metrics": {"loss": 1.0}},
    }
    for key in old:
        with pytest.raises(KeyError, match=key):
            TrainingState.from_state_dict({k: v for k, v in old.items() if k != key})
