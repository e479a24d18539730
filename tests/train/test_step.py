"""What an update is made of: normalization, accumulation, the longest batch, the figures."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from train_fakes import FakeBatches, FakeModel, HostReads, fake_batch, gradients, rows, weights

from nmt.batch import PAD, collate
from nmt.device import Precision, seed_everything
from nmt.errors import ConfigError
from nmt.train.config import Normalization, TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")


def updater(model, **config) -> Updater:
    """Plain SGD at rate 1 without clipping: the step is the gradient."""
    trainer = TrainerConfig(**{"clip": None, **config})
    return Updater(model, trainer, OptimConfig(warmup=0, name=OptimizerName.sgd, lr=1.0), Precision.fp32, CPU, Ranks())


def model_of(seed: int = 0, **options) -> FakeModel:
    torch.manual_seed(seed)
    return FakeModel(**options)


def step_of(model, group, **config) -> torch.Tensor:
    before = weights(model)
    updater(model, **config).step(group, 1, 0.0)
    return before - weights(model)


@pytest.mark.parametrize("normalization", Normalization)
def test_the_gradient_is_that_of_the_loss_over_tokens_or_sentences(normalization):
    """Against autograd of a loss summed by hand, word by word."""
    batch, model = fake_batch(random.Random(3), 5), model_of()
    reference = copy.deepcopy(model)
    total = torch.zeros((), dtype=torch.float64)
    words = 0
    for b in range(5):
        for t in range(batch.target_out.size(1)):
            word = int(batch.target_out[b, t])
            if word == PAD:
                continue
            source = reference.embed(batch.source[b, : batch.source_lengths[b]]).mean(0)
            hidden = torch.tanh(reference.hidden(source + reference.embed(batch.target_in[b, t])))
            log_p = F.log_softmax(reference.project(hidden), 0)
            total = total - 0.9 * log_p[word] - 0.1 * log_p.mean()
            words += 1
    (total / (words if normalization is Normalization.tokens else 5)).backward()
    torch.testing.assert_close(step_of(model, [batch], normalization=normalization), gradients(reference))


@pytest.mark.parametrize("normalization", Normalization)
def test_accumulated_batches_are_one_large_batch(normalization):
    """However unequal the parts."""
    whole = fake_batch(random.Random(4), 9)
    parts = [rows(whole, slice(0, 1)), rows(whole, slice(1, 7)), rows(whole, slice(7, 9))]
    together = step_of(model_of(), [whole], normalization=normalization)
    apart = step_of(model_of(), parts, normalization=normalization, accumulate=3)
    torch.testing.assert_close(apart, together, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_trying_the_longest_batch_leaves_no_trace(accumulate):
    """Neither in weights, gradients and optimizer nor in any random number generator."""
    model = model_of(dropout=0.5)
    u = Updater(model, TrainerConfig(accumulate=accumulate), OptimConfig(warmup=0), Precision.fp32, CPU, Ranks())
    before = weights(model)
    seed_everything(1)
    u.try_longest(FakeBatches().longest())
    drawn = random.random(), np.random.rand(), torch.rand(3)
    seed_everything(1)
    assert drawn[:2] == (random.random(), np.random.rand())
    assert torch.equal(drawn[2], torch.rand(3))
    assert torch.equal(weights(model), before)
    assert all(p.grad is None for p in model.parameters())
    assert not u.optimizer.state
    assert model.calls == min(accumulate, 2)


def test_memory_that_runs_out_names_the_key():
    class Greedy(FakeModel):
        def forward(self, batch, want_maps=False, r_drop=0.0, cutoff=0.0):
            raise torch.OutOfMemoryError("CUDA out of memory")

    batch = collate([[4, 5, 6]] * 2, [[4] * 7] * 2, [0, 1])
    with pytest.raises(ConfigError, match=r"2 x \(3 \+ 8\).*data\.batching\.tokens"):
        updater(Greedy()).try_longest(batch)


@pytest.mark.parametrize("name", OptimizerName)
def test_an_update_reads_nothing_back_but_counts_of_cpu_batches(name):
    """And, for torch's Muon, which cannot skip an update by itself, whether the gradient is finite."""
    model = model_of()
    u = Updater(model, TrainerConfig(accumulate=2), OptimConfig(warmup=0, name=name), Precision.fp32, CPU, Ranks())
    group = FakeBatches().batches[:2]
    for number, poison in enumerate([False, True, False], 1):
        model.poison = poison
        with HostReads() as reads:
            u.step(group, number, 0.0)
        assert reads.count == len(group) + (name is OptimizerName.muon)


def test_figures_are_those_of_the_batches():
    """loss is -log p per token without smoothing, whatever the batches' sizes."""
    model = model_of()
    u = Updater(model, TrainerConfig(clip=None), OptimConfig(warmup=0, lr=1e-30), Precision.fp32, CPU, Ranks())
    batches = [fake_batch(random.Random(i), i + 1) for i in range(4)]
    outputs = [model(b) for b in batches]
    for i, batch in enumerate(batches, 1):
        u.step([batch], i, 0.0)
    facts, streak = u.statistics.read(Ranks())
    tokens = sum(int(o.tokens) for o in outputs)
    assert facts["tokens"] == tokens
    assert facts["loss"] == pytest.approx(sum(o.nll.sum().item() for o in outputs) / tokens)
    assert facts["ppl"] == pytest.approx(np.exp(facts["loss"]))
    objective = [(o.loss_sum / o.tokens).item() for o in outputs]
    assert facts["objective"] == pytest.approx(np.mean(objective))
    assert facts["skipped"] == streak == 0


def test_skipped_updates_are_counted_and_hide_nothing():
    model = model_of()
    u, batch = updater(model), fake_batch(random.Random(1), 3)
    u.step([batch], 1, 0.0)
    after_one = weights(model)
    model.poison = True
    for number in (2, 3):
        u.step([batch], number, 0.0)
    facts, streak = u.statistics.read(Ranks())
    assert torch.equal(weights(model), after_one)
    assert (facts["skipped"], streak) == (2, 2)
    assert np.isfinite([facts["loss"], facts["objective"], facts["gradient_norm"]]).all()
    u.step([batch], 4, 0.0)
    assert u.statistics.read(Ranks()) == (
        {"tokens": int(model(batch).tokens), "skipped": 1},
        3,
    )  # in a row over reports
    model.poison = False
    u.step([batch], 5, 0.0)
    assert u.statistics.read(Ranks())[1] == 0
