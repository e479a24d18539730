"""Guided alignment against a loop over links, and that attention goes where it is told to."""

import copy
from dataclasses import replace

import pytest
import torch
from train_fakes import HostReads, OneOfTwo, rows, weights

from nmt.batch import Batch, collate
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import GlobalConfig, LocalMConfig, NoneConfig
from nmt.models.seq2seq import AttentionMaps
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.train.config import TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.guided import guided_head, guided_loss
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")
LINKS = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 2, 0], [1, 1, 3], [1, 1, 0], [1, 1, 2]])


def test_the_loss_is_the_sum_over_links():
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = scores.softmax(2)
    links = [tuple(link) for link in LINKS.tolist()]
    expected = torch.zeros((), dtype=torch.float64)
    for b, t, s in links:
        linked = sum((b, t, i) in links for i in range(4))
        expected = expected - weights[b, t, s].log() / linked
    got = guided_loss(weights, LINKS)
    torch.testing.assert_close(got, expected)
    mine, theirs = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in (got, expected))
    torch.testing.assert_close(mine, theirs)
    assert mine[0, 1].count_nonzero() == 0  # a target position without links


def test_a_word_is_taught_at_the_step_that_has_read_it():
    """With shift=1 the first step, which has read no word, is taught nothing, and the last word has a step."""
    torch.manual_seed(0)
    scores = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)  # three words and end-of-sentence
    weights = scores.softmax(2)
    got = guided_loss(weights, LINKS, 1)
    torch.testing.assert_close(got, guided_loss(weights[:, 1:], LINKS))
    [gradient] = torch.autograd.grad(got, scores)
    assert gradient[:, 0].count_nonzero() == 0
    assert gradient[0, 3].count_nonzero() > 0


def test_weights_of_zero_and_no_links_at_all_are_no_trouble():
    weights = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    outside = guided_loss(weights, torch.tensor([[0, 0, 1]]))
    assert outside.isfinite()
    assert torch.autograd.grad(outside, weights)[0].count_nonzero() == 0
    nothing = guided_loss(weights, torch.zeros(0, 3, dtype=torch.int64))
    assert nothing == 0
    nothing.backward()


def test_the_head_is_the_one_that_is_named():
    maps = AttentionMaps(torch.randn(2, 3, 4, 5, 6))
    assert torch.equal(guided_head(maps, 3, 1), maps.weights[:, 2, 0])
    assert torch.equal(guided_head(maps, -2, -1), maps.weights[:, 1, 3])
    assert torch.equal(guided_head(AttentionMaps(maps.weights[:, :1]), -2, 2), maps.weights[:, 0, 1])
    with pytest.raises(ConfigError, match=r"trainer\.guided_layer=4: this model has only 3"):
        guided_head(maps, 4, 1)
    with pytest.raises(ConfigError, match=r"trainer\.guided_head=5: this model has only 4"):
        guided_head(maps, 1, 5)
    with pytest.raises(ConfigError, match="no attention"):
        guided_head(None, 1, 1)


def example(sentences=8, words=6):
    """Random source and target words; target word t is linked to source word words - 1 - t."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 12, (sentences, words), generator=generator).tolist() for _ in range(2)]
    flat = [x for t in range(words) for x in (t, words - 1 - t)]
    return collate(rows[0], rows[1], list(range(sentences)), [flat] * sentences)


def lstm(attention) -> LSTMConfig:
    return LSTMConfig(hidden_size=16, dropout=0.0, attention=attention)


TRANSFORMER = TransformerConfig(
    hidden_size=16, ffn_size=16, heads=2, num_layers=2, dropout=0.0, self_attention=GlobalSelfAttentionConfig()
)


def updater(model_config, lr=0.02, ranks=None, sgd=False, **config):
    torch.manual_seed(0)
    model = build_model(model_config, 12, 12, joint=False)
    trainer = TrainerConfig(**{"guided_alignment": 1.0, "clip": None, **config})
    name = OptimizerName.sgd if sgd else OptimizerName.adam
    return model, Updater(
        model, trainer, OptimConfig(warmup=0, name=name, lr=lr), Precision.fp32, CPU, ranks or Ranks()
    )


def mass(model, batch, layer, head, shift=0) -> float:
    """The share of a head's attention that lies on the links."""
    with torch.no_grad():
        weights = model(batch, want_maps=True).maps.weights[:, layer, head]
    b, t, s = batch.links.unbind(1)
    return weights[b, t + shift, s].mean().item()


@pytest.mark.parametrize(
    ("model_config", "named", "head"),
    [
        (lstm(GlobalConfig()), {}, (0, 0)),
        (LSTMConfig(hidden_size=16, dropout=0.0, attention=GlobalConfig(), source_eos=True), {}, (0, 0)),
        (TRANSFORMER, {"guided_layer": -2, "guided_head": 2}, (0, 1)),
    ],
    ids=["lstm", "lstm with end-of-sentence", "transformer"],
)
def test_attention_goes_where_it_is_told(model_config, named, head):
    """In a few steps; what it would learn by itself from words at random is something else."""
    batch, found = example(), {}
    for weight in (0.0, 1.0):
        model, u = updater(model_config, guided_alignment=weight, **named)
        for step in range(1, 41):
            u.step([batch], step, 0.0)
        found[weight] = mass(model, batch, *head)
    assert found[1.0] > 0.6
    assert found[0.0] < found[1.0] - 0.3


@pytest.mark.parametrize("shift", [0, 1])
def test_the_step_that_is_guided_is_the_one_that_is_named(shift):
    """The links go through the sentence backwards, so that the other step has other ones."""
    batch = example()
    model, u = updater(TRANSFORMER, guided_layer=1, guided_shift=shift)
    for step in range(1, 61):
        u.step([batch], step, 0.0)
    assert mass(model, batch, 0, 0, shift) > mass(model, batch, 0, 0, 1 - shift) + 0.3


def test_the_objective_is_the_loss_plus_the_weighted_links_over_tokens():
    """With R-Drop both passes are guided; without dropout that is twice as much of all but the loss per token."""
    batch = example()
    for r_drop, passes in ((0.0, 1), (2.0, 2)):
        model, u = updater(lstm(LocalMConfig(half_width=2)), guided_alignment=0.25, r_drop=r_drop)
        output = copy.deepcopy(model)(batch, want_maps=True)
        assert batch.links is not None
        expected = (output.loss_sum + 0.25 * guided_loss(output.maps.weights[:, 0, 0], batch.links)) / output.tokens
        u.step([batch], 1, 0.0)
        facts, _ = u.statistics.read(Ranks())
        assert facts["objective"] == pytest.approx(passes * expected.item(), rel=1e-5)
        assert facts["loss"] == pytest.approx((output.nll.sum() / output.tokens).item(), rel=1e-5)


@pytest.mark.parametrize("config", [lstm(GlobalConfig()), lstm(LocalMConfig(half_width=2)), TRANSFORMER])
def test_an_update_with_everything_reads_nothing_back_but_a_count(config):
    """Of the batch's tokens, while it is still on the CPU."""
    _, u = updater(config, r_drop=1.0, ema=0.9)
    with HostReads() as reads:
        u.step([example()], 1, 0.0)
    assert reads.count == 1


@pytest.mark.parametrize("r_drop", [0.0, 2.0])
def test_ranks_with_shares_of_a_batch_make_the_step_of_the_whole(r_drop):
    """Links are normalized with the tokens of all ranks, as everything is."""
    batch = example(sentences=5)
    parts = [part(batch, slice(r, None, 2)) for r in (0, 1)]
    steps = []
    for ranks, group in ((Ranks(), batch), *((OneOfTwo(r, 5 * 7), parts[r]) for r in (0, 1))):
        model, u = updater(lstm(GlobalConfig()), lr=1.0, ranks=ranks, sgd=True, r_drop=r_drop)
        before = weights(model)
        u.step([group], 1, 0.0)
        steps.append(before - weights(model))
    torch.testing.assert_close((steps[1] + steps[2]) / 2, steps[0], rtol=1e-4, atol=1e-6)


def part(batch, chosen) -> Batch:
    """Some sentences of a batch, with their links."""
    ids = batch.ids[chosen].tolist()
    places = {b: k for k, b in enumerate(ids)}
    links = torch.tensor([[places[b], t, s] for b, t, s in batch.links.tolist() if b in places])
    return replace(rows(batch, chosen), links=links)


def test_a_model_without_attention_is_refused_before_training():
    _, u = updater(lstm(NoneConfig()))
    with pytest.raises(ConfigError, match=r"trainer\.guided_alignment: this model has no attention"):
        u.try_longest(example())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 1.0}, r"trainer\.ema must be at least 0 and below 1, got 1\.0"),
        ({"r_drop": -1.0}, r"trainer\.r_drop must be at least 0"),
        ({"guided_alignment": -1.0}, r"trainer\.guided_alignment must be at least 0"),
        ({"guided_layer": 0}, r"trainer\.guided_layer must be other than 0"),
        ({"guided_head": 0}, r"trainer\.guided_head must be other than 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**changes)
