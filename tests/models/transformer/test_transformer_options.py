"""qk_norm, relu2, zero_outputs and word dropout against their formulas; off, they change nothing."""

from typing import Any

import torch
from lstm_cases import build as build_lstm
from torch.nn import functional as F
from transformer_cases import batch_of, build

from nmt.models import TransformerConfig, build_model
from nmt.models.ops.dropout import word_dropout
from nmt.models.transformer.config import Activation, GlobalSelfAttentionConfig, Norm, Positions
from nmt.models.transformer.layers import FeedForward
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.multi_head import attend


def test_relu2_is_the_square_of_relu():
    module = next(m for m in build("before", activation=Activation.relu2).modules() if isinstance(m, FeedForward))
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    inner = x @ module.inner.weight.T + module.inner.bias
    expected = torch.where(inner > 0, inner**2, 0.0) @ module.outer.weight.T + module.outer.bias
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def normalized(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(variance + 1e-5) times the gain, over the last dimension."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_queries_and_keys_of_each_head_are_normalized():
    """In self-attention, and in attention to the source, whose keys are made once."""
    model = build("before", qk_norm=True)
    layer = model.decoder.layers[0]
    x, source = torch.randn(2, 4, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    q, k, v = layer.self_attention.inputs(x).unflatten(2, (3, 2, 4)).unbind(2)
    norms = layer.self_attention.norms
    expected = attend(normalized(q, norms.query.weight), normalized(k, norms.key.weight), v, causal=True)
    found = layer.self_attention(x, lambda q, k, v, weigh: attend(q, k, v, causal=True), None)
    torch.testing.assert_close(found, layer.self_attention.output(expected.flatten(2)), rtol=0, atol=1e-12)

    cross = layer.cross_attention
    k, v = cross.memory(source).unflatten(2, (2, 2, 4)).unbind(2)
    q = cross.query(x).unflatten(2, (2, 4))
    expected = attend(normalized(q, cross.norms.query.weight), normalized(k, cross.norms.key.weight), v)
    found = cross(x, cross.keys_and_values(source), torch.zeros(2, 1, 1, 5, dtype=torch.float64), None)
    torch.testing.assert_close(found, cross.output(expected.flatten(2)), rtol=0, atol=1e-12)


def test_rotary_positions_turn_what_is_normalized():
    """The norm of a query does not depend on its position, and its score with a key is bounded."""
    model = build("rotary", qk_norm=True)
    layer, seen = model.encoder.layers[0].self_attention, []
    torch.nn.init.ones_(layer.norms.query.weight)
    rotations = model.rotations(range(4), torch.empty(0, dtype=torch.float64))
    layer(torch.randn(1, 4, 8, dtype=torch.float64), lambda q, k, v, weigh: seen.append(q) or v, rotations)
    assert (seen[0].square().sum(-1) <= 4).all()
    assert (seen[0].square().sum(-1) > 3).all()


def test_with_zero_outputs_the_layers_do_nothing_at_first():
    sizes: dict[str, Any] = {"hidden_size": 8, "heads": 2, "ffn_size": 12, "num_layers": 2, "dropout": 0.0}
    torch.manual_seed(0)
    config = TransformerConfig(self_attention=GlobalSelfAttentionConfig(), zero_outputs=True, **sizes)
    model = build_model(config, 13, 13, joint=True).eval()
    assert isinstance(model, Transformer)
    x = torch.randn(2, 5, 8)
    for layer in model.encoder.layers:
        assert torch.equal(layer(x, attend, None), x)
    torch.manual_seed(0)
    plain = build_model(TransformerConfig(self_attention=GlobalSelfAttentionConfig(), **sizes), 13, 13, joint=True)
    same = {name for name, p in plain.named_parameters() if torch.equal(p, model.get_parameter(name))}
    assert {name for name, _ in plain.named_parameters()} - same == {
        name for name, p in plain.named_parameters() if name.endswith(("output.weight", "outer.weight"))
    }


def test_without_the_options_there_are_no_other_weights():
    names = set(build("before").state_dict())
    more = set(build("before", qk_norm=True, norm=Norm.before).state_dict()) - names
    assert {name.rpartition(".norms.")[2] for name in more} == {"query.weight", "key.weight"}
    assert len(more) == 2 * (3 + 2 * 2)


def test_word_dropout_takes_whole_vectors():
    torch.manual_seed(3)
    x = torch.rand(4000, 3) + 0.5
    dropped = word_dropout(x, 0.25, training=True)
    gone = (dropped == 0).all(1)
    assert abs(gone.float().mean() - 0.25) < 0.03
    torch.testing.assert_close(dropped[~gone], x[~gone] / 0.75, rtol=1e-4, atol=0)
    assert word_dropout(x, 0.25, training=False) is x
    state = torch.get_rng_state()
    assert word_dropout(x, 0.0, training=True) is x
    assert torch.equal(state, torch.get_rng_state()), "nothing is drawn where it is off"


def test_words_are_dropped_on_both_sides_before_positions_are_added():
    model = build("before", word_dropout=0.5).train()
    ids = torch.full((1, 400), 5)
    for table in (model.source_embedding, model.target_embedding):
        torch.manual_seed(1)
        x = table(ids, range(400))[0]
        places = table.sinusoids(range(400), x).flatten(1)[:, :8]
        word = table.words.weight[5] * 8**0.5
        kinds = torch.stack([(x - places).abs().sum(1) < 1e-6, (x - places - 2 * word).abs().sum(1) < 1e-3])
        assert (kinds.sum(0) == 1).all()
        assert 140 < kinds[0].sum() < 260
    evaluated = model.eval()(batch_of())
    assert torch.equal(evaluated.nll, build("before").eval()(batch_of()).nll)


def test_positions_and_activations_have_all_rows():
    """Each option composes with each kind of positions and of activation."""
    for positions in Positions:
        for activation in Activation:
            model = build("before", positions=positions, activation=activation, qk_norm=True)
            assert F.relu(model(batch_of()).loss_sum).isfinite()


def test_the_lstm_drops_words_on_both_sides():
    """In training alone, and whole ones."""
    model = build_lstm("global", dropout=0.0, word_dropout=0.5)
    ids = torch.arange(3, 11).repeat(50, 1)
    for table in (model.source_embedding, model.target_embedding):
        x = model.train().embed(table, ids)
        gone = (x == 0).all(2)
        assert 140 < gone.sum() < 260
        torch.testing.assert_close(x[~gone], 2 * table(ids)[~gone], rtol=1e-3, atol=1e-6)
        assert torch.equal(model.eval().embed(table, ids), table(ids))
