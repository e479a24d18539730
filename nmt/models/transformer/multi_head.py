"""Multi-head attention (Vaswani et al. 2017, section 3.2): the products, and the modules around them.

Shapes: B sentences, N queries and S keys a sentence, T positions, H heads, F features a head, D = H F.  Heads stand
last but one, as the linear maps leave them, so that nothing is copied on the way into the products and out of them.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import additive_mask
from nmt.models.attention.normalizers import NORMALIZERS, softmax
from nmt.models.ops.dropout import dropout
from nmt.models.ops.prepacked import Linear
from nmt.models.seq2seq import AttentionMaps
from nmt.models.transformer.config import TransformerConfig
from nmt.models.transformer.head_weights import HardCodedWeights, Places, attention_weights, self_weights
from nmt.models.transformer.positions import rotate

FEW_KEYS = 256  # keys up to which plain products are faster, see ``attend``

Weigh = Callable[[Tensor, Tensor, Places], Tensor]  # queries and keys (B, T, H, F) -> weights (B, H, T, T)


class Attend(Protocol):
    """Self-attention of one layer, without its linear maps."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        """Queries, keys and values (B, T, H, F) -> (B, T, H, F).  ``weigh`` takes the place of the softmax."""
        ...


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


def mixed(weights: Tensor, v: Tensor, probability: float) -> Tensor:
    """weights (B, H, N, S), dropped with ``probability``, times v (B, S, H, F) -> (B, N, H, F)"""
    return (dropout(weights.to(v.dtype), probability, training=True) @ v.transpose(1, 2)).transpose(1, 2)


class QueryKeyNorm(nn.Module):
    """q <- g_q LN(q), k <- g_k LN(k) for each head, in the place of q and k (Dehghani et al. 2023).

    LN is layer normalization over the F features, with a gain and no bias, so that no score grows without a bound.
    Rotary positions turn what is normalized.
    """

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.query, self.key = (nn.LayerNorm(head_size, bias=False) for _ in range(2))

    def queries(self, q: Tensor) -> Tensor:
        """q (B, N, H, F), in its dtype"""
        return self.query(q).to(q.dtype)

    def keys(self, k: Tensor) -> Tensor:
        """k (B, S, H, F), in its dtype"""
        return self.key(k).to(k.dtype)


class SelfAttention(nn.Module):
    """Queries, keys and values of the same positions, from one product.

    ``head_weights`` weigh the keys where ``model`` asks for other weights than a softmax.
    """

    def __init__(self, config: TransformerConfig, layer: int, causal: bool) -> None:
        """``layer`` counts from 1; ``causal``: of the decoder."""
        super().__init__()
        D, self.heads = config.hidden_size, config.heads
        self.head_weights = self_weights(config, layer, causal)
        self.values_alone = isinstance(self.head_weights, HardCodedWeights)
        self.inputs = Linear(D, D if self.values_alone else 3 * D)
        self.output = Linear(D, D)
        self.norms = QueryKeyNorm(config.head_size) if config.qk_norm and not self.values_alone else None

    def forward(self, x: Tensor, attend: Attend, rotations: Tensor | None) -> Tensor:
        """x (B, T, D) -> (B, T, D); ``attend`` knows which positions see which; ``rotations`` of rotary positions."""
        if self.values_alone:
            q = k = v = self.inputs(x).unflatten(2, (self.heads, -1))
        else:
            parts = self.inputs(x).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, F)
            q, k, v = parts.unbind(2)
            if self.norms is not None:
                q, k = self.norms.queries(q), self.norms.keys(k)
                parts = torch.stack([q, k], 2)
            if rotations is not None:
                q, k = rotate(parts[:, :, :2], rotations).unbind(2)
        return self.output(attend(q, k, v, self.head_weights).flatten(2))


class CrossAttention(nn.Module):
    """Queries of the target's positions; keys and values of the source's, made once a batch.

    ``model.cross_attention_normalizer`` takes the place of eq. 1's softmax (Correia et al. 2019 have learned entmax in
    every attention of a Transformer; here it is chosen, and for this one).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        D, self.heads, self.dropout = config.hidden_size, config.heads, config.attention_dropout
        self.normalizer = NORMALIZERS[config.cross_attention_normalizer]
        self.sinks = nn.Parameter(torch.zeros(self.heads)) if config.sinks.in_cross_attention else None
        self.query = Linear(D, D)
        self.memory = Linear(D, 2 * D)
        self.output = Linear(D, D)
        self.norms = QueryKeyNorm(config.head_size) if config.qk_norm else None

    def keys_and_values(self, source: Tensor) -> Tensor:
        """source (B, S, D) -> keys and values (B, S, 2, H, F)"""
        both = self.memory(source).unflatten(2, (2, self.heads, -1))
        if self.norms is None:
            return both
        k, v = both.unbind(2)
        return torch.stack([self.norms.keys(k), v], 2)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, record: list[AttentionMaps] | None) -> Tensor:
        """x (B, N, D), the source's mask (B, 1, 1, S) -> (B, N, D).

        N counts target positions in training and the hypotheses of a sentence in search, which thus share its memory.
        The weights (B, 1, H, N, S) of this layer are appended to ``record`` if there is one.
        """
        q = self.query(x).unflatten(2, (self.heads, -1))
        q = q if self.norms is None else self.norms.queries(q)
        k, v = memory.unbind(2)
        probability = self.dropout if self.training else 0.0
        if record is None and self.normalizer is softmax and self.sinks is None:
            return self.output(attend(q, k, v, mask, probability=probability).flatten(2))
        weights = attention_weights(q, k, mask, self.normalizer, sinks=self.sinks)
        if record is not None:
            record.append(AttentionMaps(weights[:, None]))
        if self.normalizer is softmax and self.sinks is None:
            return self.output(attend(q, k, v, mask, probability=probability).flatten(2))
        return self.output(mixed(weights, v, probability).flatten(2))
