"""Cutoff: which words lose their vectors, that they are 0, and the loss of both views against autograd."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nmt.batch import BOS, PAD, collate
from nmt.config import Config
from nmt.config_checks import check_sections
from nmt.data.phrases import PhrasesConfig
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import GlobalConfig, LocalPConfig
from nmt.models.lstm.config import Mixture
from nmt.models.lstm.model import LSTM
from nmt.models.seq2seq import Seq2Seq, Tied
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.train.config import TrainerConfig
from nmt.train.cutoff import two_views, zero_vector_of_padding
from nmt.train.distributed import Ranks
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")
MODELS = {
    "global": LSTMConfig(attention=GlobalConfig(), hidden_size=8, dropout=0.0, tied=Tied.all),
    "local_p": LSTMConfig(attention=LocalPConfig(half_width=1), hidden_size=8, dropout=0.0, reverse_source=True),
    "transformer": TransformerConfig(
        self_attention=GlobalSelfAttentionConfig(), hidden_size=8, heads=2, ffn_size=8, dropout=0.0, tied=Tied.all
    ),
}
PAIRS = [([4, 5, 6], [7, 8, 9, 4]), ([7, 8], [4]), ([9, 4, 5, 6, 7], [5, 6])]
BETA = 0.7


def batch_of(pairs=PAIRS):
    return collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))


def test_words_are_cut_out_of_the_second_view_alone():
    torch.manual_seed(0)
    batch = batch_of([(list(range(4, 44)), list(range(4, 34)))] * 50 + [([4], [5])])
    views = two_views(batch, 0.2)
    for name in ("source", "target_in", "target_out", "source_lengths", "ids"):
        assert torch.equal(getattr(views, name)[::2], getattr(batch, name))
    for name in ("target_out", "source_lengths", "ids"):
        assert torch.equal(getattr(views, name)[1::2], getattr(batch, name))
    for name in ("source", "target_in"):
        was, cut = getattr(batch, name), getattr(views, name)[1::2]
        assert ((cut == was) | (cut == PAD)).all()
        words = (was != PAD) & (was != BOS)
        assert 0.17 < (cut[words] == PAD).float().mean() < 0.23
    assert (views.target_in[:, 0] == BOS).all()


def moved(model: Seq2Seq, value: float) -> Seq2Seq:
    """With PAD's word vectors where training may have taken them."""
    with torch.no_grad():
        for table in (m for m in model.modules() if isinstance(m, nn.Embedding) and m.padding_idx == PAD):
            table.weight[PAD] = value
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_word_that_is_cut_out_has_a_vector_of_zeros(name):
    """Wherever the row of PAD has moved to; its place in the sentence stays."""
    torch.manual_seed(0)
    model = build_model(MODELS[name], 10, 10, joint=True).double().train()
    batch = two_views(batch_of(), 0.5)
    assert (batch.source[1::2] == PAD).sum() > (batch_of().source == PAD).sum()

    def states(of: nn.Module) -> torch.Tensor:
        return torch.cat(
            [m(batch.source) for m in of.modules() if isinstance(m, nn.Embedding) and m.padding_idx == PAD]
        )

    hooked = moved(copy.deepcopy(model), 3.0)
    assert not torch.equal(states(hooked), states(moved(model, 0.0)))
    zero_vector_of_padding(hooked)
    assert torch.equal(states(hooked), states(moved(model, 0.0)))
    assert not torch.equal(states(hooked.eval()), states(model))  # search and validation do not cut


@pytest.mark.parametrize("name", MODELS)
def test_training_adds_the_loss_of_the_second_view_and_the_divergence(name):
    """Gradient and objective of an update are those of both cross-entropies and beta JS, by torch's own functions."""
    torch.manual_seed(0)
    model = moved(build_model(MODELS[name], 10, 10, joint=True, label_smoothing=0.1).double(), 1.0)
    optim = OptimConfig(name=OptimizerName.sgd, lr=0.1)
    trainer = TrainerConfig(clip=None, cutoff=0.4, cutoff_weight=BETA)
    u = Updater(model, trainer, optim, Precision.fp32, CPU, Ranks())
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.padding_idx == PAD]
    assert tables
    assert not any(table(torch.tensor([PAD])).any() for table in tables)  # those of the views that follow, too
    torch.manual_seed(1)
    nll, objective = u.backward([batch_of()], 1.0)
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    torch.manual_seed(1)
    logits, target = all_logits(model, two_views(batch_of(), 0.4))
    expected = F.cross_entropy(logits, target, ignore_index=PAD, reduction="sum", label_smoothing=0.1)
    p, q = logits.softmax(1)[::2], logits.softmax(1)[1::2]
    apart = sum((x * (x / ((p + q) / 2)).log()).sum(1) for x in (p, q)) / 2
    expected = expected + BETA * (apart * (target[::2] != PAD)).sum()
    torch.testing.assert_close(objective, expected.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(nll, F.cross_entropy(logits, target, ignore_index=PAD, reduction="sum").detach() / 2)
    expected.backward()
    for ours, theirs in zip(found, [p.grad for p in model.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def all_logits(model, batch):
    """Logits (2B T, V) and targets (2B T,), position by position, so that both views of a token are neighbours."""
    if isinstance(model, LSTM):
        encoded = model.encode(batch.source, batch.source_lengths)
        words = model.embed(model.target_embedding, batch.target_in.t())
        vectors, _ = model.decoder(words, encoded.start, encoded.memory, False)
    else:
        T = batch.target_in.size(1)
        memory = model.encode(batch.source, batch.source_lengths, T, queries=T)
        vectors = model.decode(batch.target_in, memory, None).transpose(0, 1)
    return model.projection(vectors).flatten(0, 1), batch.target_out.t().flatten()


LEXICAL = LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical)


@pytest.mark.parametrize(
    ("model", "data", "keys", "message"),
    [
        (MODELS["global"], PhrasesConfig(tags=True), {"cutoff": 0.1}, "cuts out words.*leave one of the two out"),
        (LEXICAL, PhrasesConfig(), {"cutoff": 0.1}, r"trainer\.cutoff do not apply to model\.mixture=lexical"),
        (LEXICAL, PhrasesConfig(), {"r_drop": 1.0}, r"trainer\.r_drop and .* do not apply to model\.mixture=lexical"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(model, data, keys, message):
    with pytest.raises(ConfigError, match=message):
        check_sections(Config(model=model, data=data, trainer=TrainerConfig(**keys)))


def test_the_share_is_below_1():
    with pytest.raises(ConfigError, match=r"trainer\.cutoff must be .*below 1"):
        TrainerConfig(cutoff=1.0)
