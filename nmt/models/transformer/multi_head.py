"""Multi-head attention (Vaswani et al. 2017, section 3.2): the products, and the modules around them.

Shapes: B sentences, N queries and S keys a sentence, T positions, H heads, F features a head, D = H F.  Heads stand
last but one, as the linear maps leave them, so that nothing is copied on the way into the products and out of them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import additive_mask, masked_weights
from nmt.models.attention.normalizers import NORMALIZERS, Normalizer, softmax
from nmt.models.ops.dropout import dropout
from nmt.models.ops.prepacked import Linear
from nmt.models.transformer.config import TransformerConfig
from nmt.models.transformer.positions import rotate

FEW_KEYS = 256  # keys up to which plain products are faster, see ``attend``

# Self-attention of one layer, without its linear maps: queries, keys and values (B, T, H, F) -> (B, T, H, F).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False, probability: float = 0.0
) -> Tensor:
    """softmax(q k^T / sqrt(F) + mask) v (eq. 1): q (B, N, H, F), k and v (B, S, H, F) -> (B, N, H, F).

    The mask (broadcast to B, H, N, S) is 0 where a query may attend and minus infinity where not; each query needs a
    position to attend to.  Weights are dropped with ``probability``.
    """
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    # In bfloat16 on a CPU the fused kernel is slow backward: with 20, 64 and 256 positions, forward and backward take
    # 8, 3.8 and 1.5 times as long as plain products (torch 2.13, Zen 4).  Beyond, and in float32, it is faster.
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad and k.size(2) <= FEW_KEYS:
        return plain_attention(q, k, v, mask, causal, probability).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, mask, probability, causal).transpose(1, 2)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, probability: float) -> Tensor:
    """F.scaled_dot_product_attention, step by step: (B, H, N, F) and (B, H, S, F); the softmax in float32 or wider."""
    wide = torch.promote_types(q.dtype, torch.float32)
    if causal:
        mask = additive_mask(torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=q.device).tril(), wide)
    mask = q.new_zeros(1, dtype=wide) if mask is None else mask.to(wide)
    weights = torch.add(mask, q @ k.mT, alpha=q.size(3) ** -0.5).softmax(-1).to(v.dtype)
    return dropout(weights, probability, training=True) @ v


def attention_weights(q: Tensor, k: Tensor, mask: Tensor, normalizer: Normalizer = softmax) -> Tensor:
    """The weights of ``attend`` alone, (B, H, N, S) in float32 or wider: for pictures and alignments, and for another
    normalizer than softmax."""
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scores = q.transpose(1, 2).to(wide) @ k.permute(0, 2, 3, 1).to(wide)
        return masked_weights(scores / q.size(3) ** 0.5, mask < 0, normalizer)


class SelfAttention(nn.Module):
    """Queries, keys and values of the same positions, from one product."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        D, self.heads = config.hidden_size, config.heads
        self.inputs = Linear(D, 3 * D)
        self.output = Linear(D, D)

    def forward(self, x: Tensor, attend: Attend, rotations: Tensor | None) -> Tensor:
        """x (B, T, D) -> (B, T, D); ``attend`` knows which positions see which; ``rotations`` of rotary positions."""
        parts = self.inputs(x).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, F)
        q, k, v = parts.unbind(2)
        if rotations is not None:
            q, k = rotate(parts[:, :, :2], rotations).unbind(2)
        return self.output(attend(q, k, v).flatten(2))


class CrossAttention(nn.Module):
    """Queries of the target's positions; keys and values of the source's, made once a batch.

    ``model.cross_attention_normalizer`` takes the place of eq. 1's softmax (Correia et al. 2019 have learned entmax in
    every attention of a Transformer; here it is chosen, and for this one).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        D, self.heads, self.dropout = config.hidden_size, config.heads, config.attention_dropout
        self.normalizer = NORMALIZERS[config.cross_attention_normalizer]
        self.query = Linear(D, D)
        self.memory = Linear(D, 2 * D)
        self.output = Linear(D, D)

    def keys_and_values(self, source: Tensor) -> Tensor:
        """source (B, S, D) -> keys and values (B, S, 2, H, F)"""
        return self.memory(source).unflatten(2, (2, self.heads, -1))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, record: list[Tensor] | None) -> Tensor:
        """x (B, N, D), the source's mask (B, 1, 1, S) -> (B, N, D).

        N counts target positions in training and the hypotheses of a sentence in search, which thus share its memory.
        The weights (B, H, N, S) are appended to ``record`` if there is one.
        """
        q = self.query(x).unflatten(2, (self.heads, -1))
        k, v = memory.unbind(2)
        probability = self.dropout if self.training else 0.0
        if record is not None:
            record.append(attention_weights(q, k, mask, self.normalizer))
        if self.normalizer is softmax:
            return self.output(attend(q, k, v, mask, probability=probability).flatten(2))
        weights = record[-1] if record is not None else attention_weights(q, k, mask, self.normalizer)
        dropped = dropout(weights.to(v.dtype), probability, self.training)
        return self.output((dropped @ v.transpose(1, 2)).transpose(1, 2).flatten(2))
