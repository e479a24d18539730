"""LSTM encoder-decoder with the attention of Bahdanau et al. 2015 or Luong et al. 2015, or with none."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batch import EOS, PAD, Batch
from nmt.errors import ConfigError
from nmt.models.attention import Attended, LocalMConfig, Memory
from nmt.models.lstm.config import LSTMConfig, Tied
from nmt.models.lstm.decoder import LSTMDecoder, Weights
from nmt.models.lstm.encoder import Encoded, LSTMEncoder, flipped
from nmt.models.ops.cross_entropy import projected_cross_entropy
from nmt.models.ops.dropout import dropout
from nmt.models.ops.lstm_layer import LSTMState
from nmt.models.ops.matmul import Packed
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.prepacked import Holder
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq, State


class SearchWeights(NamedTuple):
    """Weights that search uses at every step."""

    decoder: Weights[Packed]
    word: Packed  # (E) -> (4H)
    projection: Packed  # (H) -> (V)


@dataclass(frozen=True)
class LSTMSearchState:
    """K hypotheses for each of B sentences."""

    rows: Tensor  # (B, K, (2 layers + 1) H) float32 or wider: h of each layer, c of each layer, h~; one gather reorders
    memory: Memory | None
    position: int  # target positions read so far
    weights: SearchWeights

    def reorder(self, parent: Tensor) -> "LSTMSearchState":
        """parent (B, K') in [0, K)"""
        B, K, _ = self.rows.shape
        flat = (parent + torch.arange(B, device=parent.device)[:, None] * K).flatten()
        return replace(self, rows=self.rows.flatten(0, 1).index_select(0, flat).view(B, parent.size(1), -1))

    def keep(self, sentences: Tensor) -> "LSTMSearchState":
        """sentences (B',) int64"""
        memory = None if self.memory is None else self.memory.keep(sentences)
        return replace(self, rows=self.rows.index_select(0, sentences), memory=memory)


class LSTM(Holder, Seq2Seq):
    """Stacked LSTM encoder and decoder.

    The decoder starts from the encoder's final states, layer by layer from the top: decoder layer l of L takes
    encoder layer max(l + L_enc - L, 1).  A bidirectional encoder's are [->h_S; <-h_1] and [->c_S; <-c_1], as
    wide as the decoder's, so that no learned bridge stands between.

    With source reversal (Sutskever et al. 2014) the encoder reads the words last to first; the memory is handed
    over in natural order.  Output p(y_t) = softmax(W_s h~_t + b) (Luong et al. 2015, eq. 6).
    """

    def __init__(
        self, config: LSTMConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if config.tied is Tied.all and not joint:
            raise ConfigError("model.tied=all needs one vocabulary for both sides: data.tokenizer.joint=true")
        self.config, self.target_size, self.label_smoothing = config, target_size, label_smoothing
        self.source_eos = config.appends_eos
        E, H = config.embedding_width, config.hidden_size
        self.source_embedding = nn.Embedding(source_size, E, padding_idx=PAD)
        self.target_embedding = nn.Embedding(target_size, E, padding_idx=PAD)
        self.encoder = LSTMEncoder(config)
        self.decoder = LSTMDecoder(config)
        if self.decoder.attention is not None:
            self.longest_source = self.decoder.attention.longest_source
        self.projection = nn.Linear(H, target_size, bias=config.bias)
        if config.init_range is not None:
            self.initialize(config.init_range)
        if config.tied is not Tied.none:
            self.projection.weight = self.target_embedding.weight
        if config.tied is Tied.all:
            self.source_embedding.weight = self.target_embedding.weight

    def initialize(self, bound: float) -> None:
        """Matrices uniform in [-bound, bound] (Luong et al. 2015, section 4.1); biases zero."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.uniform_(parameter, -bound, bound)
            elif "bias" in name:
                nn.init.zeros_(parameter)
        if self.encoder.block is not None:
            self.encoder.block.start_as_identity()

    def encode(self, source: Tensor, lengths: Tensor, hypotheses: int = 1, queries: int | None = None) -> Encoded:
        """source (B, S), lengths (B,); ``queries``: how many a sentence will come, where known."""
        words = lengths
        if self.source_eos:
            source = F.pad(source, (0, 1), value=PAD).scatter(1, lengths[:, None], EOS)
            lengths = lengths + 1
        S = source.size(1)
        places = flipped(words, S) if self.config.reverse_source else None
        if places is not None:
            source = source.gather(1, places)
        x = self.embed(self.source_embedding, source.t())
        values, final = self.encoder(x, lengths)
        shift = len(final) - len(self.decoder.layers)
        start = [final[max(depth + shift, 0)] for depth in range(len(self.decoder.layers))]
        if self.decoder.attention is None:
            return Encoded(None, start)
        if places is None:
            values = values.transpose(0, 1).contiguous()
        else:
            rows = places * len(lengths) + torch.arange(len(lengths), device=lengths.device)[:, None]
            values = F.embedding(rows, values.flatten(0, 1))
        return Encoded(self.decoder.attention.prepare(values, lengths, queries, hypotheses), start)

    def forward(self, batch: Batch, want_maps: bool = False, consistency: float = 0.0) -> Output:
        B, T = batch.target_in.shape
        at_once = 1 if self.decoder.loops else T
        encoded = self.encode(batch.source, batch.source_lengths, at_once, T)
        words = self.embed(self.target_embedding, batch.target_in.t())
        vectors, attended = self.decoder(words, encoded.start, encoded.memory, want_maps)
        loss_sum, nll = projected_cross_entropy(
            vectors.flatten(0, 1),
            batch.target_out.t().flatten(),
            self.projection.weight,
            self.projection.bias,
            self.label_smoothing,
            consistency,  # sentence follows sentence in the rows, position follows position
        )
        tokens = (batch.target_out != PAD).sum()
        return Output(loss_sum, tokens, nll.view(T, B).t(), self.maps(attended, encoded.memory))

    def start(self, encoded: Encoded) -> LSTMSearchState:
        h, c = zip(*encoded.start, strict=True)
        rows = torch.cat([*(x.to(c[0].dtype) for x in h), *c, torch.zeros_like(c[0])], 1)
        weights = self.once(compute_dtype(rows), lambda: self.search_weights(rows))
        return LSTMSearchState(rows[:, None], encoded.memory, 0, weights)

    def search_weights(self, x: Tensor) -> SearchWeights:
        """The weights that a step of search multiplies by, for inputs like ``x``."""
        weights = self.decoder.weights(x, Packed)
        projection = Packed.of(self.projection, compute_dtype(x))
        return SearchWeights(weights, Packed(weights.word, weights.biases[0]), projection)

    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, AttentionMaps | None]:
        assert isinstance(state, LSTMSearchState)
        B, K = tokens.shape
        H, depth, weights = self.config.hidden_size, len(self.decoder.layers), state.weights.decoder
        *parts, fed = state.rows.flatten(0, 1).split(H, 1)
        dtype = weights.word.dtype
        states = [LSTMState(h.to(dtype), c) for h, c in zip(parts[:depth], parts[depth:], strict=True)]
        words = self.embed(self.target_embedding, tokens.flatten()).to(dtype)
        terms = [state.weights.word(words), *weights.biases[1:], words.new_zeros(H)]
        position = torch.full((K,), state.position, device=tokens.device)
        result = self.decoder.step(terms, states, fed.to(dtype), state.memory, weights, position)
        vector = self.decoder.after_loop(result.vector)
        logits = state.weights.projection(vector).to(state.rows.dtype)
        wide = [x.to(state.rows.dtype) for x in (*(s.h for s in result.states), *(s.c for s in result.states), vector)]
        after = replace(state, rows=torch.cat(wide, 1).view(B, K, -1), position=state.position + 1)
        attended = [result.attended] if want_maps and result.attended is not None else []
        return logits.view(B, K, -1), after, self.maps(attended, state.memory)

    def embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return dropout(table(ids), self.config.dropout, self.training)

    def maps(self, attended: list[Attended], memory: Memory | None) -> AttentionMaps | None:
        """Attention of one layer and one head, over all source positions."""
        if not attended or memory is None:
            return None
        S = memory.values.size(1)
        weights = torch.cat([a.dense_weights(S) for a in attended], 1).float()[:, None, None]
        if attended[0].centre is None:
            return AttentionMaps(weights)
        centre = torch.cat([a.centre for a in attended if a.centre is not None], 1)[:, None, None]
        local = self.config.attention
        return AttentionMaps(weights, centre, local.half_width if isinstance(local, LocalMConfig) else None)
