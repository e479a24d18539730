"""What a user may choose about attention, what is refused, and hard attention's draws."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from attention_reference import build
from omegaconf import OmegaConf
from torch import Tensor

from nmt.errors import ConfigError, UserError
from nmt.models.attention import (
    ATTENTIONS,
    SCORES,
    Attended,
    BahdanauConfig,
    ConcatSource,
    CoverageConfig,
    FixedMemoryConfig,
    Gaussian,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    MixtureWindowConfig,
    NoneConfig,
    ScoreFunction,
    Sigma,
    StructuralConfig,
    build_attention,
)
from nmt.models.attention.config import ScoredConfig
from nmt.models.attention.local_attention import LocalAttention


def test_the_table_is_complete():
    """Each row has a name of its own, default values, help on each field and a line of documentation."""
    names = [config.name for config in ATTENTIONS]
    assert len(set(names)) == len(names)
    stateless, stateful = {"none", "bahdanau", "global", "local_m", "local_p", "hard"}, {"coverage", "location_aware"}
    assert set(names) == stateless | stateful | {"structural", "gmm", "temporal", "monotonic"} | {"fixed_memory"}
    for config in ATTENTIONS:
        assert OmegaConf.to_object(OmegaConf.structured(config)) == config()
        assert config.__doc__
        assert all(f.metadata.get("help") for f in config.__dataclass_fields__.values() if f.name not in SILENT)


SILENT = {"name", "previous_state"}  # not set by a user


def test_none_has_no_module():
    assert build_attention(NoneConfig(), 4, 4) is None


def test_who_queries_with_the_previous_state():
    """As their papers have it; the others query with the state after the step."""
    assert {c.name for c in ATTENTIONS if c.previous_state} == {"bahdanau", "location_aware", "structural", "monotonic"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LocalMConfig(half_width=0), "model.attention.half_width must be 1 to 1000000, got 0"),
        (lambda: LocalPConfig(hidden_size=0), "model.attention.hidden_size must be 1 to 65536, got 0"),
        (lambda: BahdanauConfig(hidden_size=-2), "model.attention.hidden_size must be 1 to 65536, got -2"),
        (lambda: GlobalConfig(concat_source=ConcatSource.identity), "concat_source=identity belongs to .*score=concat"),
        (lambda: LocalPConfig(concat_source=ConcatSource.identity), "concat_source=identity belongs to .*score=concat"),
        (lambda: GlobalConfig(max_source=9), "model.attention.max_source belongs to model.attention.score=location"),
        (lambda: GlobalConfig(score="location", max_source=0), "model.attention.max_source must be 1 to 10000000"),
        (lambda: LocalPConfig(renormalize=True, gaussian=Gaussian.bias), "renormalize=true .*gaussian=bias"),
        (lambda: LocalPConfig(sigma_start=3.0), "sigma_start belongs to model.attention.sigma=learned"),
        (lambda: LocalPConfig(sigma=Sigma.learned, sigma_start=0.0), "model.attention.sigma_start must be above 0"),
        (lambda: CoverageConfig(max_fertility=0.0), "model.attention.max_fertility must be above 0, got 0"),
        (lambda: StructuralConfig(position=False, markov=False, fertility=False), "use model.attention=bahdanau"),
        (lambda: FixedMemoryConfig(vectors=0), "model.attention.vectors must be 1 to 65536, got 0"),
        (lambda: MixtureWindowConfig(components=0), "model.attention.components must be 1 to 10000, got 0"),
        (lambda: build_attention(GlobalConfig(score="dot"), 4, 8), "score=dot needs a query as wide .* 4 and 8"),
        (lambda: build_attention(LocalPConfig(score="scaled_dot"), 4, 8), "score=scaled_dot needs a query as wide"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], object], message: str):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("score", ["general", "concat", "location"])
def test_query_and_memory_may_differ_in_width(score: str):
    for kind in (GlobalConfig, LocalMConfig, LocalPConfig):
        module = build_attention(kind(score=score), 4, 6)
        assert module is not None
        memory = module.prepare(torch.randn(2, 30, 6), torch.tensor([30, 1]))
        assert module(torch.randn(2, 1, 4), memory, torch.tensor([0])).context.shape == (2, 1, 6)


def test_identity_source_is_as_wide_as_the_memory():
    module = build_attention(GlobalConfig(score="concat", concat_source=ConcatSource.identity), 4, 6)
    assert module is not None
    memory = module.prepare(torch.randn(2, 30, 6), torch.tensor([30, 1]))
    assert module(torch.randn(2, 1, 4), memory, torch.tensor([0])).context.shape == (2, 1, 6)


def test_a_source_longer_than_the_location_rows_is_an_error():
    """Never cut short; padding beyond the rows is no reason to refuse."""
    module = build(GlobalConfig(score="location", max_source=5))
    values = torch.randn(2, 7, 4, dtype=torch.float64)
    with pytest.raises(UserError, match=r"model\.attention\.max_source=5 is too small for a source of 6 positions"):
        module.prepare(values, torch.tensor([3, 6]))
    lengths = torch.tensor([3, 5])
    query = torch.randn(2, 1, 4, dtype=torch.float64)
    padded, exact = (module(query, module.prepare(v, lengths), torch.tensor([0])) for v in (values, values[:, :5]))
    torch.testing.assert_close(padded.context, exact.context, rtol=0, atol=1e-12)


def test_windows_spread_over_the_source():
    """dense_weights puts each weight at its source position and drops the part outside the sentence."""
    weights = torch.tensor([[[0.0, 0.7, 0.3], [0.2, 0.8, 0.0]]])
    positions = torch.tensor([[[-1, 0, 1], [2, 3, 4]]])
    dense = Attended(torch.zeros(1, 2, 1), weights, positions).dense_weights(4)
    assert torch.equal(dense, torch.tensor([[[0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 0.2, 0.8]]]))


def hard_example(queries: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    query = torch.randn(2, queries, 4, dtype=torch.float64, requires_grad=True)
    return query, torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True), torch.tensor([6, 3])


def test_hard_attention_in_search_takes_the_likeliest_word():
    query, values, lengths = hard_example()
    module = build(HardConfig()).eval()
    out = module(query, module.prepare(values, lengths), torch.arange(3))
    soft = build(GlobalConfig())(query, module.prepare(values, lengths), torch.arange(3)).weights
    chosen = soft.argmax(2)
    assert torch.equal(out.weights, torch.nn.functional.one_hot(chosen, 6).double())
    assert torch.equal(out.context, torch.stack([values[b, chosen[b]] for b in range(2)]))


def test_hard_attention_in_training_draws_words_as_often_as_their_weights():
    """Frequencies over 4000 draws lie within 5 standard deviations; nothing beyond the sentence is drawn."""
    query, values, lengths = hard_example(queries=1)
    query = query.detach().expand(2, 4000, 4)
    module = build(HardConfig(), std=0.5)
    with torch.no_grad():
        memory = module.prepare(values, lengths)
        drawn = module(query, memory, torch.zeros(4000, dtype=torch.int64))
        soft = build(GlobalConfig(), std=0.5)(query[:, :1], memory, torch.zeros(1)).weights[:, 0]
    assert torch.equal(drawn.weights.sum(2), torch.ones(2, 4000, dtype=torch.float64))
    assert set(drawn.weights.unique().tolist()) == {0.0, 1.0}
    deviation = (soft * (1 - soft) / 4000).sqrt()
    assert ((drawn.weights.mean(1) - soft).abs() <= 5 * deviation).all()


def test_hard_attention_passes_the_gradient_straight_through():
    """The query's gradient is the one it would have, had the weights been soft; the drawn row gets all of its own."""
    query, values, lengths = hard_example()
    module = build(HardConfig())
    out = module(query, module.prepare(values, lengths), torch.arange(3))
    direction = torch.randn(2, 3, 4, dtype=torch.float64)
    found = torch.autograd.grad((out.context * direction).sum(), query)[0]
    soft = build(GlobalConfig())(query, module.prepare(values, lengths), torch.arange(3))
    expected = torch.autograd.grad((soft.context * direction).sum(), query)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Distance(ScoreFunction):
    """-|q - h_s|^2: a score of one's own, of which nothing but the comparison is written."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return -(query[:, :, None] - keys).square().sum(-1)


@pytest.mark.parametrize("config", [GlobalConfig, LocalMConfig, LocalPConfig])
def test_a_new_score_is_one_class_and_one_row(config: type[ScoredConfig], monkeypatch: pytest.MonkeyPatch):
    """Weights follow its formula, by windows and by all positions alike, and gradients reach memory and query."""
    monkeypatch.setitem(SCORES, "distance", Distance)
    torch.manual_seed(0)
    chosen = config(score="distance")
    module = build(replace(chosen, half_width=1) if isinstance(chosen, LocalMConfig) else chosen)
    query = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 8, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([8, 5])
    found = []
    for windows in (True, False):
        if isinstance(module, LocalAttention):
            module.always_gather = windows
        out = module(query, module.prepare(values, lengths), torch.arange(3))
        found.append((out.dense_weights(8), *torch.autograd.grad(out.context.pow(2).sum(), [query, values])))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    weights = found[0][0]
    for b, n in itertools.product(range(2), range(3)):
        inside = weights[b, n].detach().nonzero().squeeze(1)
        score = torch.stack([-(query[b, n] - values[b, s]).square().sum() for s in inside]).detach()
        ratio = weights[b, n, inside].detach() / score.softmax(0)
        if not isinstance(chosen, LocalPConfig):  # whose Gaussian comes on top
            torch.testing.assert_close(ratio, torch.ones_like(ratio))


def test_an_unknown_score_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"model.attention.score: 'nothing' is not one of dot, general, concat"):
        GlobalConfig(score="nothing")
