"""Weights of attention heads other than softmax(q k^T / sqrt(F)): normalizers, sinks, and Gaussians (You; Yang).

Shapes: B sentences, N queries and S keys a sentence, H heads, F features a head.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.models.attention.base import masked_weights
from nmt.models.attention.normalizers import NORMALIZERS, Normalizer, softmax
from nmt.models.ops.prepacked import Linear
from nmt.models.transformer.config import (
    HardCodedSelfAttentionConfig,
    LocalnessSelfAttentionConfig,
    TransformerConfig,
)


class Places(NamedTuple):
    """Which keys a query may see, and where both stand in their sentence."""

    mask: Tensor  # broadcasts to (B, H, N, S): 0 where a query may look, minus infinity where not
    distance: Tensor  # (B or 1, N, S) from each query to each key, negative for keys before it
    query: Tensor  # (B or 1, N, 1) the place of each query, from 0
    size: Tensor  # (B or 1, N or 1, 1) how many positions there are: of a causal query those up to itself


def attention_weights(
    q: Tensor,
    k: Tensor,
    mask: Tensor,
    normalizer: Normalizer = softmax,
    bias: Tensor | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The weights (B, H, N, S) of queries (B, N, H, F) on keys (B, S, H, F), in float32 or wider.

    normalizer(q k^T / sqrt(F) + bias), zero where the mask (broadcast to B, H, N, S) is below 0.  ``sinks`` (H,) are
    scores of one more position that has no value: what it takes of the weights is missing in their sum.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scores = q.transpose(1, 2).to(wide) @ k.permute(0, 2, 3, 1).to(wide)
        scores = scores / q.size(3) ** 0.5
        if bias is not None:
            scores = scores + bias
        if sinks is None:
            return masked_weights(scores, mask < 0, normalizer)
        own = sinks.to(wide)[:, None, None].expand(*scores.shape[:3], 1)
        outside = (mask < 0).expand(*(mask.shape[:3]), scores.size(3))
        outside = torch.cat([outside, outside.new_zeros(*outside.shape[:3], 1)], 3)
        return masked_weights(torch.cat([scores, own], 3), outside, normalizer)[..., :-1]


class HeadWeights(nn.Module):
    """Weights from scores, with what ``model`` asks for beyond a softmax.

    normalizer   p = normalizer(z), z_s = q . k_s / sqrt(F)   (nmt/models/attention/normalizers.py)
    sinks        p_s = exp(z_s) / (exp(b_h) + sum_r exp(z_r)), b_h learned, one a head, 0 at first: a head may look
                 nowhere.  (As the sinks of OpenAI's gpt-oss-120b and 20b, 2025, of which excerpts and ports were read
                 here; Xiao et al. 2024 saw that heads use the first token for the same end, and Miller 2023 asked for
                 the 1 that b_h = 0 is.)  With another normalizer b_h is one more score, too.
    localness    z_s = q . k_s / sqrt(F) + G_s, of ``Localness``
    """

    def __init__(self, normalizer: str, sinks: int = 0, localness: int = 0) -> None:
        """``sinks``: the number of heads, 0 for none; ``localness``: the features of a head, 0 for none."""
        super().__init__()
        self.normalizer = NORMALIZERS[normalizer]
        self.sinks = nn.Parameter(torch.zeros(sinks)) if sinks else None
        self.localness = Localness(localness) if localness else None

    def forward(self, q: Tensor, k: Tensor, places: Places) -> Tensor:
        """q (B, N, H, F), k (B, S, H, F) -> (B, H, N, S), in float32 or wider."""
        bias = None if self.localness is None else self.localness(q, places)
        return attention_weights(q, k, places.mask, self.normalizer, bias, self.sinks)


class Localness(nn.Module):
    """A Gaussian that is added to the scores, around a centre and as wide as the query predicts (Yang et al. 2018).

    G_s = -(s - p)^2 / (2 sigma^2),   p = I sigmoid(u_p . tanh(W q)),   sigma = I sigmoid(u_d . tanh(W q)) / 2

    I is the length of the sentence, and in the decoder, which does not know it, the number of positions read; s counts
    from 0.  This is the paper's query-specific window, for each head with its own q; the heads of a layer share W, u_p
    and u_d.  The paper has it in the encoder's lower layers (``model.self_attention.layers``).  It could not be read
    here: the formula is from memory.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = Linear(features, features, bias=False)
        self.energies = Linear(features, 2, bias=False)  # u_p and u_d

    def forward(self, q: Tensor, places: Places) -> Tensor:
        """G (B, H, N, S) for queries (B, N, H, F)."""
        wide = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):  # bfloat16 would put position 257 at 256
            energies = self.energies(self.hidden(q.to(wide)).tanh())
            centre, width = (places.size.to(wide)[..., None] * energies.sigmoid()).transpose(1, 2).split(1, 3)
        key = (places.query + places.distance).to(wide)[:, None]  # (B or 1, 1, N, S)
        return -2 * ((key - centre) / width).square()  # width is 2 sigma


class HardCodedWeights(nn.Module):
    """Fixed Gaussians: no query, no key, nothing learned but the values' projection (You, Sun and Iyyer 2020).

    p_s = exp(-(s - t - c_h)^2 / (2 sigma^2)) / (sigma sqrt(2 pi)) for a query at t; head h has the centre c_h, the
    centres in turn.  As in the authors' program (which this was checked against) the density is not normalized anew, so
    that weights sum to less than 1 where a part of the Gaussian is outside the sentence or, in the decoder, ahead.
    """

    centres: Tensor

    def __init__(self, centres: list[int], heads: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        each = [centres[h % len(centres)] for h in range(heads)]
        self.register_buffer("centres", torch.tensor(each), persistent=False)

    def forward(self, q: Tensor, k: Tensor, places: Places) -> Tensor:
        """(B, H, N, S) for queries (B, N, H, F), of which the number and the dtype count."""
        wide = torch.promote_types(q.dtype, torch.float32)
        z = (places.distance[:, None] - self.centres[:, None, None]).to(wide) / self.sigma
        density = (-0.5 * z.square()).exp() / (self.sigma * math.sqrt(2 * math.pi))
        return density.masked_fill(places.mask < 0, 0.0).expand(q.size(0), -1, -1, -1)


def self_weights(config: TransformerConfig, layer: int, causal: bool) -> HeadWeights | HardCodedWeights | None:
    """What weighs the keys in a layer's self-attention, layers counted from 1; None: softmax(q k^T / sqrt(F))."""
    kind = config.self_attention_of(layer)
    if isinstance(kind, HardCodedSelfAttentionConfig):
        centres = kind.decoder_centres if causal else kind.encoder_centres
        return HardCodedWeights(centres, config.heads, kind.sigma)
    normalizer = config.decoder_normalizer if causal else config.encoder_normalizer
    sinks = config.heads if config.sinks.in_self_attention else 0
    localness = config.head_size if isinstance(kind, LocalnessSelfAttentionConfig) else 0
    if normalizer == "softmax" and not sinks and not localness:
        return None
    return HeadWeights(normalizer, sinks, localness)
