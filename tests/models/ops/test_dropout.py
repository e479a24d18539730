"""Dropout's statistics, its gradient, and its dependence on the seed alone."""

import pytest
import torch

from nmt.models.ops.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_share_and_scale(p, dtype):
    """About p of the elements become 0, the rest 1/(1-p); neighbours are independent."""
    torch.manual_seed(0)
    x = dropout(torch.ones(301, 331, dtype=dtype), p, training=True)
    zero = (x == 0).float()
    assert abs(zero.mean() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    torch.testing.assert_close(x[x != 0], torch.full_like(x[x != 0], 1 / (1 - p)), rtol=1e-2, atol=0)
    for lag in (1, 2, 3, 4):
        pairs = (zero.flatten()[:-lag] * zero.flatten()[lag:]).mean()
        assert abs(pairs - p * p) < 5 * p / x.numel() ** 0.5


def test_expectation_is_kept():
    torch.manual_seed(0)
    x = torch.randn(50, dtype=torch.float64)
    mean = torch.stack([dropout(x, 0.3, training=True) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, x, rtol=0.1, atol=0.01)


def test_gradient_follows_the_mask():
    x = torch.randn(7, 5, requires_grad=True)
    y = dropout(x, 0.5, training=True)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad * x, y)


def test_seed_decides():
    x = torch.ones(3, 5)
    torch.manual_seed(7)
    first, other = dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)
    torch.manual_seed(7)
    assert torch.equal(dropout(x, 0.5, training=True), first)
    assert not torch.equal(first, other)


def test_off_where_it_should_be():
    x = torch.randn(3, 5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
