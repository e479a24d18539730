"""optim=muon: which matrices are Muon's, its step beside an SVD, AdamW's part, and that it resumes to the last bit."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from nmt.device import Precision
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import LocalPConfig
from nmt.models.lstm.config import Tied
from nmt.models.transformer.config import GlobalSelfAttentionConfig, Positions
from nmt.train import muon
from nmt.train.muon import NEWTON_SCHULZ, Float32Muon, hidden_matrices, orthogonal
from nmt.train.optim import OptimConfig, OptimizerName, build_optimizer

LR, V = 0.03, 23
CONFIG = OptimConfig(name=OptimizerName.muon, lr=LR, warmup=0)


class Net(nn.Module):
    """A table, a hidden matrix, and a projection to its rows."""

    target_size = 9

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.hidden, self.out = nn.Embedding(9, 6), nn.Linear(6, 12), nn.Linear(12, 9)


def with_gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_word_vectors_and_projections_are_not_hidden():
    lstm = LSTMConfig(hidden_size=8, attention=LocalPConfig(hidden_size=4), tied=Tied.none)
    sizes: dict[str, Any] = {"hidden_size": 8, "heads": 2, "ffn_size": 12, "num_layers": 1, "max_positions": 7}
    small = TransformerConfig(self_attention=GlobalSelfAttentionConfig(), positions=Positions.learned, **sizes)
    for config in (lstm, small):
        model = build_model(config, V, V, joint=True)
        hidden = hidden_matrices(model)
        others = {name for name, p in model.named_parameters() if p.ndim > 1 and p not in hidden}
        assert {name.split(".")[0] for name in others} <= {"source_embedding", "target_embedding", "projection"}
        assert all(p.ndim == 2 and V not in p.shape for p in hidden)
        assert len(hidden) > 5


def test_gates_are_hidden_where_they_are_as_many_as_words():
    """4 H rows of gates, and a vocabulary of 4 H."""
    config = LSTMConfig(hidden_size=8, attention=LocalPConfig(hidden_size=4))
    few, many = (hidden_matrices(build_model(config, words, words, joint=True)) for words in (V, 32))
    assert sum(p.numel() for p in few) == sum(p.numel() for p in many)


@pytest.fixture(params=[Precision.bf16, Precision.fp32])
def precision(request, monkeypatch) -> Precision:
    """What the device is said to compute in."""
    monkeypatch.setattr(muon, "resolve_precision", lambda precision, device: request.param)
    return request.param


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_hidden_matrix_moves_along_the_orthogonal_factor(precision, decay):
    """Its singular values are near 1, where five steps in bfloat16 leave them between 0.6 and 1.3; of two updates."""
    net = Net()
    optimizer = build_optimizer(net, OptimConfig(name=OptimizerName.muon, lr=LR, warmup=0, weight_decay=decay))
    momentum = torch.zeros_like(net.hidden.weight)
    for seed in (1, 2):
        with_gradients(net, seed)
        assert net.hidden.weight.grad is not None
        before, gradient = net.hidden.weight.detach().clone(), net.hidden.weight.grad.clone()
        momentum = 0.95 * momentum + 0.05 * gradient
        left, _, right = torch.linalg.svd(0.05 * gradient + 0.95 * momentum, full_matrices=False)
        optimizer.step()
        moved = (before - net.hidden.weight.detach() - LR * decay * before) / (LR * 0.2 * 12**0.5)
        assert torch.linalg.svdvals(moved).sub(1).abs().max() < 0.4
        inside = left.T @ moved @ right.T  # diagonal, for the same singular vectors
        assert (inside - inside.diagonal().diag()).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)])
def test_newton_and_schulz_change_singular_values_alone(shape):
    """Each s becomes a s + b s^3 + c s^5, five times over, beginning with s / |S|."""
    torch.manual_seed(3)
    u = torch.randn(shape, dtype=torch.float64)
    left, s, right = torch.linalg.svd(u, full_matrices=False)
    s, (a, b, c) = s / s.norm(), NEWTON_SCHULZ
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(orthogonal(u), left @ torch.diag(s) @ right, rtol=0, atol=1e-10)
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_float32_is_torchs_muon_but_for_the_rounding():
    moved = []
    for kind in (Muon, Float32Muon):
        torch.manual_seed(4)
        p, idle = nn.Parameter(torch.randn(6, 9)), nn.Parameter(torch.randn(2, 2))
        before = p.detach().clone()
        optimizer = kind([p, idle], lr=LR, weight_decay=0.5, momentum=0.9, adjust_lr_fn="match_rms_adamw")
        for _ in range(3):
            p.grad = torch.randn(6, 9)
            optimizer.step()
        assert idle.grad is None
        moved.append((p.detach() - before, optimizer.state[p]["momentum_buffer"]))
    (theirs, momentum), (ours, same) = moved
    assert torch.equal(momentum, same)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02 * float(theirs.abs().max()))
    assert not torch.equal(ours, theirs)


@pytest.mark.parametrize(("has", "kind"), [(Precision.bf16, Muon), (Precision.fp32, Float32Muon)])
def test_bfloat16_where_the_device_has_it(monkeypatch, has, kind):
    monkeypatch.setattr(muon, "resolve_precision", lambda precision, device: has)
    optimizer = build_optimizer(Net(), CONFIG)
    assert isinstance(optimizer, muon.MuonWithAdamW)
    assert type(optimizer.muon) is kind


def test_the_rest_is_adamws_to_the_last_bit():
    net, other = Net(), Net()
    optimizer = build_optimizer(net, CONFIG)
    rest = [p for name, p in other.named_parameters() if name != "hidden.weight"]
    adamw = AdamW(rest, lr=LR, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True)
    for seed in (1, 2, 3):
        for one, update in ((net, optimizer), (other, adamw)):
            with_gradients(one, seed)
            update.step()
    for (name, mine), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs) is (name != "hidden.weight")


def test_it_goes_on_from_what_it_saved():
    """Momentum and averages, and with the learning rate that it is given."""
    net = Net()
    optimizer = build_optimizer(net, CONFIG)
    for seed in (1, 2):
        with_gradients(net, seed)
        optimizer.step()
    again = copy.deepcopy(net)
    second = build_optimizer(again, CONFIG)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, update in ((net, optimizer), (again, second)):
        for group in update.param_groups:
            group["lr"] = 0.001
        before = one.hidden.weight.detach().clone()
        with_gradients(one, 3)
        update.step()
        assert (one.hidden.weight - before).abs().max() < 0.01
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
