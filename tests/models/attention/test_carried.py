"""Mechanisms that know where they have attended before, against their formulas and against themselves."""

import pytest
import torch
from attention_reference import build
from carried_reference import attend_in_turn
from torch import Tensor

from nmt.models.attention import (
    ATTENTIONS,
    Attended,
    Attention,
    AttentionConfig,
    CoverageConfig,
    LocationAwareConfig,
    MixtureForm,
    MixtureWindowConfig,
    MonotonicConfig,
    StructuralConfig,
    TemporalConfig,
    build_attention,
)
from nmt.models.attention.monotonic_attention import STRIDE
from nmt.models.ops.additive import additive_scores
from nmt.testing import check_attention

SIZE = 4
CONFIGS: list[AttentionConfig] = [
    CoverageConfig(hidden_size=3),
    CoverageConfig(hidden_size=3, max_fertility=2.0),
    CoverageConfig(hidden_size=3, normalizer="sparsemax"),
    LocationAwareConfig(hidden_size=3, filters=2, filter_reach=1),
    LocationAwareConfig(hidden_size=3, filters=3, filter_reach=20),  # wider than any source
    StructuralConfig(hidden_size=3, neighbours=1),
    StructuralConfig(hidden_size=3, neighbours=0, normalizer="entmax15"),
    StructuralConfig(hidden_size=3, markov=False, fertility=False),
    StructuralConfig(hidden_size=3, position=False, fertility=False, neighbours=2),
    StructuralConfig(hidden_size=3, position=False, markov=False),
    TemporalConfig(),
    TemporalConfig(score="concat", normalizer="entmax15"),
    TemporalConfig(score="location", max_source=9),
    MonotonicConfig(hidden_size=3, noise=0.0),
    MonotonicConfig(hidden_size=3, noise=0.0, chunk=3),
    MonotonicConfig(hidden_size=3, noise=0.0, chunk=20),  # wider than any source
    MixtureWindowConfig(components=2, hidden_size=3),
    MixtureWindowConfig(components=1, hidden_size=3, form=MixtureForm.graves),
]
LENGTHS = torch.tensor([9, 1, 6, 2])
T = 5
POSITION = torch.arange(T)


def describe(config: AttentionConfig) -> str:
    return "-".join(str(getattr(v, "name", v)) for v in vars(config).values() if v is not None)


@pytest.fixture(params=CONFIGS, ids=describe)
def config(request: pytest.FixtureRequest) -> AttentionConfig:
    return request.param


def example(queries: int = T, longest: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(len(LENGTHS), queries, SIZE, generator=generator, dtype=torch.float64)
    values = torch.randn(len(LENGTHS), longest, SIZE, generator=generator, dtype=torch.float64)
    return query.requires_grad_(), values.requires_grad_()


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def gradients(module: Attention, context: Tensor, *inputs: Tensor) -> list[Tensor]:
    weight = torch.linspace(-1, 1, context.numel(), dtype=context.dtype).view_as(context).cos()
    loss = (context * weight).sum() + context.square().sum()
    return list(torch.autograd.grad(loss, [*inputs, *module.parameters()]))


def test_every_mechanism_with_a_state_is_here():
    seen = {type(config) for config in CONFIGS}
    for config in ATTENTIONS:
        module = build_attention(config(), SIZE, SIZE)
        if module is not None and module.prepare(torch.zeros(1, 2, SIZE), torch.tensor([2])).carried is not None:
            assert config in seen, f"add {config.name} to CONFIGS and to tests/helpers/carried_reference.py"


def test_values_and_gradients_follow_the_formulas(config: AttentionConfig):
    """Contexts, weights and every gradient, through all target positions, equal those of loops over scalars."""
    query, values = example()
    module = build(config)
    out = module.in_turn(query, module.prepare(values, LENGTHS), POSITION)
    weights, context = attend_in_turn(module, config, query, values, LENGTHS)
    assert_same(out.weights, weights)
    assert_same(out.context, context)
    expected = gradients(module, context, query, values)
    for ours, theirs in zip(gradients(module, out.context, query, values), expected, strict=True):
        assert_same(ours, theirs)


def test_gradients_are_the_slopes(config: AttentionConfig):
    query, values = example(queries=3)
    module = build(config, std=0.4)

    def context(q: Tensor, v: Tensor, *_: Tensor) -> Tensor:
        return module.in_turn(q, module.prepare(v, LENGTHS), POSITION[:3]).context

    assert torch.autograd.gradcheck(context, (query, values, *module.parameters()), fast_mode=True)


def test_what_went_before_matters(config: AttentionConfig):
    """The last weights depend on the first query, unless the positions are all that is seen."""
    query, values = example()
    module = build(config, std=0.4)  # small, so that normalizers keep some weights between 0 and 1
    weights = module.in_turn(query, module.prepare(values, LENGTHS), POSITION).weights
    (found,) = torch.autograd.grad(weights[:, -1].square().sum(), query)
    blind = isinstance(config, StructuralConfig) and not (config.markov or config.fertility)
    assert bool(found[:, 0].any()) != blind


@pytest.mark.parametrize("dirt", [1e300, float("inf"), float("nan")])
def test_padding_is_invisible_to_the_last_bit(config: AttentionConfig, dirt: float):
    query, values = example()
    module = build(config)
    dirty = values.detach().clone()
    for b, length in enumerate(LENGTHS):
        dirty[b, length:] = dirt
    dirty.requires_grad_()
    clean, soiled = (module.in_turn(query, module.prepare(v, LENGTHS), POSITION) for v in (values, dirty))
    assert torch.equal(clean.context, soiled.context)
    assert not soiled.weights[(torch.arange(9) >= LENGTHS[:, None])[:, None].expand_as(soiled.weights)].any()
    expected = gradients(module, clean.context, query, values)
    found = gradients(module, soiled.context, query, dirty)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
    assert not found[1][torch.arange(9) >= LENGTHS[:, None]].any()


def test_a_batch_equals_its_sentences_one_by_one(config: AttentionConfig):
    query, values = example()
    module = build(config)
    together = module.in_turn(query, module.prepare(values, LENGTHS), POSITION)
    for b, length in enumerate(LENGTHS.tolist()):
        memory = module.prepare(values[b : b + 1, :length], LENGTHS[b : b + 1])
        alone = module.in_turn(query[b : b + 1], memory, POSITION)
        assert_same(together.context[b], alone.context[0])
        assert_same(together.weights[b, :, :length], alone.weights[0])


@pytest.mark.parametrize("walks", [False, True])
def test_hypotheses_keep_their_own_past(config: AttentionConfig, walks: bool, monkeypatch: pytest.MonkeyPatch):
    """Hypotheses that part ways, change places and lose sentences attend as each alone would."""
    query, values = example(queries=6)
    module = build(config)
    if walks:  # a monotonic walk in search, from position to position
        if not isinstance(config, MonotonicConfig):
            pytest.skip("has one way to search")
        monkeypatch.setattr("nmt.models.attention.monotonic_attention.WALKED_FROM", 0)
        module.eval()
    with torch.no_grad():
        memory = module.prepare(values, LENGTHS)
        # Both hypotheses begin with query 0; then one goes on with 1 and one with 2; they change places; then 3 and 4.
        memory = memory.after(module(query[:, :1], memory, POSITION[:1]))
        memory = memory.reorder(torch.arange(4).repeat_interleave(2), 2)
        memory = memory.after(module(query[:, 1:3], memory, POSITION[1].expand(2)))
        memory = memory.reorder(torch.tensor([1, 0, 3, 2, 5, 4, 7, 6]), 2).keep(torch.tensor([2, 0]))
        out = module(query[[2, 0], 3:5], memory, POSITION[2].expand(2))
        for hypothesis, path in enumerate(([0, 2, 3], [0, 1, 4])):
            alone = module.in_turn(query[:, path], module.prepare(values, LENGTHS), POSITION[:3])
            assert_same(out.weights[:, hypothesis], alone.weights[[2, 0], -1])
            assert_same(out.context[:, hypothesis], alone.context[[2, 0], -1])


def test_a_mechanism_is_what_a_plugin_has_to_be(config: AttentionConfig):
    if isinstance(config, MonotonicConfig):
        pytest.skip("evaluation takes hard steps, whose gradient is passed straight through")
    module = ATTENTIONS[type(config)]
    assert module is not None
    check_attention(module, config)


@pytest.mark.parametrize("form", MixtureForm)
def test_the_mixture_only_moves_forward(form: MixtureForm):
    query, values = example()
    module = build(MixtureWindowConfig(components=3, hidden_size=3, form=form))
    memory, means = module.prepare(values, LENGTHS), [torch.zeros(())]
    for t in range(T):
        attended: Attended = module(query[:, t : t + 1], memory, POSITION[t : t + 1])
        memory = memory.after(attended)
        assert memory.carried is not None
        means.append(memory.carried["mean"])
        assert (means[-1] > means[-2]).all()


def test_fertility_slows_coverage_down():
    """With the same weights read, C of a word of fertility Phi is 1/Phi of the plain one."""
    values = torch.randn(1, 3, SIZE, dtype=torch.float64)
    module = build(CoverageConfig(hidden_size=3, max_fertility=4.0))
    memory = module.prepare(values, torch.tensor([3]))
    read = torch.tensor([[[0.5, 1.0, 2.0]]], dtype=torch.float64)
    memory = memory._replace(carried={"previous": read, "cumulated": read})
    with torch.no_grad():
        dict(module.named_parameters())["fertility.weight"].zero_()  # Phi = 4 / 2
        assert_same(module.features_of(memory, POSITION[:1])[..., 0], read / 2)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("chunk", [1, 3])
def test_monotonic_search_stops_at_the_first_likely_position(chunk: int, monkeypatch: pytest.MonkeyPatch):
    """Hard weights follow the walk, word by word; the gradient is that of the expectation along it."""
    config = MonotonicConfig(hidden_size=3, chunk=chunk)
    query, values = example()
    module = build(config).eval()
    out = module.in_turn(query, module.prepare(values, LENGTHS), POSITION)
    assert out.weights.requires_grad
    weights, _ = attend_in_turn(module, config, query, values, LENGTHS)
    assert_same(out.weights.detach(), weights.detach())
    monkeypatch.setattr("nmt.models.attention.monotonic_attention.WALKED_FROM", 0)
    with torch.no_grad():
        walked = module.in_turn(query, module.prepare(values, LENGTHS), POSITION)
    assert walked.weights.size(2) == chunk
    assert_same(walked.dense_weights(9), out.weights.detach())
    assert_same(walked.context, out.context.detach())
    stops = out.weights.sum(2)
    assert set(stops.detach().round(decimals=9).unique().tolist()) == {0.0, 1.0}  # both occur here


@pytest.mark.parametrize("chunk", [1, 3])
def test_monotonic_search_takes_linear_time(chunk: int, monkeypatch: pytest.MonkeyPatch):
    """A translation asks each position once or twice more than there are, whatever its own length; no S T."""
    S, words = 400, 60
    asked = 0

    def counting(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        nonlocal asked
        asked += keys.size(2)
        return additive_scores(query, keys, v)

    monkeypatch.setattr("nmt.models.attention.monotonic_attention.additive_scores", counting)
    module = build(MonotonicConfig(hidden_size=3, chunk=chunk)).eval()
    torch.manual_seed(0)
    values = torch.randn(1, S, SIZE, dtype=torch.float64)
    query = 0.1 * torch.randn(1, words, SIZE, dtype=torch.float64)  # so that every word finds a stop
    with torch.no_grad():
        out = module.in_turn(query, module.prepare(values, torch.tensor([S])), torch.arange(words))
        walked = asked
        assert out.weights.any(2).all()  # it stopped for every word, inside the source
    module.in_turn(query, module.prepare(values, torch.tensor([S])), torch.arange(words))
    assert asked - walked >= S * words  # with gradients
    assert walked <= S + words * (STRIDE + chunk)


def test_monotonic_noise_belongs_to_training():
    query, values = example()
    module = build(MonotonicConfig(hidden_size=3, noise=1.0), std=0.4)

    def weights() -> Tensor:
        return module.in_turn(query, module.prepare(values, LENGTHS), POSITION).weights

    assert not torch.equal(weights(), weights())
    module.eval()
    assert torch.equal(weights(), weights())
