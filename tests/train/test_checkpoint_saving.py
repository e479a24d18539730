"""What the loop saves, in which order and under which keys: in any checkpoint store, here one in memory."""

import copy
from typing import Any

import pytest
import torch
from train_fakes import FakeBatches, FakeModel, weights
from train_loops import CPU, QUIET, found, measure

from nmt.device import Precision
from nmt.errors import RunError
from nmt.train.config import TrainerConfig
from nmt.train.log import RunLog
from nmt.train.loop import Trainer
from nmt.train.optim import OptimConfig

# Files that earlier versions wrote have these keys, and are resumed by them.
WEIGHTS = {"model", "step", "precision", "metrics"}
RESUMABLE = {"optimizer", "optimizer_name", "schedule", "batches", "standing", "rng"}


class PowerCut(BaseException):
    """Nothing in the program handles it."""


class MemoryStore:
    """Keeps copies of checkpoints; from the save number ``cut`` on it fails, as if the power were cut before it."""

    last_name = "memory"

    def __init__(self, cut: int | None = None) -> None:
        self.saved: list[tuple[str, dict[str, Any]]] = []
        self.cut = cut

    def save(self, kind: str, state: dict[str, Any]) -> None:
        if len(self.saved) == self.cut:
            raise PowerCut
        self.saved.append((kind, copy.deepcopy(state)))

    def save_best(self, weights: dict[str, Any]) -> None:
        self.save("best", weights)

    def save_validated(self, weights: dict[str, Any]) -> None:
        self.save("validated", weights)

    def save_last(self, state: dict[str, Any]) -> None:
        self.save("last", state)

    def load_last(self) -> dict[str, Any]:
        states = [state for kind, state in self.saved if kind == "last"]
        if not states:
            raise RunError("memory: there is no such checkpoint")
        return copy.deepcopy(states[-1])


def trained(tmp_path, store: MemoryStore, *, validate=measure, resume: bool = False, ema: float = 0.0) -> torch.Tensor:
    """The weights after 15 updates with a validation every 5."""
    torch.manual_seed(99 if resume else 0)
    model = FakeModel(dropout=0.3)
    config = TrainerConfig(max_steps=15, validate_every=5, precision=Precision.fp32, ema=ema)
    with RunLog(tmp_path, QUIET) as log:
        optim = OptimConfig(warmup=0, lr=0.02)
        trainer = Trainer(
            model, FakeBatches(), validate, config=config, optim=optim, log=log, checkpoints=store, device=CPU
        )
        trainer.run(resume)
    return weights(model)


def test_weights_of_a_validation_are_saved_before_the_state_to_resume_from(tmp_path):
    """So that after a crash in between the validation, whose weights are already there, is simply made again."""
    store = MemoryStore()
    losses = {5: 2.0, 10: 3.0, 15: 1.0}
    trained(tmp_path, store, validate=lambda model, step: found(losses[step]))
    assert [(kind, state["step"]) for kind, state in store.saved] == [
        *(("best", 5), ("validated", 5), ("last", 5)),
        *(("validated", 10), ("last", 10)),
        *(("best", 15), ("validated", 15), ("last", 15)),
    ]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_checkpoints_have_the_keys_of_earlier_versions(tmp_path, ema):
    store = MemoryStore()
    trained(tmp_path, store, ema=ema)
    for kind, state in store.saved:
        assert set(state) == (WEIGHTS | RESUMABLE | ({"ema"} if ema else set()) if kind == "last" else WEIGHTS)
    last = store.load_last()
    assert set(last["standing"]) == {"step", "seconds", "validated", "waited", "best_step", "best_metrics"}
    assert set(last["schedule"]) == {"reductions", "waited"}


@pytest.mark.parametrize("cut", range(3, 9))  # from the first save of a "last" on, of nine saves
def test_a_power_cut_at_any_save_loses_nothing_but_time(tmp_path, cut):
    """Resumed from what was saved before it, training ends with the same weights, and all checkpoints are there."""
    whole, store = MemoryStore(), MemoryStore(cut)
    expected = trained(tmp_path / "whole", whole)
    with pytest.raises(PowerCut):
        trained(tmp_path / "parts", store)
    store.cut = None
    assert torch.equal(trained(tmp_path / "parts", store, resume=True), expected)
    kinds = [{(kind, state["step"]) for kind, state in s.saved} for s in (whole, store)]
    assert kinds[0] == kinds[1]
    assert len(whole.saved) == 9


def test_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(RunError, match="memory: there is no such checkpoint"):
        trained(tmp_path, MemoryStore(), resume=True)
