"""The Transformer encoder-decoder (Vaswani et al. 2017).

Shapes: B sentences, S source positions, T target positions, K hypotheses a sentence, D features, H heads, F = D / H.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nmt.batch import PAD, Batch
from nmt.models.attention.base import additive_mask, real_positions
from nmt.models.ops.cross_entropy import projected_cross_entropy
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.prepacked import Linear
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq, State, Tied, append_eos, check_tied
from nmt.models.transformer.config import Positions, TransformerConfig
from nmt.models.transformer.cross_attention import MechanismCrossAttention, target_positions
from nmt.models.transformer.kv_cache import KVCache
from nmt.models.transformer.layers import Decoder, Encoder, SourceMemory, initialize, start_at_zero
from nmt.models.transformer.multi_head import Attend
from nmt.models.transformer.positions import Embedding, Sinusoids
from nmt.models.transformer.self_attention import BandedAttention, FullAttention, recording


@dataclass(frozen=True)
class TransformerState:
    """K hypotheses for each of B sentences."""

    memory: SourceMemory
    cache: KVCache
    position: int  # target positions read so far

    def reorder(self, parent: Tensor) -> "TransformerState":
        """parent (B, K') in [0, K)"""
        return replace(self, cache=self.cache.reorder(parent))

    def keep(self, sentences: Tensor) -> "TransformerState":
        """sentences (B',) int64"""
        return replace(self, memory=self.memory.keep(sentences), cache=self.cache.keep(sentences))


class Transformer(Seq2Seq):
    """Stacks of self-attention, attention to the source and feed-forward sublayers.

    p(y_t) = softmax(W x_t), x_t the decoder's output, W without a bias and the target embedding where they are tied.
    """

    def __init__(
        self, config: TransformerConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        check_tied(config.tied, joint)
        self.config, self.target_size, self.label_smoothing = config, target_size, label_smoothing
        self.source_eos = config.appends_eos
        self.encoder_reaches, self.decoder_reaches = map(config.reaches, (config.encoder_layers, config.decoder_layers))
        self.rotary = Sinusoids(config.head_size) if config.positions is Positions.rotary else None
        self.source_embedding = Embedding(config, source_size)
        self.target_embedding = Embedding(config, target_size)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.projection = Linear(config.hidden_size, target_size, bias=False)
        self.apply(initialize)
        for mechanism in self.mechanisms():
            mechanism.initialize()
        nn.init.normal_(self.projection.weight, std=config.hidden_size**-0.5)
        if config.zero_outputs:
            start_at_zero(self)
        if config.tied is not Tied.none:
            self.projection.weight = self.target_embedding.words.weight
        if config.tied is Tied.all:
            self.source_embedding.words.weight = self.target_embedding.words.weight
        if config.positions is Positions.learned:
            self.longest_source = self.longest_target = config.max_positions
        for longest in (mechanism.mechanism.longest_source for mechanism in self.mechanisms()):
            self.longest_source = min(filter(None, (longest, self.longest_source)), default=None)

    def mechanisms(self) -> list[MechanismCrossAttention]:
        """The cross-attention of each decoder layer, where ``model.cross_attention`` is not multi_head."""
        layers = (layer.cross_attention for layer in self.decoder.layers)
        return [layer for layer in layers if isinstance(layer, MechanismCrossAttention)]

    def encode(
        self,
        source: Tensor,
        lengths: Tensor,
        hypotheses: int = 1,
        record: list[Tensor] | None = None,
        queries: int | None = None,
    ) -> SourceMemory:
        """source (B, S), lengths (B,); ``record`` receives each layer's self-attention (B, H, S, S).

        ``queries``: how many a sentence will come, where known.
        """
        if self.source_eos:
            source, lengths = append_eos(source, lengths)
        positions = range(source.size(1))
        x = self.source_embedding(source, positions)
        x = self.encoder(x, self.self_attention(x, lengths, record), self.rotations(positions, x))
        mask = additive_mask(real_positions(lengths, x.size(1))[:, None, None], compute_dtype(x))
        return self.decoder.memory(x, lengths, mask, queries, hypotheses)

    def decode(
        self,
        target: Tensor,
        memory: SourceMemory,
        record: list[AttentionMaps] | None,
        record_self: list[Tensor] | None = None,
    ) -> Tensor:
        """Target ids (B, T) from BOS on -> the decoder's output (B, T, D) at each.

        ``record`` receives each layer's attention to the source (B, 1, H, T, S), ``record_self`` its own (B, H, T, T).
        """
        positions = range(target.size(1))
        x = self.target_embedding(target, positions)
        attends = self.self_attention(x, None, record_self)
        return self.decoder(x, attends, self.rotations(positions, x), memory, record, self.places(positions, x))

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        record: list[AttentionMaps] | None = [] if want_maps else None
        T = batch.target_in.size(1)
        memory = self.encode(batch.source, batch.source_lengths, T, queries=T)
        vectors = self.decode(batch.target_in, memory, record)
        loss_sum, nll = projected_cross_entropy(
            vectors, batch.target_out, self.projection.weight, None, self.label_smoothing, r_drop, cutoff
        )
        return Output(loss_sum, (batch.target_out != PAD).sum(), nll, maps(record))

    def shared_parts(self) -> list[nn.Module]:
        """The encoder's layers; of the decoder's the sublayers, because keys and values of all are made at once.

        Not a mechanism's: what it prepares holds weights that the steps after it multiply by.
        """
        parts: list[nn.Module] = [*self.encoder.layers]
        for layer in self.decoder.layers:
            parts += [layer.self_attention, layer.cross_attention, layer.feed_forward]
        return [part for part in parts if not isinstance(part, MechanismCrossAttention)]

    def start(self, encoded: SourceMemory) -> TransformerState:
        return TransformerState(
            encoded, KVCache.empty(encoded.mask, self.config.heads, self.config.head_size, self.decoder_reaches), 0
        )

    # Not in inference mode, where autocast would cast every weight anew at every step.
    @torch.inference_mode(False)
    @torch.no_grad()
    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, AttentionMaps | None]:
        assert isinstance(state, TransformerState)
        record: list[AttentionMaps] | None = [] if want_maps else None
        positions = range(state.position, state.position + 1)
        x = self.target_embedding(tokens, positions)
        cache = state.cache.append()
        rotations, places = self.rotations(positions, x), self.places(positions, x)
        x = self.decoder(x, cache.attention(), rotations, state.memory, record, places)
        after = replace(state, cache=cache, position=positions.stop)
        return self.projection(x).to(x.dtype), after, maps(record)

    def self_maps(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Self-attention of the encoder (B, layers, heads, S, S) and the decoder (B, layers, heads, T, T), float32.

        Rows of padding mean nothing.
        """
        source: list[Tensor] = []
        target: list[Tensor] = []
        self.decode(batch.target_in, self.encode(batch.source, batch.source_lengths, record=source), None, target)
        return torch.stack(source, 1).float(), torch.stack(target, 1).float()

    def self_attention(self, x: Tensor, lengths: Tensor | None, record: list[Tensor] | None) -> list[Attend]:
        """Each layer's self-attention among inputs x (B, T, D); lengths (B,) of the encoder's, None: causal decoder."""
        dropout = self.config.attention_dropout if self.training else 0.0
        reaches = self.decoder_reaches if lengths is None else self.encoder_reaches
        made: dict[int | None, Attend] = {}
        for reach in dict.fromkeys(reaches):
            if record is not None:
                made[reach] = recording(
                    BandedAttention(reach or x.size(1), x, lengths, dropout, one_block=True), record
                )
            elif reach is None:
                made[reach] = FullAttention(x, lengths, dropout)
            else:
                made[reach] = BandedAttention(reach, x, lengths, dropout)
        return [made[reach] for reach in reaches]

    def rotations(self, positions: range, x: Tensor) -> Tensor | None:
        """What rotary positions rotate queries and keys by; None for other kinds of positions."""
        return None if self.rotary is None else self.rotary(positions, x)

    def places(self, positions: range, x: Tensor) -> Tensor | None:
        """What a mechanism in the place of multi-head attention is told of positions; None where there is none."""
        return target_positions(positions, x) if self.mechanisms() else None


def maps(record: list[AttentionMaps] | None) -> AttentionMaps | None:
    """Attention to the source of every layer and head, of the maps of each layer."""
    if record is None:
        return None
    centres = [layer.centre for layer in record if layer.centre is not None]
    weights = torch.cat([layer.weights for layer in record], 1).float()
    return AttentionMaps(weights, torch.cat(centres, 1) if centres else None, record[0].half_width)
