"""Softmax, sparsemax and entmax15 against their definitions."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nmt.models.attention.base import masked_weights
from nmt.models.attention.normalizers import NORMALIZERS, entmax15, sparsemax

ALPHA = {"softmax": 1.0, "entmax15": 1.5, "sparsemax": 2.0}
everything = pytest.mark.parametrize("name", NORMALIZERS)
sparse = pytest.mark.parametrize("name", ["sparsemax", "entmax15"])


def by_bisection(z: list[float], alpha: float) -> list[float]:
    """p_s = max((alpha - 1) z_s - tau, 0)^(1 / (alpha - 1)), with tau found by halving an interval that holds it."""
    z = [(alpha - 1) * x for x in z]
    low, high, weights = max(z) - 1, max(z), []
    for _ in range(200):
        tau = (low + high) / 2
        weights = [max(x - tau, 0.0) ** (1 / (alpha - 1)) for x in z]
        low, high = (tau, high) if sum(weights) > 1 else (low, tau)
    return weights


def entropy(p: Tensor, alpha: float) -> Tensor:
    """Tsallis' entropy as Peters et al. 2019 scale it; Shannon's for alpha = 1."""
    if alpha == 1:
        return -torch.special.xlogy(p, p).sum(-1)
    return (p - p**alpha).sum(-1) / (alpha * (alpha - 1))


@sparse
@settings(max_examples=60, deadline=None)
@given(scores=st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_weights_are_those_of_the_threshold(name: str, scores: list[float]):
    """Equal scores, single scores and scores in any order included."""
    found = NORMALIZERS[name](torch.tensor(scores, dtype=torch.float64))
    expected = torch.tensor(by_bisection(scores, ALPHA[name]), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@everything
def test_no_other_weights_are_better(name: str):
    """p maximizes p . z + H(p) among all p of the simplex: none of many random ones near or far comes close."""
    torch.manual_seed(0)
    z, alpha = torch.randn(7, dtype=torch.float64), ALPHA[name]
    p = NORMALIZERS[name](z)
    others = torch.rand(5000, 7, dtype=torch.float64).log().neg()  # uniform on the simplex, once they sum to 1
    others = others / others.sum(-1, keepdim=True)
    for share in (1.0, 0.1, 0.001):
        mixed = (1 - share) * p + share * others
        assert (mixed @ z + entropy(mixed, alpha) <= p @ z + entropy(p, alpha)).all()


@everything
def test_the_gradient_is_the_slope(name: str):
    torch.manual_seed(1)
    z = (2 * torch.randn(3, 2, 9, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(NORMALIZERS[name], z)


@everything
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_left_out_has_no_weight(name: str, dtype: torch.dtype):
    """Exactly none, however low or high the other scores are; the others have what they would have alone."""
    torch.manual_seed(2)
    wide = torch.promote_types(dtype, torch.float32)
    outside = torch.tensor([False, True, False, True, True, False])
    for size, shift in itertools.product((0.0, 1e-3, 1.0, 50.0), (0.0, -1e4, 1e4)):
        scores = (size * torch.randn(4, 3, 6) + shift).to(dtype)
        scores[..., 3] = float("inf")
        weights = masked_weights(scores, outside, NORMALIZERS[name])
        assert weights.dtype is wide
        assert not weights[..., outside].any()
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3, dtype=wide), rtol=0, atol=1e-5)
        torch.testing.assert_close(weights[..., ~outside], NORMALIZERS[name](scores[..., ~outside].to(wide)))


@pytest.mark.parametrize("length", [1, 50, 6400])
@sparse
def test_float32_is_near_float64_on_long_sources(name: str, length: int):
    torch.manual_seed(3)
    for size in (1e-4, 0.1, 3.0):
        z = size * torch.randn(5, length, dtype=torch.float64)
        exact, rough = NORMALIZERS[name](z), NORMALIZERS[name](z.float())
        assert ((exact - rough).abs() <= 1e-5 + 1e-4 * exact.amax()).all()
        torch.testing.assert_close(rough.sum(-1), torch.ones(5), rtol=0, atol=1e-4)


def test_sparser_from_softmax_to_sparsemax():
    """Entmax15 keeps a part of what softmax keeps, and sparsemax a part of that; a clear winner takes all."""
    z = torch.tensor([1.0, 0.7, 0.2, -0.5, -1.2])
    kept = [int((NORMALIZERS[name](z) > 0).sum()) for name in ("softmax", "entmax15", "sparsemax")]
    assert kept[0] > kept[1] > kept[2] > 1
    for normalizer in (sparsemax, entmax15):
        assert normalizer(torch.tensor([0.0, 2.0, -1.0])).tolist() == [0.0, 1.0, 0.0]


@everything
def test_scores_that_are_no_numbers_give_weights_that_are_none(name: str):
    """A training that went wrong is told by its loss, not by an error in the middle of attention."""
    assert NORMALIZERS[name](torch.tensor([0.0, float("nan"), 1.0])).isnan().any()


@sparse
def test_gradients_come_to_those_who_have_weight_alone(name: str):
    z = torch.tensor([1.0, 0.8, -4.0], requires_grad=True)
    normalizer: Callable[[Tensor], Tensor] = NORMALIZERS[name]
    (grad,) = torch.autograd.grad(normalizer(z) @ torch.tensor([1.0, -2.0, 5.0]), z)
    assert grad[2] == 0
    assert grad[0] > 0 > grad[1]
