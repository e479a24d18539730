"""The chunked projection and loss against torch's own cross-entropy over all logits at once."""

import pytest
import torch
import torch.nn.functional as F

from nmt.batch import PAD
from nmt.models.ops import cross_entropy as loss
from nmt.models.ops.cross_entropy import projected_cross_entropy

B, T, H, V = 4, 6, 5, 11


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    hidden = torch.randn(B, T, H, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(V, H, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(V, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, V, (B, T))
    target[[0, 1, 3], [5, 5, 0]] = PAD
    return hidden, target, weight, bias


def oracle(hidden, target, weight, bias, eps):
    """Summed loss and NLL of each token, with every logit in memory."""
    logits = F.linear(hidden, weight, bias)
    logits, flat = logits.flatten(0, -2), target.flatten()
    loss_sum = F.cross_entropy(logits, flat, ignore_index=PAD, reduction="sum", label_smoothing=eps)
    return loss_sum, F.cross_entropy(logits, flat, ignore_index=PAD, reduction="none").view_as(target)


@pytest.mark.parametrize("rows", [1, 4, 100], ids=["chunks of 1", "chunks of 4", "one chunk"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_equals_cross_entropy(tensors, rows, eps, biased, monkeypatch):
    """Values and every gradient, whatever the chunk, scaled by what comes back from above."""
    monkeypatch.setattr(loss, "CHUNK_LOGITS", rows * V)
    hidden, target, weight, bias = tensors
    leaves = [hidden, weight, bias] if biased else [hidden, weight]
    expected, nll = oracle(hidden, target, weight, bias if biased else None, eps)
    got = projected_cross_entropy(hidden, target, weight, bias if biased else None, eps)
    torch.testing.assert_close(got.loss_sum, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.nll, nll.detach(), rtol=0, atol=1e-12)
    assert not got.nll.requires_grad
    for mine, theirs in zip(
        torch.autograd.grad(got.loss_sum / 7, leaves), torch.autograd.grad(expected / 7, leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_a_batch_that_lies_position_by_position_is_the_same(tensors, eps):
    """The LSTM's (T, B, H) turned round: another order of the rows, the same loss, and each token's own nll."""
    hidden, target, weight, bias = tensors
    by_position = hidden.detach().transpose(0, 1).contiguous().requires_grad_()
    got = projected_cross_entropy(by_position.transpose(0, 1), target, weight, bias, eps)
    expected = projected_cross_entropy(hidden, target, weight, bias, eps)
    torch.testing.assert_close(got.loss_sum, expected.loss_sum, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.nll, expected.nll, rtol=0, atol=1e-12)
    (mine,) = torch.autograd.grad(got.loss_sum, [by_position])
    (theirs,) = torch.autograd.grad(expected.loss_sum, [hidden])
    torch.testing.assert_close(mine.transpose(0, 1), theirs, rtol=0, atol=1e-12)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch has linear_cross_entropy from 2.13 on")
@pytest.mark.parametrize(("eps", "chunked"), [(0.0, False), (0.1, False), (0.0, True)])  # by chunks without smoothing
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_equals_torchs_linear_cross_entropy(tensors, eps, biased, chunked):
    """torch's own projection and loss in one, in its plain form and in the one that works by chunks."""
    hidden, target, weight, bias = tensors
    leaves = [hidden, weight, bias] if biased else [hidden, weight]
    options = torch.nn.LinearCrossEntropyOptions() if chunked else None
    how = {"ignore_index": PAD, "reduction": "sum", "label_smoothing": eps, "options": options}
    rows = hidden.flatten(0, 1)
    expected = F.linear_cross_entropy(rows, weight, target.flatten(), linear_bias=bias if biased else None, **how)
    got = projected_cross_entropy(hidden, target, weight, bias if biased else None, eps)
    torch.testing.assert_close(got.loss_sum, expected, rtol=1e-12, atol=0)
    theirs = torch.autograd.grad(expected, leaves)
    for mine, their in zip(torch.autograd.grad(got.loss_sum, leaves), theirs, strict=True):
        torch.testing.assert_close(mine, their, rtol=0, atol=1e-12)


def test_padding_inside_a_chunk_counts_nothing(tensors):
    """The path for devices where padding cannot be left out without waiting for its count."""
    hidden, target, weight, bias = tensors
    hidden, target = hidden.flatten(0, 1), target.flatten()
    expected, nll = oracle(hidden, target, weight, bias, 0.1)
    got, each = loss._ProjectedCrossEntropy.apply(hidden, target, weight, bias, 0.1, loss.TwoPasses(), True)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(each, nll.detach(), rtol=0, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(got, [hidden, weight, bias]),
        torch.autograd.grad(expected, [hidden, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_gradient_twice_through_one_graph(tensors):
    hidden, target, weight, bias = tensors
    got = projected_cross_entropy(hidden, target, weight, bias, 0.1).loss_sum
    first = torch.autograd.grad(got, [hidden, weight, bias], retain_graph=True)
    second = torch.autograd.grad(2 * got, [hidden, weight, bias])
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(2 * a, b)


def test_only_what_needs_a_gradient_gets_one(tensors):
    """A frozen projection or frozen states are allowed; without gradients nothing is kept."""
    hidden, target, weight, bias = tensors
    got = projected_cross_entropy(hidden.detach(), target, weight, None, 0.0).loss_sum
    torch.testing.assert_close(
        torch.autograd.grad(got, [weight])[0],
        torch.autograd.grad(oracle(hidden.detach(), target, weight, None, 0.0)[0], [weight])[0],
    )
    with torch.no_grad():
        assert not projected_cross_entropy(hidden, target, weight, bias).loss_sum.requires_grad


def test_nothing_as_large_as_the_logits_is_kept(tensors, monkeypatch):
    monkeypatch.setattr(loss, "CHUNK_LOGITS", 2 * V)
    hidden, target, weight, bias = tensors
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda x: x):
        projected_cross_entropy(hidden, target, weight, bias, 0.1)
    assert max(kept) < B * T * V


def test_all_padding_is_zero(tensors):
    hidden, target, weight, bias = tensors
    got = projected_cross_entropy(hidden, torch.full_like(target, PAD), weight, bias, 0.1)
    assert got.loss_sum.item() == 0
    assert torch.equal(got.nll, torch.zeros_like(got.nll))
    assert torch.equal(torch.autograd.grad(got.loss_sum, [hidden])[0], torch.zeros_like(hidden))


def test_autocast_sums_in_float32(tensors):
    """Products lose bfloat16's bits; the softmax, the sum over tokens and gradients' sums do not."""
    hidden, target, weight, bias = (t.detach().float() if t.is_floating_point() else t for t in tensors)
    hidden, target = hidden.repeat(400, 1, 1), target.repeat(400, 1)  # a bfloat16 sum of as many terms is far off
    hidden, weight, bias = hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = projected_cross_entropy(hidden, target, weight, bias, 0.1)
    expected, _ = oracle(hidden, target, weight, bias, 0.1)
    assert got.loss_sum.dtype == got.nll.dtype == torch.float32
    torch.testing.assert_close(got.loss_sum, expected, rtol=1e-3, atol=0)
    for mine, theirs in zip(
        torch.autograd.grad(got.loss_sum, [hidden, weight, bias]),
        torch.autograd.grad(expected, [hidden, weight, bias]),
        strict=True,
    ):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 1e-2 * theirs.norm()
