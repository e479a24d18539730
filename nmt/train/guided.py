"""Guided alignment: one head of attention learns where given word alignments point."""

import torch
from torch import Tensor

from nmt.errors import ConfigError
from nmt.models.seq2seq import AttentionMaps, zero_based


def guided_loss(weights: Tensor, links: Tensor) -> Tensor:
    """-sum_bts g_bts log a_bts,   g_bts = [t and s are linked] / (links of t)   (Garg et al. 2019, section 4.2)

    weights a (B, T, S or S+1) float32 or wider; links (L, 3) int64: sentence, target and source position, each once.
    Target positions without links count nothing.  A weight that is 0, as outside a local window, counts as the
    smallest normal number and has no gradient.  Returns ().
    """
    sentence, target, source = links.unbind(1)
    log_a = weights[sentence, target, source].clamp(min=torch.finfo(weights.dtype).tiny).log()
    count = weights.new_zeros(weights.shape[:2]).index_put_((sentence, target), torch.ones_like(log_a), accumulate=True)
    return -(log_a / count[sentence, target]).sum()


def guided_head(maps: AttentionMaps | None, layer: int, head: int) -> Tensor:
    """The head that trainer.guided_layer and guided_head name: (B, T, S).  Raises ConfigError where there is none."""
    if maps is None:
        raise ConfigError("trainer.guided_alignment: this model has no attention that could be guided")
    _, layers, heads, _, _ = maps.weights.shape
    place = zero_based(layer, layers, "trainer.guided_layer"), zero_based(head, heads, "trainer.guided_head")
    return maps.weights[:, place[0], place[1]]
