"""What autocast may change about attention, and what it may not."""

import pytest
import torch
from torch import nn

from nmt.models.attention import (
    SCORES,
    AttentionConfig,
    BahdanauConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    build_attention,
)
from nmt.models.attention.local_attention import LocalAttention

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CONFIGS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=16),
    *(kind(score=score) for kind in (GlobalConfig, LocalMConfig, LocalPConfig) for score in SCORES),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("longest", [257, 1000, 10_000])
@pytest.mark.parametrize("windows", [True, False], ids=["windows", "everywhere"])
@pytest.mark.parametrize("kind", [LocalMConfig, LocalPConfig])
def test_windows_stay_where_they_are(kind: type[LocalMConfig], windows: bool, longest: int, device: str):
    """bfloat16 holds 8 bits: a centre at 257 must not become 256, nor a distance from the centre be rounded."""
    torch.manual_seed(0)
    module = build_attention(kind(score="dot"), query_size=8, memory_size=8)
    assert isinstance(module, LocalAttention)
    module.always_gather = windows
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    module.to(device)
    query = torch.randn(2, 40, 8, device=device)
    values, lengths = torch.zeros(2, longest, 8, device=device), torch.tensor([longest, longest - 3], device=device)
    position = torch.linspace(0, longest + 20, 40, device=device).long()
    exact = module(query, module.prepare(values, lengths), position)
    with torch.autocast(device, torch.bfloat16):
        rough = module(query, module.prepare(values, lengths), position)
    assert exact.centre is not None
    assert rough.centre is not None
    assert rough.centre.dtype is torch.float32
    assert rough.centre.max() > 0.9 * longest
    assert torch.equal(exact.centre, rough.centre)
    if windows:
        assert exact.positions is not None
        assert rough.positions is not None
        assert torch.equal(exact.positions, rough.positions)
    # Values are zero, so that scores are equal: any difference is the Gaussian's, which is float32.
    torch.testing.assert_close(rough.weights, exact.weights, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [LocalMConfig, LocalPConfig])
def test_a_bfloat16_query_has_the_window_of_its_value(kind: type[LocalMConfig]):
    """A decoder may hand over bfloat16 states: what is computed from them is as wide as ever."""
    torch.manual_seed(0)
    module = build_attention(kind(score="dot"), query_size=8, memory_size=8)
    assert module is not None
    query, values, lengths = torch.randn(1, 40, 8).bfloat16(), torch.zeros(1, 1000, 8), torch.tensor([1000])
    position = torch.arange(600, 640)
    exact = module(query.float(), module.prepare(values, lengths), position)
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(query, module.prepare(values, lengths), position)
    assert exact.centre is not None
    assert rough.centre is not None
    assert torch.equal(exact.centre, rough.centre)
    assert torch.equal(exact.dense_weights(1000), rough.dense_weights(1000))
    assert rough.context.dtype is torch.bfloat16


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.name}-{getattr(c, 'score', None)}")
def test_bfloat16_is_within_its_rounding(config: AttentionConfig, device: str):
    """Values and gradients under autocast, N=1 and N=T, on both of local attention's ways."""
    torch.manual_seed(0)
    module = build_attention(config, 16, 16)
    assert module is not None
    module.to(device)
    lengths = torch.tensor([90, 50, 3], device=device)
    start = torch.randn(3, 90, 16, device=device), torch.randn(3, 6, 16, device=device)
    results = []
    for wide in (True, False):
        values, query = (x.clone().requires_grad_() for x in start)
        module.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=not wide):
            memory = module.prepare(values, lengths)
            together = module(query, memory, torch.arange(6, device=device))
            alone = module(query[:, 3:4], memory, torch.tensor([3], device=device))
        assert together.context.dtype is query.dtype
        assert together.weights.dtype is torch.float32
        (together.context.square().sum() + alone.context.square().sum()).backward()
        parameters = [p.grad for p in module.parameters()]
        results.append([together.context, alone.context, together.weights, values.grad, query.grad, *parameters])
    for exact, rough in zip(*results, strict=True):
        assert (exact - rough).norm() < 0.03 * exact.norm() + 1e-3


def test_other_precisions_go_in_and_out():
    """float64 stays float64 under autocast too, and a bfloat16 module gives bfloat16."""
    for config in CONFIGS:
        for dtype in (torch.float64, torch.bfloat16):
            module = build_attention(config, 8, 8)
            assert module is not None
            module.to(dtype)
            query, values = torch.randn(2, 1, 8, dtype=dtype), torch.randn(2, 60, 8, dtype=dtype)
            out = module(query, module.prepare(values, torch.tensor([60, 4])), torch.tensor([1]))
            assert out.context.dtype is dtype
            assert out.weights.dtype is torch.promote_types(dtype, torch.float32)
            if dtype is torch.float64:
                with torch.autocast("cpu", torch.bfloat16):
                    same = module(query, module.prepare(values, torch.tensor([60, 4])), torch.tensor([1]))
                assert same.context.dtype is dtype


def test_a_hard_choice_in_bfloat16_is_one_word():
    module = build_attention(HardConfig(), 8, 8)
    assert module is not None
    values, query = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(query, module.prepare(values, torch.tensor([5, 2])), torch.arange(3))
    chosen = out.weights.argmax(2)
    rounded = values.bfloat16().float()
    assert torch.equal(out.context, torch.stack([rounded[b, chosen[b]] for b in range(2)]))
