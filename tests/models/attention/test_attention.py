"""Attention against its formulas, and against itself where two ways must agree."""

import itertools
from dataclasses import replace

import pytest
import torch
from attention_reference import attend_all, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nmt.models.attention import (
    SCORES,
    Attention,
    AttentionConfig,
    BahdanauConfig,
    Centre,
    ConcatSource,
    FixedMemoryConfig,
    Gaussian,
    GlobalConfig,
    LocalMConfig,
    LocalPConfig,
    Shares,
    Sigma,
    build_attention,
)
from nmt.models.attention.local_attention import LocalAttention

SIZE = 4
PATHS = ["windows", "dense"]
SPARSE = ["sparsemax", "entmax15"]
CONFIGS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=3),
    *(GlobalConfig(score=score) for score in SCORES),
    GlobalConfig(score="concat", concat_source=ConcatSource.identity),
    *(LocalMConfig(score=score, half_width=2) for score in SCORES),
    LocalMConfig(score="concat", half_width=2, concat_source=ConcatSource.identity),
    *(LocalPConfig(score=score, half_width=2, hidden_size=3) for score in SCORES),
    LocalPConfig(half_width=1, hidden_size=3, renormalize=True),
    LocalPConfig(half_width=2, hidden_size=3, sigma=Sigma.learned),
    LocalPConfig(score="concat", half_width=3, hidden_size=3, sigma=Sigma.learned, renormalize=True),
    LocalPConfig(half_width=50, hidden_size=3),
    LocalPConfig(half_width=2, hidden_size=3, gaussian=Gaussian.bias),
    LocalPConfig(half_width=2, hidden_size=3, centre=Centre.diagonal),
    LocalPConfig(
        **{"score": "location", "half_width": 3, "hidden_size": 3, "sigma": Sigma.learned, "sigma_start": 4.0},
        **{"gaussian": Gaussian.bias, "centre": Centre.diagonal},
    ),
    LocalMConfig(half_width=50),
    *(BahdanauConfig(hidden_size=3, normalizer=normalizer) for normalizer in SPARSE),
    *(GlobalConfig(normalizer=normalizer) for normalizer in SPARSE),
    *(LocalMConfig(half_width=2, normalizer=normalizer) for normalizer in SPARSE),
    *(LocalPConfig(half_width=2, hidden_size=3, normalizer=normalizer) for normalizer in SPARSE),
    LocalPConfig(half_width=2, hidden_size=3, renormalize=True, normalizer="entmax15"),
    FixedMemoryConfig(vectors=3),
    FixedMemoryConfig(vectors=12, position_encoding=True),  # more vectors than positions
    FixedMemoryConfig(vectors=3, shares=Shares.of_vector, position_encoding=True, normalizer="sparsemax"),
    FixedMemoryConfig(vectors=1, normalizer="entmax15"),
]
LENGTHS = torch.tensor([9, 1, 6, 2])  # D=2: beyond 2D+1, one word, half inside, fewer than D
POSITION = torch.arange(11)  # the target is longer than any source


def describe(config: AttentionConfig) -> str:
    return "-".join(str(getattr(v, "name", v)) for v in vars(config).values() if v is not None)


@pytest.fixture(params=CONFIGS, ids=describe)
def config(request: pytest.FixtureRequest) -> AttentionConfig:
    return request.param


def example(
    lengths: Tensor = LENGTHS, queries: int = len(POSITION), longest: int = 9, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(len(lengths), queries, SIZE, generator=generator, dtype=torch.float64)
    values = torch.randn(len(lengths), longest, SIZE, generator=generator, dtype=torch.float64)
    return query.requires_grad_(), values.requires_grad_(), lengths


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def rows_sum_to_one(config: AttentionConfig) -> bool:
    """Not behind Luong's Gaussian, nor where positions share themselves out among vectors."""
    if isinstance(config, LocalPConfig):
        return config.renormalize or config.gaussian is Gaussian.bias
    return not isinstance(config, FixedMemoryConfig) or config.shares is Shares.of_vector


def force(module: Attention, path: str) -> Attention:
    """Choose one of local attention's two ways."""
    if isinstance(module, LocalAttention):
        module.always_gather = path == "windows"
    return module


def gradients(module: Attention, context: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Of a loss that tells all outputs apart; zeros where there is no path, as from prediction to local_m."""
    weight = torch.linspace(-1, 1, context.numel(), dtype=context.dtype).view_as(context).cos()
    loss = (context * weight).sum() + context.square().sum()
    return list(torch.autograd.grad(loss, [*inputs, *module.parameters()], allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("path", PATHS)
def test_values_and_gradients_follow_the_formulas(config: AttentionConfig, path: str):
    """Contexts, weights and every gradient equal those of scalar loops over the papers' equations."""
    query, values, lengths = example()
    module = force(build(config), path)
    out = module(query, module.prepare(values, lengths), POSITION)
    weights, context = attend_all(module, config, query, values, lengths, POSITION)
    assert_same(out.dense_weights(9), weights)
    assert_same(out.context, context)
    found = gradients(module, out.context, query, values)
    expected = gradients(module, context, query, values)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_are_the_slopes(config: AttentionConfig, path: str):
    """Numeric differentiation; for local_p the Gaussian is the only path to the centre."""
    query, values, lengths = example(queries=2)
    module = force(build(config, std=0.4), path)
    parameters = list(module.parameters())

    def context(q: Tensor, v: Tensor, *_: Tensor) -> Tensor:
        return module(q, module.prepare(v, lengths), torch.tensor([1, 8])).context

    assert torch.autograd.gradcheck(context, (query, values, *parameters), fast_mode=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_follows_the_formulas(data: st.DataObject):
    """Any lengths, window width, number of queries and mechanism, by either path."""
    config = data.draw(st.sampled_from(CONFIGS))
    if isinstance(config, LocalMConfig):
        config = replace(config, half_width=data.draw(st.integers(1, 50)))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 13), min_size=1, max_size=3)))
    padding, queries = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3))
    query, values, lengths = example(lengths, queries, int(lengths.max()) + padding, data.draw(st.integers(0, 99)))
    position = torch.tensor([data.draw(st.integers(0, 20)) for _ in range(queries)])
    module = force(build(config, std=data.draw(st.sampled_from([0.1, 1.0, 5.0]))), data.draw(st.sampled_from(PATHS)))
    with torch.no_grad():
        hint = data.draw(st.one_of(st.none(), st.integers(1, 30)))
        out = module(query, module.prepare(values, lengths, hint, data.draw(st.integers(1, 30))), position)
        weights, context = attend_all(module, config, query, values, lengths, position)
    assert_same(out.dense_weights(values.size(1)), weights)
    assert_same(out.context, context)


@pytest.mark.parametrize("path", PATHS)
def test_queries_at_once_equal_queries_one_by_one(config: AttentionConfig, path: str):
    """Teacher forcing calls with N=T, input feeding with N=1, search with N=beam; gradients agree too."""
    query, values, lengths = example()
    module = force(build(config), path)
    memory = module.prepare(values, lengths)
    together = module(query, memory, POSITION).context
    memory = module.prepare(values, lengths)
    steps = [module(query[:, n : n + 1], memory, POSITION[n : n + 1]).context for n in range(len(POSITION))]
    assert_same(torch.cat(steps, 1), together)
    at_once = gradients(module, together, query, values)
    for ours, theirs in zip(gradients(module, torch.cat(steps, 1), query, values), at_once, strict=True):
        assert_same(ours, theirs)


def test_a_batch_equals_its_sentences_one_by_one(config: AttentionConfig):
    query, values, lengths = example()
    module = build(config)
    together = module(query, module.prepare(values, lengths), POSITION)
    for b, length in enumerate(lengths.tolist()):
        alone = module(query[b : b + 1], module.prepare(values[b : b + 1, :length], lengths[b : b + 1]), POSITION)
        assert_same(together.context[b], alone.context[0])
        assert_same(together.dense_weights(9)[b, :, :length], alone.dense_weights(length)[0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dirt", [1e300, float("inf"), float("nan")])
def test_padding_is_invisible_to_the_last_bit(config: AttentionConfig, path: str, dirt: float):
    """Whatever lies beyond a sentence's length changes no context and no gradient, and gets none."""
    query, values, lengths = example()
    module = force(build(config), path)
    dirty = values.detach().clone()
    for b, length in enumerate(lengths):
        dirty[b, length:] = dirt
    dirty.requires_grad_()
    clean, soiled = (module(query, module.prepare(v, lengths), POSITION).context for v in (values, dirty))
    assert torch.equal(clean, soiled)
    expected, found = gradients(module, clean, query, values), gradients(module, soiled, query, dirty)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
    assert not found[1][torch.arange(9) >= lengths[:, None]].any()


@pytest.mark.parametrize("path", PATHS)
def test_scores_of_any_size_leave_padding_alone(config: AttentionConfig, path: str):
    """However low the scores of the words are, all weight is theirs and none is the padding's, exactly."""
    _, values, lengths = example()
    query = -1e6 * values.detach().sum(1, keepdim=True).expand(-1, len(POSITION), -1)
    module = force(build(config), path)
    weights = module(query, module.prepare(values, lengths), POSITION).dense_weights(9)
    assert not weights[(torch.arange(9) >= lengths[:, None])[:, None].expand_as(weights)].any()
    if rows_sum_to_one(config):
        assert_same(weights.sum(2), torch.ones_like(weights[..., 0]))


@pytest.mark.parametrize("end", [-1.0, 1.0], ids=["first word", "last word"])
def test_a_centre_at_either_end(end: float):
    """A saturated sigmoid puts p at 0 or at S exactly; the window stands on the first or the last word."""
    config = LocalPConfig(half_width=2, hidden_size=3)
    module = build(config)
    assert isinstance(module, LocalAttention)
    assert module.predict is not None
    module.always_gather = True  # so that positions come out
    query, values, lengths = example()
    with torch.no_grad():
        module.predict.hidden.weight.fill_(100.0)
        module.predict.energy.weight.fill_(300.0 * end)
        query.abs_()
        memory = module.prepare(values, lengths)
        out = module(query, memory, POSITION)
        weights, context = attend_all(module, config, query, values, lengths, POSITION)
    assert out.centre is not None
    assert out.positions is not None
    assert torch.equal(out.positions[..., 2], ((lengths - 1) * (end > 0))[:, None].expand(-1, len(POSITION)))
    assert_same(out.dense_weights(9), weights)
    assert_same(out.context, context)


def test_a_diagonal_centre_starts_where_the_target_stands():
    """Without a say of the query, p lies in the middle of position t, or of the last word; a say moves it anywhere."""
    module = build(LocalPConfig(half_width=2, hidden_size=3, centre=Centre.diagonal, gaussian=Gaussian.bias))
    assert isinstance(module, LocalAttention)
    assert module.predict is not None
    query, values, lengths = example()
    with torch.no_grad():
        for strength in (0.0, -200.0, 200.0):
            module.predict.hidden.weight.fill_(100.0)
            module.predict.energy.weight.fill_(strength)
            centre = module(query.abs(), module.prepare(values, lengths), POSITION).centre
            last = (lengths - 1)[:, None]
            expected = torch.minimum(POSITION, last) + 0.5
            if strength:
                expected = (last + 1.0 if strength > 0 else 0.0 * last).expand_as(expected)
            torch.testing.assert_close(centre, expected.double())


def test_sigma_starts_where_it_is_told():
    for start, expected in ((None, 5.0), (12.0, 12.0)):
        module = build_attention(LocalPConfig(sigma=Sigma.learned, sigma_start=start), SIZE, SIZE)
        assert isinstance(module, LocalAttention)
        assert module.predict is not None
        assert module.predict.log_sigma is not None
        assert module.predict.log_sigma.exp().item() == pytest.approx(expected)


@pytest.mark.parametrize("score", SCORES)
def test_no_two_mechanisms_agree_on_a_long_source(score: str):
    """On equal weights and S > 2D+1 every mechanism and option gives another loss: one sees which one ran."""
    configs: list[AttentionConfig] = [
        GlobalConfig(score=score),
        LocalMConfig(score=score, half_width=2),
        LocalPConfig(score=score, half_width=2),
        LocalPConfig(score=score, half_width=2, renormalize=True),
        LocalPConfig(score=score, half_width=2, gaussian=Gaussian.bias),
        LocalMConfig(score=score, half_width=3),
    ]
    query, values, lengths = example(torch.tensor([30, 25]), longest=30)
    losses = []
    for config in configs:
        module = build(config)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.linspace(-1, 1.3, parameter.numel()).view_as(parameter).cos())
                parameter.mul_(4 if name.startswith("predict") else 1)
        losses.append(module(query, module.prepare(values, lengths), POSITION).context.square().mean().item())
    for a, b in itertools.combinations(losses, 2):
        assert abs(a - b) > 1e-4 * abs(a)


def test_no_two_scores_agree():
    """The same for scores and their options, on equal weights."""
    query, values, lengths = example()
    configs = [GlobalConfig(score=score) for score in SCORES]
    configs.append(GlobalConfig(score="concat", concat_source=ConcatSource.identity))
    losses = []
    for config in configs:
        module = build(config)
        losses.append(module(query, module.prepare(values, lengths), POSITION).context.square().mean().item())
    for a, b in itertools.combinations(losses, 2):
        assert abs(a - b) > 1e-4 * abs(a)
