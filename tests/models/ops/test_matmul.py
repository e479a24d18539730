"""Products by whichever library equal torch's own, in every layout that callers use."""

from typing import Any

import pytest
import torch

from nmt.models.ops import matmul
from nmt.models.ops.matmul import PrepackedLinear, linear, linear_plus


@pytest.fixture(params=["this machine's", "torch's"], autouse=True)
def library(request, monkeypatch):
    if request.param == "torch's":
        monkeypatch.setattr(matmul, "_ONEDNN", None)
        monkeypatch.setattr(matmul, "_ONEDNN_LINEAR", None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_every_layout(dtype, rows):
    torch.manual_seed(0)
    x, w, wide = torch.randn(rows, 5), torch.randn(3, 5), torch.randn(3, 9)
    bias, term = torch.randn(3), torch.randn(rows, 3)
    for weight in (w, w.t().contiguous().t(), wide[:, 2:7]):
        expected = x.double() @ weight.double().T
        near: Any = {"rtol": 0.03, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
        a, b, c, d = (t.to(dtype) for t in (x, weight, bias, term))
        torch.testing.assert_close(linear(a, b).double(), expected, **near)
        torch.testing.assert_close(linear(a, b, c).double(), expected + bias.double(), **near)
        torch.testing.assert_close(linear(x.T.contiguous().to(dtype).T, b).double(), expected, **near)
        before = d.clone()
        torch.testing.assert_close(linear_plus(d, a, b).double(), expected + term.double(), **near)
        torch.testing.assert_close(linear_plus(d[:1].expand(rows, 3), a, b), linear_plus(d[:1], a, b))
        assert torch.equal(d, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (160, 5), (2, 3, 5)])
def test_packed_weights(dtype, shape):
    """The same numbers from any number of rows; autograd does not see the weight."""
    torch.manual_seed(0)
    x, w, bias, term = torch.randn(shape), torch.randn(7, 5), torch.randn(7), torch.randn(*shape[:-1], 7)
    near: Any = {"rtol": 0.03, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    weight = torch.nn.Parameter(w.to(dtype))
    plain, shifted = PrepackedLinear(weight), PrepackedLinear(weight, bias.to(dtype))
    expected = x.double() @ w.double().T
    for given in (x, x.to(dtype)):  # what is wider is cast
        torch.testing.assert_close(plain(given).double(), expected, **near)
        torch.testing.assert_close(shifted(given).double(), expected + bias.double(), **near)
        before = term.clone().to(dtype)
        added = before.clone()
        torch.testing.assert_close(plain(given, added).double(), expected + term.double(), **near)
        assert torch.equal(added, before)
        assert plain(given).dtype == dtype
        assert not plain(given).requires_grad
