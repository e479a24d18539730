"""Agreement of two directions: a bonus where their attention joins the same words (Cohn et al. 2016)."""

import torch
from torch import Tensor

from nmt.batch import EOS, PAD, Batch

# What is wrong with a setting, said before and after there is a model.
NOTHING_TO_AGREE = "trainer.agreement: this model has no attention by which two directions could agree"


def trace_bonus(weights: Tensor, batch: Batch, shift: int = 0) -> Tensor:
    """sum_b tr(A_b A'_b) = sum_bts a_b,t+shift,s a'_b,s+shift,t   (Cohn et al. 2016, bilingual symmetry)

    a are the weights of a pair's target pieces t on its source pieces s, a' those of the same pair turned round: of its
    source pieces on its target pieces.  Tags, end-of-sentence and padding are left out.  A pair of I and J pieces adds
    at most min(I, J), where each piece reads one other and is read by that.  With ``shift`` 1 the weights of a piece
    are those of the step after, which has read it.  ``batch`` holds 2B pairs, those of the second half turned round
    (``BothDirections.collate``); weights (2B, T, S or S+1) float32 or wider.  Returns ().

    The paper could not be read in full here: the formula is as others report it and as its authors' program has it,
    which counts the marks of the sentence's ends, too, and weights the bonus by 0.1.
    """
    assert batch.tags is not None, "agreement needs batches of both directions"
    steps = batch.target_out.size(1) - 1  # without the last one, which predicts the end of the longest sentence
    source = batch.tags[:, None] + torch.arange(steps, device=weights.device)  # past a shorter source, where masked
    source = source.clamp(max=weights.size(2) - 1)[:, None].expand(-1, steps, -1)
    there, back = weights[:, shift : shift + steps].gather(2, source).chunk(2)  # (B, steps, steps)
    # The target pieces of the one direction are the source pieces of the other.
    of_target, of_source = ((batch.target_out[:, :steps] != PAD) & (batch.target_out[:, :steps] != EOS)).chunk(2)
    real = of_target[:, :, None] & of_source[:, None, :]
    return (there * back.transpose(1, 2)).masked_fill(~real, 0.0).sum()
