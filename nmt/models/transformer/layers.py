"""Encoder and decoder of the Transformer (Vaswani et al. 2017, section 3.1).

Shapes: B sentences, T target positions, S source positions, N positions of a call, D features.  The stream of residuals
is float32 (or wider) where autocast makes the products bfloat16.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention import AttentionConfig, Memory
from nmt.models.ops.dropout import dropout
from nmt.models.ops.prepacked import Linear
from nmt.models.seq2seq import AttentionMaps
from nmt.models.transformer.config import Activation, Norm, TransformerConfig
from nmt.models.transformer.cross_attention import MechanismCrossAttention
from nmt.models.transformer.multi_head import Attend, CrossAttention, SelfAttention


class Residual(nn.Module):
    """x + dropout(f(norm(x))) with ``model.norm=before``, norm(x + dropout(f(x))) with ``after``."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.before, self.dropout = config.norm is Norm.before, config.dropout
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        if self.before:
            return x + dropout(f(self.norm(x)), self.dropout, self.training)
        return self.norm(x + dropout(f(x), self.dropout, self.training))


class FeedForward(nn.Module):
    """W_2 g(x) + b_2, position by position.

    relu      g(x) = max(0, W_1 x + b_1)                  (Vaswani et al. 2017, eq. 2)
    gelu      g(x) = GELU(W_1 x + b_1)                    (Hendrycks and Gimpel 2016, section 2)
    relu2     g(x) = max(0, W_1 x + b_1)^2                (So et al. 2021)
    swiglu    g(x) = SiLU(W_1 x + b_1) * (V x + c)        (Shazeer 2020, eq. 6, there without biases)
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation, self.dropout = config.activation, config.activation_dropout
        maps = 2 if config.activation is Activation.swiglu else 1
        self.inner = Linear(config.hidden_size, maps * config.ffn_size)
        self.outer = Linear(config.ffn_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.activation is Activation.relu:
            x = x.relu()
        elif self.activation is Activation.relu2:
            x = x.relu().square()
        elif self.activation is Activation.gelu:
            x = F.gelu(x)
        else:
            gate, x = x.chunk(2, -1)
            x = F.silu(gate) * x
        return self.outer(dropout(x, self.dropout, self.training))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, a residual around each."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.self_attention, self.feed_forward = SelfAttention(config, layer, causal=False), FeedForward(config)
        self.around_self, self.around_feed = Residual(config), Residual(config)

    def forward(self, x: Tensor, attend: Attend, rotations: Tensor | None) -> Tensor:
        x = self.around_self(x, lambda y: self.self_attention(y, attend, rotations))
        return self.around_feed(x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Self-attention, attention to the source and feed-forward, a residual around each."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config, layer, causal=True)
        kind = config.cross_attention
        mechanism = isinstance(kind, AttentionConfig)
        self.cross_attention = (
            MechanismCrossAttention(kind, config.hidden_size) if mechanism else CrossAttention(config)
        )
        self.feed_forward = FeedForward(config)
        self.around_self, self.around_cross, self.around_feed = (Residual(config) for _ in range(3))

    def forward(
        self,
        x: Tensor,
        attend: Attend,
        rotations: Tensor | None,
        memory: Tensor | Memory,
        where: Tensor,
        record: list[AttentionMaps] | None,
    ) -> Tensor:
        """x (B, N, D) -> (B, N, D); ``where``: the source's mask, or of a mechanism the target positions (N,)."""
        x = self.around_self(x, lambda y: self.self_attention(y, attend, rotations))
        x = self.around_cross(x, lambda y: self.cross_attention(y, memory, where, record))
        return self.around_feed(x, self.feed_forward)


class Encoder(nn.Module):
    """A stack of layers."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        count = config.encoder_layers or config.num_layers
        layers = nn.ModuleList(EncoderLayer(config, layer) for layer in range(1, count + 1))
        self.layers = cast(Sequence[EncoderLayer], layers)
        self.norm = last_norm(config)

    def forward(self, x: Tensor, attends: Sequence[Attend], rotations: Tensor | None) -> Tensor:
        """x (B, S, D), the self-attention of each layer, and the rotations of rotary positions -> (B, S, D)"""
        for layer, attend in zip(self.layers, attends, strict=True):
            x = layer(x, attend, rotations)
        return self.norm(x)


class SourceMemory(NamedTuple):
    """What the decoder needs of a batch of sources; hypotheses of a sentence share it."""

    # Of each decoder layer: keys and values (B, S, 2, H, F), or what its mechanism prepared.
    layers: Sequence[Tensor | Memory]
    mask: Tensor  # (B, 1, 1, S) 0, minus infinity at padding

    def keep(self, sentences: Tensor) -> "SourceMemory":
        """Only these rows (B',) int64 of the batch."""
        layers = [
            rows.keep(sentences) if isinstance(rows, Memory) else rows.index_select(0, sentences)
            for rows in self.layers
        ]
        return SourceMemory(layers, self.mask.index_select(0, sentences))


class Decoder(nn.Module):
    """A stack of layers, for all target positions in training and for one position of every hypothesis in search."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        count = config.decoder_layers or config.num_layers
        layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(1, count + 1))
        self.layers = cast(Sequence[DecoderLayer], layers)
        self.norm = last_norm(config)

    def memory(
        self, source: Tensor, lengths: Tensor, mask: Tensor, queries: int | None = None, at_once: int = 1
    ) -> SourceMemory:
        """What each layer makes of the encoder's output (B, S, D), with lengths (B,) and its mask (B, 1, 1, S).

        ``queries`` a sentence will come, where known, ``at_once`` at a time; they decide what is worth doing once.
        """
        made: list[Tensor | Memory] = []
        for layer in self.layers:
            attention = layer.cross_attention
            if isinstance(attention, MechanismCrossAttention):
                made.append(attention.prepare(source, lengths, queries, at_once))
            else:
                made.append(attention.keys_and_values(source))
        return SourceMemory(made, mask)

    def forward(
        self,
        x: Tensor,
        attends: Sequence[Attend],
        rotations: Tensor | None,
        memory: SourceMemory,
        record: list[AttentionMaps] | None = None,
        position: Tensor | None = None,
    ) -> Tensor:
        """x (B, N, D), the self-attention of each layer -> (B, N, D).

        ``record``, if there is one, receives each layer's maps (B, 1, H, N, S).  ``position``: the target positions
        (N,), where cross-attention is a mechanism's.
        """
        where = memory.mask if position is None else position
        for layer, attend, rows in zip(self.layers, attends, memory.layers, strict=True):
            x = layer(x, attend, rotations, rows, where, record)
        return self.norm(x)


def last_norm(config: TransformerConfig) -> nn.Module:
    """The norm after the last layer, which norms before the sublayers leave to do (Wang et al. 2019, section 2.2)."""
    return nn.LayerNorm(config.hidden_size) if config.norm is Norm.before else nn.Identity()


def initialize(module: nn.Module) -> None:
    """Linear maps uniform by Glorot and Bengio 2010, eq. 16, biases 0; vectors of tokens and places N(0, 1/D)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def start_at_zero(model: nn.Module) -> None:
    """Make 0 what the sublayers below a model add to the stream: x + 0, for every x (Zhang, Dauphin and Ma 2019)."""
    for part in model.modules():
        if isinstance(part, SelfAttention | CrossAttention | MechanismCrossAttention | FeedForward):
            last = part.outer if isinstance(part, FeedForward) else part.output
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
