"""The coverage loss: attention that reads a source word again pays for it (See et al. 2017)."""

import torch
from torch import Tensor

# What is wrong with a setting, said before and after there is a model.
NOTHING_TO_COVER = "trainer.coverage_loss: this model has no attention that could read a word again"


def coverage_loss(weights: Tensor, real: Tensor) -> Tensor:
    """mean_lh sum_bts min(a_blhts, c_blhts),   c_blhts = sum_{r<t} a_blhrs   (See et al. 2017, eq. 12, for one head)

    weights a (B, layers, heads, T, S) float32 or wider: each head pays for its own words, and the mean over layers and
    heads is taken of what they pay.  real (B, T) bool, False at the padding of the target, which comes last.
    Returns ().

    The paper could not be read in full here: the equation is as others report it.
    """
    read = weights.cumsum(3) - weights
    again = torch.minimum(weights, read).sum(4).mean((1, 2))  # (B, T)
    return again.masked_fill(~real, 0.0).sum()
