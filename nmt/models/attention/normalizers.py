"""From scores to weights: one function a normalizer, and one row of ``NORMALIZERS``.

With z the scores of the positions that a query may look at, each is the p >= 0 with sum p = 1 that maximizes
p . z + H(p) for an entropy H of its own:

    softmax     p_s = exp(z_s) / sum_r exp(z_r)    Shannon's entropy; no weight is 0
    sparsemax   p_s = max(z_s - tau, 0)            the probabilities nearest to z (Martins and Astudillo 2016)
    entmax15    p_s = max(z_s / 2 - tau, 0)^2      Tsallis' entropy with alpha = 1.5, between the two
                                                   (Peters, Niculae and Martins 2019)

tau makes the sum 1.  It is found exactly: the positions with weight are the k best for some k, and for a given k tau
has a closed form, so that the sorted scores show which k is the right one.  All three have the gradient

    dL/dz_s = u_s (g_s - sum_r u_r g_r / sum_r u_r),   g = dL/dp,   u = p^(2 - alpha) where p > 0, else 0

with alpha = 1, 2 and 1.5 (Peters et al. 2019).  A position without weight gets none.  The definitions of both papers
were checked, not the numbers of their equations.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nmt.models.ops.plain import is_plain

# Scores (..., S) in float32 or wider -> weights (..., S).  Positions to be left out have the lowest finite score of the
# dtype and get the weight 0 exactly; one position at least is not left out.
Normalizer: TypeAlias = Callable[[Tensor], Tensor]


def softmax(scores: Tensor) -> Tensor:
    """exp(z_s) / sum_r exp(z_r)"""
    return scores.softmax(-1)


def sparsemax(scores: Tensor) -> Tensor:
    """max(z_s - tau, 0)   (Martins and Astudillo 2016)"""
    return _sparsemax(scores) if is_plain() else cast(Tensor, _Sparsemax.apply(scores))


def entmax15(scores: Tensor) -> Tensor:
    """max(z_s / 2 - tau, 0)^2   (Peters et al. 2019)"""
    return _entmax15_root(scores).square() if is_plain() else cast(Tensor, _Entmax15.apply(scores))


# The one table: the command line, --help and the mechanisms read it.
NORMALIZERS: dict[str, Normalizer] = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15}


class _Sparsemax(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        weights = _sparsemax(scores)
        ctx.save_for_backward((weights > 0).to(weights.dtype))
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _gradient(grad, *ctx.saved_tensors)


class _Entmax15(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        root = _entmax15_root(scores)
        ctx.save_for_backward(root)
        return root.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _gradient(grad, *ctx.saved_tensors)


def _sparsemax(scores: Tensor) -> Tensor:
    """max(z_s - tau, 0)"""
    z, best, k = _below_the_best(scores)
    threshold = (best.cumsum(-1) - 1) / k
    return _above(z, threshold, (threshold < best).sum(-1, keepdim=True))


def _entmax15_root(scores: Tensor) -> Tensor:
    """max(z_s / 2 - tau, 0)"""
    z, best, k = _below_the_best(scores / 2)
    mean = best.cumsum(-1) / k
    spread = best.square().cumsum(-1) - k * mean.square()  # sum of (z - mean)^2 over the k best
    threshold = mean - ((1 - spread).clamp(min=0) / k).sqrt()
    return _above(z, threshold, (threshold < best).sum(-1, keepdim=True))


def _below_the_best(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores less the greatest of them, the same from best to worst, and the numbers k = 1 ... S.

    The greatest has a weight of at most 1, so that tau is at least -1, and what lies lower has no weight wherever it
    lies: it is put at -1, where it does not overflow.
    """
    z = (scores - scores.amax(-1, keepdim=True)).clamp(min=-1)
    return z, z.sort(-1, descending=True).values, torch.arange(1, z.size(-1) + 1, dtype=z.dtype, device=z.device)


def _above(z: Tensor, threshold: Tensor, count: Tensor) -> Tensor:
    """max(z - tau, 0), tau being the threshold of the ``count`` best."""
    tau = threshold.gather(-1, (count - 1).clamp(min=0))  # there is none where scores are not numbers
    return (z - tau).clamp_(min=0).masked_fill_(z <= -1, 0.0)


def _gradient(grad: Tensor, u: Tensor) -> Tensor:
    """u (g - sum u g / sum u)"""
    weighted = u * grad
    return weighted - u * (weighted.sum(-1, keepdim=True) / u.sum(-1, keepdim=True))
