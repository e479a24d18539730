"""The Transformer behind the search: batches, beams and samples of any width give what each sentence gives alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from nmt.batch import collate
from nmt.models import TransformerConfig, build_model
from nmt.models.transformer.config import (
    GlobalSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    LocalSelfAttentionConfig,
    Norm,
    Positions,
    Sinks,
)
from nmt.search import DecodeConfig, LengthPenalty, score_ids, translate_ids
from nmt.search.config import Method

CPU = torch.device("cpu")
V = 19
FEW: dict[str, Any] = {"num_layers": 1, "self_attention": GlobalSelfAttentionConfig()}
MODELS = {
    "global": {"self_attention": GlobalSelfAttentionConfig(), "norm": Norm.after},
    "local": {"self_attention": LocalSelfAttentionConfig(half_width=3), "positions": Positions.rotary},
    "local below": {"self_attention": LocalSelfAttentionConfig(half_width=2, layers=[1]), "sinks": Sinks.all},
    "localness": {"self_attention": LocalnessSelfAttentionConfig(), "decoder_normalizer": "entmax15"},
}
CONFIGS = {
    "greedy": DecodeConfig(beam_size=1, min_ratio=0.6, max_ratio=1.0, max_extra=8),
    "beam": DecodeConfig(beam_size=5, n_best=3, min_ratio=0.6, max_ratio=1.0, max_extra=8),
    "groups": DecodeConfig(
        beam_size=4, groups=2, min_ratio=0.6, no_repeat_ngram=2, max_extra=2, length_penalty=LengthPenalty.gnmt
    ),
    "samples": DecodeConfig(method=Method.sample, samples=12, n_best=12, max_ratio=1.0, max_extra=4),
}


@pytest.fixture(params=MODELS)
def model(request):
    """In float64, with weights that make translations depend on their sources."""
    torch.manual_seed(0)
    config = TransformerConfig(hidden_size=8, heads=2, ffn_size=12, num_layers=2, **MODELS[request.param])
    model = build_model(config, V, V, joint=False).double().eval()
    for name, p in model.named_parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=2.0 if "cross_attention" in name else 0.5)
    return model


@pytest.fixture
def sources():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 13, (64,), generator=generator).tolist()
    return [torch.randint(4, V, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_batch_of_64_is_one_by_one(model, sources, config):
    """Token for token, with scores to rounding."""
    together = translate_ids(model, sources, config, CPU)
    assert len({tuple(h[0].ids) for h in together}) > 20
    for i in range(0, 64, 5):
        (alone,) = translate_ids(model, [sources[i]], config, CPU, first=i)
        assert [h.ids for h in alone] == [h.ids for h in together[i]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[i]], abs=1e-10)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_search_agrees_with_teacher_forcing(model, sources, config):
    """log P and maps of what search found are those of the training pass over it."""
    sources = sources[:9]
    found = [h[-1] for h in translate_ids(model, sources, config, CPU, want_maps=True)]
    output = model(collate(sources, [h.ids for h in found], list(range(9))), want_maps=True)
    forced = score_ids(model, sources, [[h.ids] for h in found], config, CPU)
    for b, (source, h) in enumerate(zip(sources, found, strict=True)):
        T, S = len(h.ids) + 1, len(source) + 1
        assert forced[b][0].log_prob == pytest.approx(h.log_prob, abs=1e-10)
        assert -output.nll[b].sum().item() == pytest.approx(h.log_prob, abs=1e-10)
        assert h.maps is not None
        assert h.maps.weights.shape == (2, 2, T, S)
        assert torch.allclose(h.maps.weights, output.maps.weights[b, :, :, :T, :S], atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_translations_end_where_learned_positions_do(config):
    """BOS has the first of the rows, and what is found can be scored."""
    torch.manual_seed(0)
    model = build_model(
        TransformerConfig(hidden_size=8, heads=2, ffn_size=12, positions=Positions.learned, max_positions=6, **FEW),
        V,
        V,
        joint=False,
    ).double()
    never = replace(config, min_length=40, max_length=50)
    found = translate_ids(model, [[4, 5, 6, 7], [4]], never, CPU)
    assert {len(h.ids) for row in found for h in row} == {5}
    score_ids(model, [[4, 5, 6, 7]], [[h.ids for h in found[0]]], config, CPU)
    (forced,) = translate_ids(model, [[4]], never, CPU, prefixes=[[7, 8]])
    assert {(*h.ids[:2], len(h.ids)) for h in forced} == {(7, 8, 5)}
