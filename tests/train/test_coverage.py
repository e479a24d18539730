"""The coverage loss against its formula, and that attention reads less again where it is asked for."""

import pytest
import torch

from nmt.batch import PAD, collate
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import BahdanauConfig, CoverageConfig, GlobalConfig, LocalMConfig
from nmt.models.seq2seq import ModelConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.train.config import TrainerConfig
from nmt.train.coverage import coverage_loss
from nmt.train.distributed import Ranks
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")
MODELS = {
    "global": LSTMConfig(attention=GlobalConfig(), hidden_size=8, dropout=0.0),
    "coverage": LSTMConfig(attention=CoverageConfig(hidden_size=5), hidden_size=8, dropout=0.0),
    "bahdanau": LSTMConfig(attention=BahdanauConfig(hidden_size=5), hidden_size=8, dropout=0.0),
    "local_m": LSTMConfig(attention=LocalMConfig(half_width=1), hidden_size=8, dropout=0.0),
    "transformer": TransformerConfig(
        self_attention=GlobalSelfAttentionConfig(), hidden_size=8, heads=2, ffn_size=8, dropout=0.0
    ),
}
PAIRS = [([4, 5, 6], [7, 8, 9, 4]), ([7, 8], [4]), ([9, 4, 5, 6, 7], [5, 6])]


def test_the_loss_is_what_is_read_again():
    torch.manual_seed(0)
    scores = torch.randn(2, 2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    weights, lengths = scores.softmax(4), [4, 2]
    expected = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(lengths):
        for layer, head, s in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)).tolist():
            read = torch.zeros((), dtype=torch.float64)
            for t in range(length):
                a = weights[b, layer, head, t, s]
                expected = expected + torch.minimum(a, read) / 4
                read = read + a
    found = coverage_loss(weights, torch.arange(4) < torch.tensor(lengths)[:, None])
    torch.testing.assert_close(found, expected)
    mine, theirs = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in (found, expected))
    torch.testing.assert_close(mine, theirs)


def test_each_word_read_once_costs_nothing_and_one_word_read_always_costs_all_but_once():
    once = torch.eye(4)[None, None, None]
    always = torch.zeros(1, 1, 1, 4, 4).index_fill_(4, torch.tensor([2]), 1.0)
    real = torch.ones(1, 4, dtype=torch.bool)
    assert coverage_loss(once, real) == 0
    assert coverage_loss(always, real) == 3


SGD = OptimConfig(name=OptimizerName.sgd, lr=0.1)


def updater(config: ModelConfig, optim: OptimConfig = SGD, **keys: float) -> tuple[torch.nn.Module, Updater]:
    torch.manual_seed(0)
    model = build_model(config, 10, 10, joint=True)
    trainer = TrainerConfig(**{"clip": None, **keys})  # pyright: ignore[reportArgumentType]
    return model, Updater(model, trainer, optim, Precision.fp32, CPU, Ranks())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_training_adds_it(name: str, r_drop: float):
    """The gradient is that of loss_sum + weight * coverage_loss, for every kind of attention."""
    batch = collate([s for s, _ in PAIRS], [t for _, t in PAIRS], [0, 1, 2])
    model, plain = updater(MODELS[name], coverage_loss=0.5, r_drop=r_drop)
    _, objective = plain.backward([batch], 1.0)
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    batch = batch.doubled() if r_drop else batch
    output = model(batch, True, r_drop)
    assert output.maps is not None
    expected = output.loss_sum + 0.5 * coverage_loss(output.maps.weights, batch.target_out != PAD)
    torch.testing.assert_close(objective, expected.detach())
    expected.backward()
    for ours, theirs in zip(found, [p.grad for p in model.parameters()], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_attention_reads_less_again():
    """The same updates end with less of it where it has a weight.

    Attention starts with preferences: where it is even, all of each row is read again whichever way it moves a little.
    """
    batch = collate([s for s, _ in PAIRS], [t for _, t in PAIRS], [0, 1, 2])
    after = {}
    for weight in (0.0, 1.0):
        model, u = updater(MODELS["coverage"], OptimConfig(lr=0.05, warmup=0), coverage_loss=weight)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
        for number in range(40):
            u.step([batch], number + 1, 0.0)
        with torch.no_grad():
            output = model(batch, True)
        after[weight] = float(coverage_loss(output.maps.weights, batch.target_out != PAD))
    assert after[1.0] < 0.8 * after[0.0]


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.coverage_loss must be at least 0"):
        TrainerConfig(coverage_loss=-1.0)
