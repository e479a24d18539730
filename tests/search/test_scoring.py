"""Forced decoding: through ``forward`` a model says of given targets what it says of them step by step."""

import random

import pytest
import torch
from table_model import TableModel, reference_score
from test_beam import PENALTIES, SOURCES, maps_of

from nmt.batch import BOS, EOS, UNK
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import ATTENTIONS, LocalPConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig, LocalSelfAttentionConfig, Norm
from nmt.search import DecodeConfig, Ensemble, ForcedOptions, force_decode, score_ids, translate_ids
from nmt.search.scoring import batches

CPU = torch.device("cpu")
V = 23
MODELS = {
    **{
        f"lstm-{config.name}": LSTMConfig(hidden_size=12, num_layers=2, attention=config(), init_range=0.9)
        for config in ATTENTIONS
    },
    "lstm-not-fed": LSTMConfig(hidden_size=12, attention=LocalPConfig(), input_feeding=False, init_range=0.9),
    "transformer": TransformerConfig(hidden_size=12, heads=2, ffn_size=16, self_attention=GlobalSelfAttentionConfig()),
    "transformer-local": TransformerConfig(
        hidden_size=12, heads=2, ffn_size=16, norm=Norm.after, self_attention=LocalSelfAttentionConfig(half_width=2)
    ),
}
RNG = random.Random(3)
PAIRS = [
    ([RNG.randrange(4, V) for _ in range(s)], [RNG.randrange(4, V) for _ in range(t)])
    for s, t in ((3, 4), (9, 1), (1, 9), (0, 3), (5, 0), (14, 12), (2, 2))
]


@pytest.fixture(params=[*MODELS, "ensemble"])
def model(request):
    """In float64 and eval mode, with weights that make sentences differ."""
    torch.manual_seed(0)
    if request.param == "ensemble":
        configs = MODELS["lstm-local_p"], MODELS["transformer"]
        return Ensemble([build_model(config, V, V, joint=False) for config in configs]).double().eval()
    return build_model(MODELS[request.param], V, V, joint=False).double().eval()


@torch.no_grad()
def by_steps(model, source, target):
    """One sentence, one token at a time: log p of each token, and the weights and centres of each step."""
    source = source or [UNK]
    state = model.start(model.encode(torch.tensor([source]), torch.tensor([len(source)])))
    log_probs, maps = [], []
    for read, expected in zip([BOS, *target], [*target, EOS], strict=True):
        logits, state, seen = model.step(torch.tensor([[read]]), state, True)
        log_probs.append(logits[0, 0].log_softmax(-1)[expected].item())
        maps.append(seen)
    return log_probs, maps


@pytest.mark.parametrize("batch_tokens", [1, 4096], ids=["alone", "together"])
def test_forced_decoding_is_the_step_protocol(model, batch_tokens):
    """Log-probabilities, weights and centres of every pair, empty sides included."""
    sources, targets = map(list, zip(*PAIRS, strict=True))
    options = ForcedOptions(CPU, batch_tokens=batch_tokens)
    found = dict(force_decode(model, sources, targets, options, want_maps=True))
    assert sorted(found) == list(range(len(PAIRS)))
    for i, (source, target) in enumerate(PAIRS):
        log_probs, maps = by_steps(model, source, target)
        assert found[i].token_log_probs.tolist() == pytest.approx(log_probs, abs=1e-9)
        assert found[i].log_prob == pytest.approx(sum(log_probs), abs=1e-9)
        seen = found[i].maps
        assert (seen is None) == (maps[0] is None)
        if seen is None:
            continue
        torch.testing.assert_close(seen.weights, torch.cat([m.weights[0] for m in maps], 2), check_dtype=False)
        assert (seen.centre is None) == (maps[0].centre is None)
        assert seen.half_width == maps[0].half_width
        if seen.centre is not None:
            centre = torch.cat([m.centre[0] for m in maps], 2)
            torch.testing.assert_close(seen.centre, centre, check_dtype=False, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["lstm-local_p", "transformer"])
def test_in_float32_they_differ_by_rounding(name):
    torch.manual_seed(0)
    model, options = build_model(MODELS[name], V, V, joint=False).eval(), ForcedOptions(CPU, Precision.fp32)
    sources, targets = map(list, zip(*PAIRS, strict=True))
    for i, forced in force_decode(model, sources, targets, options):
        assert forced.token_log_probs.tolist() == pytest.approx(by_steps(model, *PAIRS[i])[0], abs=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("source_eos", [False, True])
def test_scores_of_given_targets_are_those_of_search(penalty, source_eos):
    """What search found has the same score and maps when it is given; token scores are the model's."""
    model = TableModel(seed=7, source_eos=source_eos)
    config = DecodeConfig(beam_size=4, n_best=4, batch_size=3, **penalty)
    found = translate_ids(model, SOURCES, config, CPU, want_maps=True)
    targets = [[h.ids for h in hypotheses][: i % 5] for i, hypotheses in enumerate(found)]  # from none to all four
    scored = score_ids(model, SOURCES, targets, config, CPU)
    assert [len(row) for row in scored] == [len(row) for row in targets]
    for source, hypotheses, rows in zip(SOURCES, found, scored, strict=True):
        given = [h.ids for h in hypotheses]
        forced = dict(force_decode(model, [source] * len(given), given, ForcedOptions(CPU), want_maps=True))
        assert all(all(map(torch.equal, maps_of(forced[i]), maps_of(h))) for i, h in enumerate(hypotheses))
        for h, s in zip(hypotheses, rows, strict=False):
            assert s.score == pytest.approx(h.score, abs=1e-10)
            assert s.log_prob == pytest.approx(h.log_prob, abs=1e-10)
            assert s.score == pytest.approx(reference_score(model, source, h.ids, config), abs=1e-10)
            assert s.tokens == pytest.approx(
                [model.next_log_probs(source, h.ids[:t])[i] for t, i in enumerate([*h.ids, EOS])], abs=1e-10
            )


@pytest.mark.parametrize("model", ["lstm-local_p", "transformer", "ensemble"], indirect=True)
def test_coverage_of_given_targets_is_that_of_search(model):
    """With real models, whose weights are float32: only words count, over the target's own positions."""
    config = DecodeConfig(beam_size=3, n_best=3, max_ratio=1.0, max_extra=4, coverage=0.4)
    sources = [source for source, _ in PAIRS]
    found = translate_ids(model, sources, config, CPU)
    scored = score_ids(model, sources, [[h.ids for h in row] for row in found], config, CPU)
    for hypotheses, given in zip(found, scored, strict=True):
        assert [s.score for s in given] == pytest.approx([h.score for h in hypotheses], abs=1e-5)


def test_scoring_puts_the_mode_back():
    model = build_model(MODELS["lstm-not-fed"], V, V, joint=False).train()
    first, second = (score_ids(model, [[4, 5]], [[[6], [7, 8]]], DecodeConfig(), CPU) for _ in range(2))
    assert first == second
    assert model.training


def test_each_source_needs_its_list_of_targets():
    with pytest.raises(ValueError, match="zip"):
        score_ids(TableModel(), [[4], [5]], [[[4]]], DecodeConfig(), CPU)


@pytest.mark.parametrize("budget", [1, 10, 33])
def test_batches_hold_every_pair_once_and_keep_to_the_budget(budget):
    sources, targets = ([[4] * RNG.randrange(9) for _ in range(50)] for _ in range(2))
    found = list(batches(sources, targets, budget))
    assert sorted(i for ids in found for i in ids) == list(range(50))
    for ids in found:
        size = len(ids) * max(max(len(sources[i]), len(targets[i]) + 1) for i in ids)
        assert len(ids) == 1 or size <= budget


def test_memory_that_runs_out_is_explained(monkeypatch):
    def forward(batch, want_maps=False, r_drop=0.0):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = TableModel()
    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(ConfigError, match=r"out of memory on cpu with 1 x \(2 \+ 4\) given sentences"):
        list(force_decode(model, [[4, 5]], [[4, 5, 6]], ForcedOptions(CPU)))
