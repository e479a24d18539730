"""Products by whichever library equal torch's own, in every layout that callers use."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from closeness import assert_close
from model_cases import batch_of, build
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.models.ops import matmul
from nmt.models.ops.matmul import PrepackedLinear, linear, linear_plus, trained_linear, weight_gradient


@pytest.fixture(params=["this machine's", "torch's", "oneDNN's"], autouse=True)
def library(request, monkeypatch) -> str:
    """``oneDNN's`` is what an AMD processor with AVX-512 has, whatever this machine is."""
    if request.param == "torch's":
        monkeypatch.setattr(matmul, "_ONEDNN", None)
        monkeypatch.setattr(matmul, "_ONEDNN_LINEAR", None)
    elif request.param == "oneDNN's":
        if matmul._ONEDNN_LINEAR is None:
            pytest.skip("this torch has no oneDNN")
        monkeypatch.setattr(matmul, "_ONEDNN", matmul._ONEDNN_LINEAR)
        monkeypatch.setattr(matmul, "_BEATS_MKL", True)
    return request.param


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(0, 5, 3), (1, 5, 3), (7, 5, 3), (7, 3, 5)], ids=str)
def test_gradients_of_weights(dtype, sizes, library):
    """From any layout; where torch chooses, to the last bit what torch.mm gives."""
    torch.manual_seed(0)
    N, inputs, outputs = sizes
    x, grad = torch.randn(N, inputs).to(dtype), torch.randn(N, outputs).to(dtype)
    near: Any = {"rtol": 0.03, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for g in (grad, grad.t().contiguous().t(), F.pad(grad, (2, 1))[:, 2:-1], grad[:1].expand(N, -1)):
        found = weight_gradient(g, x)
        torch.testing.assert_close(found.double(), g.double().t() @ x.double(), **near)
        if library == "torch's" or dtype != torch.float32:
            assert torch.equal(found, torch.mm(g.t(), x))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(0, 5), (4, 5), (2, 3, 5)], ids=str)
def test_a_linear_layer_that_is_trained(shape, biased):
    """Output and all gradients of F.linear, and none for what wants none."""
    torch.manual_seed(0)
    x, w, b = torch.randn(shape, requires_grad=True), torch.randn(7, 5, requires_grad=True), torch.randn(7)
    bias = b.requires_grad_() if biased else None
    leaves = [x, w, b] if biased else [x, w]
    found, expected = trained_linear(x, w, bias), F.linear(x, w, bias)
    assert_close(found, expected, 1e-5)
    upstream = torch.randn_like(expected)
    for mine, plain in zip(
        torch.autograd.grad(found, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        assert_close(mine, plain, 1e-5)
    only_w = trained_linear(x.detach(), w)
    assert torch.autograd.grad(only_w.sum(), [w])[0].shape == w.shape
    with torch.no_grad():
        assert not trained_linear(x, w).requires_grad


def test_autocast_is_as_in_a_linear_layer():
    x, w = torch.randn(4, 5), torch.randn(7, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert trained_linear(x, w).dtype == torch.bfloat16


class Products(TorchDispatchMode):
    """Counts products of two matrices by the library that makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.torchs = self.onednns = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        self.torchs += name in ("aten.mm.default", "aten.addmm.default")
        self.onednns += name == "mkldnn._linear_pointwise.default"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["transformer: before", "lstm: global", "lstm: global unfed", "lstm: local_p"])
def test_a_whole_update_is_made_by_one_library(name, library, monkeypatch):
    """Forward and backward, in float32; the gradients are those of the other library but for rounding."""
    if library == "this machine's":
        pytest.skip("one of the other two")
    model, batch = build(name).float(), batch_of()
    with Products() as products:
        model(batch).loss_sum.backward()
    gradients = [p.grad for p in model.parameters()]
    few = products.torchs if library == "oneDNN's" else products.onednns
    many = products.onednns if library == "oneDNN's" else products.torchs
    assert many > 30, many
    assert few == 0, few
    monkeypatch.setattr(matmul, "_ONEDNN", None if library == "oneDNN's" else torch.ops.mkldnn._linear_pointwise)
    model.zero_grad()
    model(batch).loss_sum.backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert_close(parameter.grad, gradient, 1e-4)
