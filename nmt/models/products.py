"""Matrix products x W^T inside hand-written autograd functions, by the faster of the two libraries torch brings.

torch multiplies float32 on a CPU with MKL, whose kernels for AMD processors are slower than oneDNN's: 3.7
against 3.1 ms for (64, 1024) times (2048, 1024)^T, 97 against 79 ms for (960, 512) times (8000, 512)^T, on
one core of a Zen 4 (torch 2.13).  Elsewhere, and for other dtypes, torch's own choice stands.  oneDNN is
reached through the operator that torch.compile uses for linear layers; weights whose rows are neither
packed nor packed when transposed would make it a hundred times slower, and go to torch.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, I), w (O, I), bias (O,) -> x w^T + bias (N, O).  Not seen by autograd."""
    if _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu" and _packed(x) and _packed(w):
        return _ONEDNN(x, w, bias, "none", [], "")
    return F.linear(x, w, bias)


def linear_plus(term: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """term (N, O) + x w^T; term is not changed."""
    if _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu":
        return linear(x, w).add_(term)
    return torch.addmm(term, x, w.t())


def _packed(x: Tensor) -> bool:
    return x.is_contiguous() or x.t().is_contiguous()


def _onednn() -> Callable[..., Any] | None:
    """oneDNN's linear layer where it is known to be the faster one: AMD processors with AVX-512."""
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform != "linux" or not torch.backends.mkldnn.is_available() or not cpuinfo.exists():
        return None
    if "AuthenticAMD" not in cpuinfo.read_text() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_ONEDNN = _onednn()
