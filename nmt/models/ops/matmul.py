"""Matrix products x W^T and their gradients, by the faster of the two libraries torch brings.

torch multiplies float32 on a CPU with MKL, whose kernels for AMD processors are slower than oneDNN's: 3.7
against 3.1 ms for (64, 1024) times (2048, 1024)^T, 97 against 79 ms for (960, 512) times (8000, 512)^T, on
one core of a Zen 4, and 2.4 against 1.8 ms for the (5, 512) of a beam (torch 2.13).  Elsewhere, and for other
dtypes, torch's own choice stands: on an Intel processor the two are level, but for gradients of weights, where
MKL is faster (benchmarks/results/roofline.md).  The rule looks at the processor alone and measures nothing, so that
the same machine always gives the same bits.  oneDNN is reached through the operator that torch.compile uses for
linear layers; weights whose rows do not follow one another in memory, transposed or not, would make it a hundred
times slower, and go to torch.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt.models.ops.int8 import int8_weight
from nmt.models.ops.plain import is_plain


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, I), w (O, I), bias (O,) -> x w^T + bias (N, O).  Not seen by autograd."""
    if _for_onednn(x) and _dense(x) and _dense(w):
        assert _ONEDNN is not None
        return _ONEDNN(x, w, bias, "none", [], "")
    return F.linear(x, w, bias)


def linear_plus(term: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """term (N, O) + x w^T; term is not changed."""
    if _for_onednn(x):
        return linear(x, w).add_(term)
    return torch.addmm(term, x, w.t())


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad (N, O), x (N, I) -> grad^T x (O, I), what y = x w^T adds to the gradient of w.  Not seen by autograd.

    oneDNN wants its first factor row by row, so that one of the two is copied: the narrower.
    """
    if not (len(x) and _for_onednn(x) and _dense(x) and _dense(grad)):  # without rows oneDNN leaves the sum unset
        return torch.mm(grad.t(), x)
    return linear(grad.t(), x.t()) if grad.size(1) <= x.size(1) else linear(x.t(), grad.t()).t()


def trained_linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I), w (O, I), bias (O,) -> x w^T + bias (..., O), with gradients: what F.linear is, autocast included.

    Raises RuntimeError in a backward pass with create_graph=True where the products are oneDNN's.
    """
    if _for_onednn(x) and w.dtype == x.dtype and not torch.is_autocast_enabled("cpu"):
        return cast(Tensor, _TrainedLinear.apply(x.flatten(0, -2), w, bias)).unflatten(0, x.shape[:-1])
    return F.linear(x, w, bias)


class _TrainedLinear(torch.autograd.Function):
    """See trained_linear; x (N, I)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        w = w if _dense(w) else w.contiguous()  # columns of a larger weight
        ctx.save_for_backward(x, w)
        return linear(x, w, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,), (x, w), need = grad_outputs, ctx.saved_tensors, ctx.needs_input_grad
        return (
            linear(grad, w.t()) if need[0] else None,
            weight_gradient(grad, x) if need[1] else None,
            grad.sum(0) if need[2] else None,
        )


class PrepackedLinear:
    """x -> x W^T + b for a weight that stays as it is: copied once into the order in which oneDNN reads it.

    oneDNN otherwise puts the rows of W into that order at every call, which for the few rows of search takes longer
    than the product: (5, 512) times (8000, 512)^T takes 0.5 ms instead of 1.5 in float32 (and 2.7 with MKL) and 0.2
    instead of 0.4 in bfloat16; with 160 rows a tenth less (one core of a Zen 4, torch 2.13).  Where oneDNN would not
    be chosen anyway, the weight stays as it is.  Within ``int8_weights`` a large weight gets 8 bits instead.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight (O, I) and bias (O,) in the dtype of the products.  Autograd does not see them."""
        weight = weight.detach()
        self.out_features = weight.size(0)
        self.int8 = int8_weight(weight)
        self.packed = self.int8 is None and _onednn_takes(weight)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight
        self.bias = None if bias is None else bias.detach()

    @classmethod
    def of(cls, layer: nn.Linear, dtype: torch.dtype) -> Self:
        """The weight and the bias of a layer, in dtype."""
        bias = cast(Tensor | None, layer.bias)
        return cls(layer.weight.to(dtype), None if bias is None else bias.to(dtype))

    def __call__(self, x: Tensor, term: Tensor | None = None) -> Tensor:
        """x (..., I), cast to the weight's dtype -> (..., O), and ``term`` added where there is one."""
        if self.int8 is not None:
            return self.int8(x.to(self.weight.dtype), self.bias, term)
        if self.packed:
            assert _ONEDNN_LINEAR is not None
            y = _ONEDNN_LINEAR(x.to(self.weight.dtype), self.weight, self.bias, "none", [], "")
        else:
            y = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return y if term is None else y.add_(term)


def _for_onednn(x: Tensor) -> bool:
    """Whether products with x are rather oneDNN's."""
    return _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu" and not is_plain()


def _dense(x: Tensor) -> bool:
    """Whether the rows, or the columns, of a matrix follow one another in memory without gaps."""
    return x.is_contiguous() or x.t().is_contiguous()


def _onednn_linear() -> Callable[..., Any] | None:
    """oneDNN's linear layer, where this torch has it."""
    has_both = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() and has_both else None


def _beats_mkl() -> bool:
    """Whether oneDNN is known to be the faster one in float32: AMD processors with AVX-512."""
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform != "linux" or not cpuinfo.exists() or "AuthenticAMD" not in cpuinfo.read_text():
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def _onednn_takes(weight: Tensor) -> bool:
    """Whether products with this weight are oneDNN's: in bfloat16 by torch's own choice, in float32 by ours."""
    if _ONEDNN_LINEAR is None or weight.device.type != "cpu" or is_plain():
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32 and _BEATS_MKL


_ONEDNN_LINEAR, _BEATS_MKL = _onednn_linear(), _beats_mkl()
_ONEDNN = _ONEDNN_LINEAR if _BEATS_MKL else None
