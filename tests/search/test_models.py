"""The models of this project behind the search: what holds for a table must hold for them."""

import pytest
import torch

from nmt.batch import collate
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, build_model
from nmt.models.attention import ATTENTIONS, NoneConfig
from nmt.search import DecodeConfig, LengthPenalty, score_ids, translate_ids

CPU = torch.device("cpu")
V = 23


@pytest.fixture(params=ATTENTIONS, ids=lambda config: config.name)
def model(request):
    """Every attention, wide initial weights so that sentences differ, in float64."""
    torch.manual_seed(0)
    config = LSTMConfig(hidden_size=12, num_layers=2, attention=request.param(), init_range=0.9)
    return build_model(config, V, V, joint=False).double().eval()


def test_coverage_needs_attention(sources):
    """A model without attention is refused rather than scored as if it covered everything."""
    model = build_model(LSTMConfig(hidden_size=4, attention=NoneConfig()), V, V, joint=False)
    for config in (DecodeConfig(coverage=0.2), DecodeConfig(coverage=0.2, beam_size=1)):
        with pytest.raises(ConfigError, match=r"decode\.coverage"):
            translate_ids(model, sources, config, CPU)
    with pytest.raises(ConfigError, match=r"decode\.coverage"):
        score_ids(model, sources, [[s] for s in sources], DecodeConfig(coverage=0.2), CPU)
    assert [len(row) for row in score_ids(model, sources, [[s] for s in sources], DecodeConfig(), CPU)] == [1] * 9


@pytest.fixture
def sources():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(4, V, (n,), generator=generator).tolist() for n in (3, 9, 1, 30, 5, 5, 14, 2, 7)]


CONFIGS = [
    DecodeConfig(beam_size=1),
    DecodeConfig(beam_size=5, n_best=5),
    DecodeConfig(beam_size=4, groups=2, no_repeat_ngram=2, length_penalty=LengthPenalty.gnmt),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["greedy", "beam", "groups"])
def test_batch_is_one_by_one(model, sources, config):
    """Token for token, with scores to rounding, whatever stands beside a sentence in its batch."""
    together = translate_ids(model, sources, config, CPU)
    for source, expected in zip(sources, together, strict=True):
        (alone,) = translate_ids(model, [source], config, CPU)
        assert [h.ids for h in alone] == [h.ids for h in expected]
        assert [h.score for h in alone] == pytest.approx([h.score for h in expected], abs=1e-10)


@pytest.mark.parametrize("config", CONFIGS, ids=["greedy", "beam", "groups"])
def test_search_agrees_with_teacher_forcing(model, sources, config):
    """log P and maps of what search found are those of the training pass over it."""
    found = [h[-1] for h in translate_ids(model, sources, config, CPU, want_maps=True)]
    output = model(collate(sources, [h.ids for h in found], list(range(len(found)))), want_maps=True)
    forced = score_ids(model, sources, [[h.ids] for h in found], config, CPU)
    for b, (source, h) in enumerate(zip(sources, found, strict=True)):
        T, S = len(h.ids) + 1, len(source) + model.source_eos
        # Of the order of rounding, which the narrow Gaussians of gmm magnify.
        assert forced[b][0].log_prob == pytest.approx(h.log_prob, rel=1e-11, abs=1e-10)
        assert -output.nll[b].sum().item() == pytest.approx(h.log_prob, rel=1e-4)
        assert (output.maps is None) == (h.maps is None)
        if output.maps is None or h.maps is None:
            continue
        assert torch.allclose(h.maps.weights, output.maps.weights[b, :, :, :T, :S], atol=1e-6)
        assert (output.maps.centre is None) == (h.maps.centre is None)
        if output.maps.centre is not None and h.maps.centre is not None:
            assert torch.allclose(h.maps.centre, output.maps.centre[b, :, :, :T].float(), atol=1e-5)
