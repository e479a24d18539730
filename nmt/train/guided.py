"""Guided alignment: one attention head is trained to follow given word alignments (Garg et al. 2019)."""

import torch
from torch import Tensor

from nmt.errors import ConfigError
from nmt.models.seq2seq import AttentionMaps, zero_based

# What is wrong with a setting, said before and after there is a model.
NOTHING_TO_GUIDE = "trainer.guided_alignment: this model has no attention that could be guided"


def guided_loss(weights: Tensor, links: Tensor, shift: int = 0) -> Tensor:
    """-sum_bts g_bts log a_b,t+shift,s,   g_bts = [t and s are linked] / (links of t)   (Garg et al. 2019, section 4.2)

    With ``shift`` 1 the weights taught are those of the step after, to which target word t is the input: they see the
    word that they align (Chen et al. 2020).  The last word's are those of the step that predicts end-of-sentence.
    weights a (B, T, S or S+1) float32 or wider; links (L, 3) int64: sentence, target and source position, each link
    once.  Target positions without links add nothing.  A weight of 0, as outside a local window, counts as the
    smallest normal number and gets no gradient.  Returns ().
    """
    sentence, target, source = links.unbind(1)
    target = target + shift
    log_a = weights[sentence, target, source].clamp(min=torch.finfo(weights.dtype).tiny).log()
    count = weights.new_zeros(weights.shape[:2]).index_put_((sentence, target), torch.ones_like(log_a), accumulate=True)
    return -(log_a / count[sentence, target]).sum()


def guided_head(maps: AttentionMaps | None, layer: int, head: int) -> Tensor:
    """The weights of the head that trainer.guided_layer and trainer.guided_head name: (B, T, S).

    Both are counted from 1, or backwards from -1.  Raises ConfigError where the model has no such head.
    """
    if maps is None:
        raise ConfigError(NOTHING_TO_GUIDE)
    _, layers, heads, _, _ = maps.weights.shape
    layer = zero_based(layer, layers, "trainer.guided_layer")
    head = zero_based(head, heads, "trainer.guided_head")
    return maps.weights[:, layer, head]
