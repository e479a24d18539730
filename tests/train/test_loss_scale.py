"""Training in fp16: small gradients survive, overflows are skipped, a resumed training has the same scale."""

import copy
import random

import pytest
import torch
from model_cases import A_THIRD_FAST, batch_of, build
from train_fakes import FakeBatches, FakeModel, fake_batch, weights

from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.train.config import Strategy, TrainerConfig
from nmt.train.distributed import Ranks, check_strategy
from nmt.train.loss_scale import LossScale
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")


def updater(model, precision: Precision = Precision.fp16, **config) -> Updater:
    """Plain SGD at rate 1 without clipping: the step is the gradient."""
    trainer = TrainerConfig(**{"clip": None, **config})
    return Updater(model, trainer, OptimConfig(warmup=0, name=OptimizerName.sgd, lr=1.0), precision, CPU, Ranks())


def fake_model() -> FakeModel:
    torch.manual_seed(1)
    return FakeModel(dtype=torch.float32)


def scale(of: Updater) -> float:
    return of.loss_scale.state_dict()["scale"]


def test_gradients_too_small_for_fp16_are_not_lost(monkeypatch):
    """Of a loss that is divided by a hundred million, as in a batch of many tokens; without a scale all are zero."""
    monkeypatch.setattr("nmt.train.step.Ranks.sum", lambda self, *values: [1e8 * value for value in values])
    moved = {}
    for name in ("fp32", "fp16", "unscaled"):
        model = fake_model()
        with torch.no_grad():
            model.project.weight.zero_()  # the weights are exact, so that a small step is seen
        of = updater(model, Precision.fp32 if name == "fp32" else Precision.fp16)
        if name == "unscaled":
            of.loss_scale = LossScale(Precision.fp32, CPU)
        of.step([fake_batch(random.Random(1), 4)], 1, 0.0)
        moved[name] = model.project.weight.detach().clone()
    assert moved["unscaled"].count_nonzero() < moved["fp32"].count_nonzero() / 2
    torch.testing.assert_close(moved["fp16"], moved["fp32"], rtol=0.02, atol=0.01 * float(moved["fp32"].abs().max()))


def test_an_overflow_is_skipped_and_halves_the_scale():
    model = fake_model()
    of = updater(model)
    before, first = weights(model), scale(of)
    model.poison = True
    of.step([fake_batch(random.Random(1), 4)], 1, 0.0)
    assert torch.equal(weights(model), before)
    assert scale(of) == first / 2
    model.poison = False
    of.step([fake_batch(random.Random(1), 4)], 2, 0.0)
    assert not torch.equal(weights(model), before)
    assert scale(of) == first / 2
    assert of.statistics.read(Ranks())[0]["skipped"] == 1


def test_the_scale_doubles_after_many_updates_and_is_resumed():
    """A new updater goes on counting where the old one was."""
    batches = FakeBatches().batches
    of = updater(fake_model())
    of.loss_scale.scaler.set_growth_interval(5)
    for number in range(1, 4):
        of.step([batches[number]], number, 0.0)
    saved = copy.deepcopy(of.weights() | {"model": of.weights()} | of.resumable())
    again = updater(fake_model())
    again.restore(saved)
    for each in (of, again):
        first = scale(each)
        each.step([batches[4]], 4, 0.0)
        assert scale(each) == first
        each.step([batches[5]], 5, 0.0)
        assert scale(each) == 2 * first
    assert torch.equal(weights(of.model), weights(again.model))


@pytest.mark.parametrize("old", [Precision.fp32, Precision.bf16])
def test_a_training_in_another_precision_goes_on_in_fp16(old):
    """And back."""
    of = updater(fake_model(), old)
    of.step([fake_batch(random.Random(1), 4)], 1, 0.0)
    saved = {"model": of.weights(), **of.resumable()}
    assert "loss_scale" not in saved
    again = updater(fake_model())
    again.restore(saved)
    again.step([fake_batch(random.Random(1), 4)], 2, 0.0)
    saved = {"model": again.weights(), **again.resumable()}
    of.restore(saved)
    of.step([fake_batch(random.Random(1), 4)], 3, 0.0)


@pytest.mark.parametrize("name", A_THIRD_FAST)
def test_gradients_of_every_model_are_nearly_those_of_fp32(name):
    found = []
    for precision in (Precision.fp32, Precision.fp16):
        model = build(name).float().train()
        before = weights(model)
        of = updater(model, precision)
        of.step([batch_of()], 1, 0.0)
        assert of.statistics.read(Ranks())[0]["skipped"] == 0
        found.append(weights(model) - before)
    fp32, fp16 = found
    assert (fp16 - fp32).norm() < 0.05 * fp32.norm()


def test_shares_of_a_model_are_not_scaled():
    trainer = TrainerConfig(strategy=Strategy.fsdp, precision=Precision.fp16)
    with pytest.raises(ConfigError, match=r"fp16 needs trainer\.strategy=ddp"):
        check_strategy(trainer, OptimConfig(), 2)
