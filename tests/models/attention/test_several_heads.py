"""Several heads of one mechanism: against loops over heads and scalars, and in whole models."""

import pytest
import torch
from attention_reference import attend_all, times
from carried_reference import attend_in_turn
from torch import Tensor

from nmt.errors import ConfigError
from nmt.models import LSTMConfig
from nmt.models.attention import (
    ATTENTIONS,
    Attention,
    AttentionConfig,
    BahdanauConfig,
    CoverageConfig,
    FixedMemoryConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    LocationAwareConfig,
    MixtureWindowConfig,
    MonotonicConfig,
    NoneConfig,
    StructuralConfig,
    TemporalConfig,
    build_attention,
)
from nmt.models.lstm.config import Mixture
from nmt.testing import check_attention

SIZE = 6
IN_TURN = CoverageConfig, LocationAwareConfig, StructuralConfig, TemporalConfig, MixtureWindowConfig, MonotonicConfig
CONFIGS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=3, heads=2),
    GlobalConfig(heads=3),
    GlobalConfig(score="dot", heads=2, normalizer="sparsemax"),
    LocalMConfig(half_width=1, score="concat", heads=2),
    LocalPConfig(half_width=2, hidden_size=3, heads=3),
    FixedMemoryConfig(vectors=3, heads=2),
    CoverageConfig(hidden_size=3, max_fertility=2.0, heads=2),
    LocationAwareConfig(hidden_size=3, filters=2, filter_reach=1, heads=3),
    StructuralConfig(hidden_size=3, heads=2),
    TemporalConfig(heads=2),
    MixtureWindowConfig(components=2, hidden_size=3, heads=2),
    MonotonicConfig(hidden_size=3, noise=0.0, chunk=2, heads=2),
]
LENGTHS = torch.tensor([9, 1, 6, 2])
T = 4
POSITION = torch.arange(T)


@pytest.fixture(params=CONFIGS, ids=lambda config: config.name)
def config(request: pytest.FixtureRequest) -> AttentionConfig:
    return request.param


def build(config: AttentionConfig) -> Attention:
    module = build_attention(config, SIZE, SIZE)
    assert module is not None
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter, std=0.7, generator=generator)
    return module


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, values = (torch.randn(4, n, SIZE, generator=generator, dtype=torch.float64) for n in (T, 9))
    return query.requires_grad_(), values.requires_grad_()


def projected(matrix: Tensor, rows: Tensor) -> Tensor:
    """matrix times each of rows (B, N, F), number by number."""
    found = [torch.stack(times(matrix, list(row.unbind()))) for row in rows.flatten(0, 1)]
    return torch.stack(found).view(*rows.shape[:2], -1)


def by_the_formula(module: Attention, config: AttentionConfig, query: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (B, heads, T, S) and contexts (B, T, M): head after head."""
    parameters, F = dict(module.named_parameters()), SIZE // config.heads
    mechanism = module.get_submodule("mechanism")
    assert isinstance(mechanism, Attention)
    weights, contexts = [], []
    for i in range(config.heads):
        rows = slice(i * F, (i + 1) * F)
        q, h = projected(parameters["query.weight"][rows], query), projected(parameters["memory.weight"][rows], values)
        if isinstance(config, IN_TURN):
            a, c = attend_in_turn(mechanism, config, q, h, LENGTHS)
        else:
            a, c = attend_all(mechanism, config, q, h, LENGTHS, POSITION)
        weights.append(a)
        contexts.append(c)
    return torch.stack(weights, 1), torch.cat(contexts, 2)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def gradients(module: Attention, context: Tensor, *inputs: Tensor) -> list[Tensor]:
    weight = torch.linspace(-1, 1, context.numel(), dtype=context.dtype).view_as(context).cos()
    wanted = [*inputs, *module.parameters()]
    return list(torch.autograd.grad((context * weight).sum() + context.square().sum(), wanted, allow_unused=True))


def attend(module: Attention, config: AttentionConfig, query: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (B, heads, T, S) and contexts of the module itself."""
    memory = module.prepare(values, LENGTHS)
    out = (module.in_turn if isinstance(config, IN_TURN) else module)(query, memory, POSITION)
    return out.by_head(out.dense_weights(values.size(1))), out.context


def test_every_mechanism_is_here_but_hard():
    """hard draws, in training; tests/helpers/model_cases.py has it with heads."""
    assert {type(c) for c in CONFIGS} == set(ATTENTIONS) - {NoneConfig, HardConfig}


def test_values_and_gradients_follow_the_formula(config: AttentionConfig):
    query, values = example()
    module = build(config)
    weights, context = attend(module, config, query, values)
    expected_weights, expected = by_the_formula(module, config, query, values)
    assert_same(weights, expected_weights)
    assert_same(context, expected)
    for ours, theirs in zip(
        gradients(module, context, query, values), gradients(module, expected, query, values), strict=True
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_same(ours, theirs)


def test_heads_are_what_a_plugin_has_to_be(config: AttentionConfig):
    """Padding, batches, gradients, bfloat16, and no loop over queries, by nmt.testing; its width is 4."""
    if config.heads == 3:
        config = type(config)(**{**vars(config), "heads": 2})
    if isinstance(config, MonotonicConfig):
        pytest.skip("evaluation takes hard steps, whose gradient is passed straight through")
    check_attention(build_attention, config)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dirt", [float("inf"), float("nan")])
def test_padding_is_invisible_to_the_gradient_of_the_projection(dirt: float):
    query, values = example()
    module = build(GlobalConfig(heads=2))
    dirty = values.detach().clone()
    for b, length in enumerate(LENGTHS):
        dirty[b, length:] = dirt
    dirty.requires_grad_()
    found, expected = (
        gradients(module, attend(module, GlobalConfig(), query, v)[1], query, v) for v in (dirty, values)
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoneConfig(heads=2), "model.attention.heads=2: model.attention=none has nothing to attend with"),
        (lambda: GlobalConfig(heads=0), "model.attention.heads must be 1 to 1024, got 0"),
        (lambda: LSTMConfig(hidden_size=10, attention=GlobalConfig(heads=4)), "heads=4 must divide .*hidden_size=10"),
        (
            lambda: LSTMConfig(attention=GlobalConfig(heads=2), mixture=Mixture.predictions),
            "several heads read as many at a time: set model.attention.heads=1",
        ),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_model_says_how_many_heads_it_has():
    assert LSTMConfig(attention=GlobalConfig(heads=4)).attention_heads == (1, 4)
