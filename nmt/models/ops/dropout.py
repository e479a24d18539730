"""Dropout whose random numbers do not cost more than the layer they follow."""

import torch
import torch.nn.functional as F
from torch import Tensor

LANE = 1 << 16  # outcomes of one draw


def dropout(x: Tensor, probability: float, training: bool, shared: int | None = None) -> Tensor:
    """x with elements zeroed at random and the rest divided by the chance to stay (Srivastava et al. 2014).

    Where all places along an axis are to lose the same features, ``shared`` is that axis, and one mask serves them all
    (Gal and Ghahramani 2016, eq. 7: the same at every step of a sentence).

    torch's generator makes one number at a time on a CPU, a third of the time of all that is not a matrix
    product; here each 64-bit number decides four elements.  The probability is rounded to 1/65536, and what
    stays is divided by exactly what it was kept with, as far as the dtype of x has that number.
    """
    if not training or probability == 0:
        return x
    if shared is not None:
        return x * dropout(torch.ones_like(x.narrow(shared, 0, 1)), probability, training)
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    return x * mask(x, probability)


def word_dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Word vectors x (..., E), whole ones zeroed at random and the rest divided by the chance to stay.

    Sennrich and Zhang 2019; Gal and Ghahramani 2016 drop a word wherever it stands in the
    sentence, here each place is drawn by itself.
    """
    if not training or probability == 0:
        return x
    return x * dropout(torch.ones_like(x[..., :1]), probability, training)


def mask(x: Tensor, probability: float) -> Tensor:
    """A factor for each element of x: 0, or one over the chance to stay."""
    dropped = min(round(probability * LANE), LANE - 1)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    lanes = words.view(torch.int16)[: x.numel()].view(x.shape)
    return (lanes >= dropped - LANE // 2).to(x.dtype).mul_(LANE / (LANE - dropped))
