"""The average of the weights against a slow recurrence, and through checkpoints."""

import copy

import pytest
import torch
from torch import nn
from train_fakes import WORDS, FakeModel, weights

from nmt.train.ema import WeightAverage


def walk(model, average, steps, seed=0):
    """Random updates; returns the weights after each."""
    torch.manual_seed(seed)
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update()
        seen.append(weights(model))
    return seen


def averaged(model, average):
    with average.in_place(model):
        return weights(model)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_is_the_recurrence(decay):
    """One weight at a time in plain Python; the decay rises as (1 + t) / (10 + t) up to its limit."""
    model = FakeModel()
    expected = weights(model).tolist()
    average = WeightAverage(list(model.parameters()), decay)
    for t, row in enumerate(walk(model, average, 30), 1):
        d = min(decay, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, row.tolist(), strict=True)]
    torch.testing.assert_close(
        averaged(model, average), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_the_first_weights_are_forgotten():
    """After 20 updates a start far off has no share left worth a thousandth, whatever the decay."""
    model = FakeModel()
    with torch.no_grad():
        model.embed.weight.fill_(1000.0)
    average = WeightAverage(list(model.parameters()), 0.999)
    with torch.no_grad():
        model.embed.weight.fill_(1.0)
    for _ in range(20):
        average.update()
    assert averaged(model, average)[0] < 2.0


def test_weights_come_back_to_the_last_bit_even_after_an_error():
    model = FakeModel(dtype=torch.float32)
    average = WeightAverage(list(model.parameters()), 0.9)
    walk(model, average, 3)
    before, mean = weights(model), averaged(model, average)
    with pytest.raises(KeyboardInterrupt), average.in_place(model):
        raise KeyboardInterrupt
    assert torch.equal(weights(model), before)
    assert torch.equal(averaged(model, average), mean)
    assert not torch.equal(mean, before)


class Tied(nn.Module):
    """One weight by two names, a buffer, and a weight that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.project = nn.Embedding(WORDS, 6), nn.Linear(6, WORDS)
        self.project.weight = self.embed.weight
        self.project.bias.requires_grad_(False)
        self.register_buffer("positions", torch.arange(4))


def test_a_checkpoint_holds_the_average_for_use_and_both_to_go_on_from():
    """``model`` loads into a plain model; tied names share one tensor; a resumed average goes on to the last bit."""
    model = Tied()
    average = WeightAverage([p for p in model.parameters() if p.requires_grad], 0.9)
    walk(model, average, 4)
    state = {"model": average.model_state(model), **average.state_dict(model)}
    assert state["model"]["embed.weight"] is state["model"]["project.weight"]
    state = copy.deepcopy(state)
    plain = Tied()
    plain.load_state_dict(state["model"])
    assert torch.equal(weights(plain), averaged(model, average))
    again = Tied()
    resumed = WeightAverage([p for p in again.parameters() if p.requires_grad], 0.9)
    resumed.restore(again, state)
    assert torch.equal(weights(again), weights(model))
    walk(model, average, 3, seed=1)
    walk(again, resumed, 3, seed=1)
    assert torch.equal(weights(again), weights(model))
    assert torch.equal(averaged(again, resumed), averaged(model, average))


def test_without_an_average_a_checkpoint_is_the_model():
    model = FakeModel()
    average = WeightAverage(list(model.parameters()), 0.0)
    average.update()
    assert average.averages == []
    assert average.state_dict(model) == {}
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in average.model_state(model).items())


def test_an_average_can_be_begun_and_left_at_a_checkpoint():
    """Begun: from the weights there, with the decay of a beginner.  Left: with the weights, not with their average."""
    model = FakeModel()
    plain = {"model": copy.deepcopy(model.state_dict())}
    other = FakeModel()
    begun = WeightAverage(list(other.parameters()), 0.9)
    begun.restore(other, plain)
    assert begun.updates == 0
    assert torch.equal(averaged(other, begun), weights(model))
    walk(other, begun, 2)
    state = {"model": begun.model_state(other), **begun.state_dict(other)}
    left = FakeModel()
    WeightAverage(list(left.parameters()), 0.0).restore(left, state)
    assert torch.equal(weights(left), weights(other))
