"""R-Drop and cutoff: what two passes predict for the same token is to be the same.

    L = -log p(y) - log q(y) + alpha / 2 [KL(p || q) + KL(q || p)]        (Liang et al. 2021, Eq. 4)

with p and q the distributions of two passes with different dropout.  The first two terms are the cross-entropy of a
batch that has each sentence twice; this module adds the third, from rows of which 2n and 2n + 1 are p and q of one
token.  Cutoff's third term is beta times the divergence of Jensen and Shannon (nmt/train/cutoff.py).
"""

import torch
from torch import Tensor


def divergence(p: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's half of [KL(p || q) + KL(q || p)] / 2, and the gradient of that sum by the logits l of each row.

        KL(p || q) = sum_v p_v d_v,   d = log p - log q
        d/dl_v = [p_v (d_v - KL(p || q)) + p_v - q_v] / 2

    p, log_p (2N, V) float32 or wider -> (2N, 1), (2N, V).  For each row q is the other one of its pair.
    """
    d = log_p - swapped(log_p)
    kl = (p * d).sum(1, keepdim=True)
    gradient = d.sub_(kl - 1).mul_(p).sub_(swapped(p)).mul_(0.5)
    return kl / 2, gradient


def jensen_shannon(p: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's half of [KL(p || m) + KL(q || m)] / 2, m = (p + q) / 2, and the gradient of that sum by its logits l.

    d/dl_v = p_v (e_v - KL(p || m)) / 2,   e = log p - log m

    Shapes are those of ``divergence``.
    """
    m = (p + swapped(p)).div_(2).clamp_min_(torch.finfo(p.dtype).tiny)  # both may have underflowed
    e = log_p - m.log_()
    kl = (p * e).sum(1, keepdim=True)
    gradient = e.sub_(kl).mul_(p).mul_(0.5)
    return kl / 2, gradient


def swapped(x: Tensor) -> Tensor:
    """Rows 2n and 2n + 1 of x (2N, V) in each other's place."""
    return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
