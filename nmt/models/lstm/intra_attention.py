"""Intra-decoder attention: the decoder also looks at what it has written (model.intra_attention)."""

import torch
from torch import Tensor, nn

from nmt.models.attention.base import masked_softmax
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection


class IntraDecoderAttention(nn.Module):
    """c^d_t = sum_{r<t} a_{t,r} h_r,  a_t = softmax_{r<t}(h_t . W h_r),  c^d_0 = 0   (Paulus et al. 2018, section 2.2)

    h_r are the decoder's top states.  The attentional vector is h~_t = tanh(W_c [c_t; h_t; c^d_t]), where the paper
    projects [h_t; c_t; c^d_t] to the vocabulary at once.  Its section 2.1, attention to the source, is
    model.attention=temporal.  The formulas were checked with notes on the paper; its text could not be read here.

    A loop over T positions keeps the states before each of them for its backward pass, T^2 / 2 rows a sentence.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = QueryLinear(size, size)  # W

    def for_batch(self, dtype: torch.dtype) -> QueryProjection:
        """W^T h of states (..., H), with products in ``dtype``."""
        return self.project.for_batch(dtype, transposed=True)

    def step(self, h: Tensor, written: Tensor, project: QueryProjection) -> tuple[Tensor, Tensor]:
        """c^d (R, H) of states h (R, H) with ``written`` (R, t, H) before them, and (R, t + 1, H) for the next step."""
        if written.size(1):
            scores = written @ project(h)[:, :, None]  # (R, t, 1)
            weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(1)
            context = (written.transpose(1, 2) @ weights.to(written.dtype))[:, :, 0]
        else:  # W has no gradient otherwise where T is 1, and DistributedDataParallel waits for one
            context = 0.0 * project(h).to(h.dtype)
        return context, torch.cat([written, h[:, None]], 1)

    def all_positions(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """c^d (B, T, H) and the weights (B, T, T), float32 or wider, of the states h (B, T, H) of all positions."""
        T = h.size(1)
        scores = self.for_batch(h.dtype)(h) @ h.transpose(1, 2)
        later = torch.ones(T, T, dtype=torch.bool, device=h.device).triu()
        weights = masked_softmax(scores, later).masked_fill(later, 0.0)  # the first position sees nothing
        return weights.to(h.dtype) @ h, weights
