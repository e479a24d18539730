"""Weights of heads beyond the softmax against scalar loops written from the formulas, in one block and in several."""

import math
from typing import Any

import pytest
import torch
from attention_reference import NORMALIZERS
from closeness import assert_close
from transformer_cases import PAIRS, batch_of, build

from nmt.errors import ConfigError
from nmt.models.transformer import self_attention
from nmt.models.transformer.config import (
    HardCodedSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Sinks,
    TransformerConfig,
)
from nmt.models.transformer.multi_head import CrossAttention, SelfAttention
from nmt.models.transformer.self_attention import BandedAttention, FullAttention, recording

H, F, T = 2, 4, 9
LENGTHS = torch.tensor([9, 4, 1])
LOCAL = LocalSelfAttentionConfig(half_width=2)
CASES: dict[str, dict[str, Any]] = {
    "sparsemax": {"encoder_normalizer": "sparsemax", "decoder_normalizer": "sparsemax"},
    "entmax15 local": {"encoder_normalizer": "entmax15", "decoder_normalizer": "entmax15", "self_attention": LOCAL},
    "sinks": {"sinks": Sinks.self_attention},
    "sinks local": {"sinks": Sinks.all, "self_attention": LOCAL},
    "sinks sparsemax": {"sinks": Sinks.all, "encoder_normalizer": "sparsemax", "decoder_normalizer": "sparsemax"},
    "localness": {"self_attention": LocalnessSelfAttentionConfig()},
    "localness sinks": {"self_attention": LocalnessSelfAttentionConfig(), "sinks": Sinks.all},
    "hard_coded": {"self_attention": HardCodedSelfAttentionConfig()},
    "hard_coded wide": {
        "self_attention": HardCodedSelfAttentionConfig(encoder_centres=[0, 3], decoder_centres=[-2], sigma=1.7)
    },
}


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def layer_of(name: str, causal: bool) -> tuple[TransformerConfig, SelfAttention]:
    """A case's self-attention, in float64."""
    torch.manual_seed(3)
    config = TransformerConfig(**{"self_attention": LOCAL, "hidden_size": H * F, "heads": H, **CASES[name]})
    if "self_attention" not in CASES[name]:
        config.self_attention = LocalSelfAttentionConfig(half_width=T)
    layer = SelfAttention(config, 1, causal).double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return config, layer


def reference(config: TransformerConfig, layer: Any, q: Any, k: Any, t: int, h: int, length: int, causal: bool):
    """The weights of head h at position t of a sentence, by position, in plain arithmetic."""
    reach = config.self_attention.half_width if isinstance(config.self_attention, LocalSelfAttentionConfig) else T
    seen = [s for s in range(length) if abs(s - t) <= reach and (s <= t or not causal)]
    if isinstance(kind := config.self_attention, HardCodedSelfAttentionConfig):
        centres = kind.decoder_centres if causal else kind.encoder_centres
        centre, sigma = t + centres[h % len(centres)], kind.sigma
        density = [math.exp(-((s - centre) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for s in seen]
        return dict(zip(seen, density, strict=True))
    scores = [dot(q, k[s]) / math.sqrt(F) for s in seen]
    weights = layer.head_weights
    if isinstance(kind, LocalnessSelfAttentionConfig):
        hidden = [math.tanh(dot(q, row)) for row in weights.localness.hidden.weight.tolist()]
        p, z = (dot(hidden, row) for row in weights.localness.energies.weight.tolist())
        size = t + 1 if causal else length
        centre, sigma = size / (1 + math.exp(-p)), size / (1 + math.exp(-z)) / 2
        scores = [score - (s - centre) ** 2 / (2 * sigma**2) for score, s in zip(scores, seen, strict=True)]
    if weights.sinks is not None:
        scores.append(weights.sinks[h].item())
    name = config.decoder_normalizer if causal else config.encoder_normalizer
    found = NORMALIZERS[name]([torch.as_tensor(x, dtype=torch.float64) for x in scores])
    return {s: float(w) for s, w in zip(seen, found, strict=False)}


@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
@pytest.mark.parametrize("name", CASES)
def test_weights_and_outputs_are_those_of_the_formula(name, causal, monkeypatch):
    """In one block and in several, which have to agree; lengths off the blocks' borders; maps are the weights."""
    monkeypatch.setattr(self_attention, "LEAST_BLOCK", 3)
    config, layer = layer_of(name, causal)
    x, lengths = torch.randn(3, T, H * F, dtype=torch.float64), None if causal else LENGTHS
    parts = layer.inputs(x).unflatten(2, (1 if layer.values_alone else 3, H, F))
    q, k, v = (parts[:, :, i % parts.size(2)] for i in range(3))
    expected = torch.zeros(3, H, T, T, dtype=torch.float64)
    for b, length in enumerate([T] * 3 if causal else LENGTHS.tolist()):
        for h in range(H):
            for t in range(length):
                keys = [k[b, s, h].tolist() for s in range(T)]
                row = reference(config, layer, q[b, t, h].tolist(), keys, t, h, length, causal)
                for s, weight in row.items():
                    expected[b, h, t, s] = weight
    real = torch.ones(3, T, dtype=torch.bool) if causal else torch.arange(T) < LENGTHS[:, None]
    mixed = torch.einsum("bhts,bshf->bthf", expected, v).flatten(2)
    record: list[torch.Tensor] = []
    reach = config.self_attention.reach
    ways = [recording(BandedAttention(reach or T, x, lengths, one_block=True), record)]
    ways.append(FullAttention(x, lengths) if reach is None or reach >= T else BandedAttention(reach, x, lengths))
    if isinstance(config.self_attention, LocalSelfAttentionConfig) and reach == 2:
        assert ways[1].count > 1  # pyright: ignore[reportAttributeAccessIssue]
    for attend in ways:
        assert_close(layer(x, attend, None)[real], layer.output(mixed)[real], atol=1e-12)
    assert_close(record[0].transpose(1, 2)[real], expected.transpose(1, 2)[real], atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_formula(name):
    """By finite differences, of the inputs and of every parameter."""
    _, layer = layer_of(name, False)
    x = torch.randn(1, 4, H * F, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        attend = FullAttention(x, torch.tensor([3]))
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, attend, None))[:, :3]

    given = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    if "sparsemax" not in name:  # which has corners
        assert torch.autograd.gradcheck(run, (x, *given), fast_mode=True)
    for gradient in torch.autograd.grad(run(x, *given).square().sum(), given):
        assert gradient.isfinite().all()
        assert gradient.any() or "sparsemax" in name  # whose sink may have no weight


def test_a_sink_of_cross_attention_is_one_more_score():
    """By the ratio of its weight: sum_s p_s = Z / (Z + exp(b)), Z = sum_s exp(z_s)."""
    layer = build("before", sinks=Sinks.cross_attention).decoder.layers[0].cross_attention
    plain = build("before").decoder.layers[0].cross_attention
    assert isinstance(layer, CrossAttention)
    assert layer.sinks is not None
    plain.load_state_dict({key: value for key, value in layer.state_dict().items() if key != "sinks"})
    x, source = torch.randn(1, 3, 8, dtype=torch.float64), torch.randn(1, 5, 8, dtype=torch.float64)
    mask, memory = torch.zeros(1, 1, 1, 5, dtype=torch.float64), layer.keys_and_values(source)
    mine, theirs = [], []
    got = layer(x, memory, mask, mine)
    plain(x, memory, mask, theirs)
    scores = torch.einsum("nhf,shf->hns", layer.query(x)[0].unflatten(1, (2, 4)), memory[0, :, 0]) / 2
    z = scores.exp().sum(2, keepdim=True)
    assert_close(
        mine[0].weights[0, 0], theirs[0].weights[0, 0] * z / (z + layer.sinks.exp()[:, None, None]), atol=1e-12
    )
    assert_close(layer(x, memory, mask, None), got)


def test_layers_that_are_not_named_are_global():
    """On both sides; the others keep to their window."""
    near = LocalSelfAttentionConfig(half_width=1, layers=[1, 3])
    model = build("before", self_attention=near, encoder_layers=3, decoder_layers=2)
    encoder, decoder = model.self_maps(batch_of())
    far = (torch.arange(encoder.size(3))[:, None] - torch.arange(encoder.size(3))).abs() > 1
    long = len(PAIRS[2][0])  # the longest sentence, which has no padding
    assert not encoder[2, [0, 2]][..., far].any()
    assert (encoder[2, 1, :, :long, :long] > 0).all()
    assert not decoder[:, 0].tril(-2).any()
    assert (decoder[0, 1, :, :7].tril(-2).sum((0, 1)) > 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"self_attention": LocalSelfAttentionConfig(layers=[1, 7])},
            r"^model\.self_attention\.layers names layer 7, ",
        ),
        ({"sinks": Sinks.none, "encoder_normalizer": "softmax", "heads": 3}, "multiple of model.heads"),
    ],
)
def test_mistakes_name_the_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        TransformerConfig(**{"self_attention": LOCAL, **changes})


def test_a_head_needs_a_centre_and_the_decoder_sees_no_later_word():
    with pytest.raises(ConfigError, match=r"model\.self_attention\.encoder_centres=\[\] leaves no head"):
        HardCodedSelfAttentionConfig(encoder_centres=[])
    with pytest.raises(ConfigError, match=r"model\.self_attention\.decoder_centres must be at most 0, got 1"):
        HardCodedSelfAttentionConfig(decoder_centres=[1])
    with pytest.raises(ConfigError, match=r"model\.self_attention\.layers must be at least 1, got 0"):
        LocalSelfAttentionConfig(layers=[0])
