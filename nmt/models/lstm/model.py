"""LSTM encoder-decoder with the attention of Bahdanau et al. 2015 or Luong et al. 2015, or with none."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batch import PAD, Batch
from nmt.errors import ConfigError
from nmt.models.attention import Attended, Memory
from nmt.models.lstm.config import NO_SECOND_PASS, LSTMConfig, Mixture
from nmt.models.lstm.decoder import LSTMDecoder, LuongStep, StepResult, target_position
from nmt.models.lstm.deep_fusion import Fused, SourceTapes
from nmt.models.lstm.encoder import Encoded, LSTMEncoder, reversed_places
from nmt.models.lstm.latent_alignment import LatentAlignment
from nmt.models.lstm.lexical_alignment import LexicalAlignment
from nmt.models.ops.cross_entropy import TwoPasses, projected_cross_entropy
from nmt.models.ops.dropout import dropout, word_dropout
from nmt.models.ops.lexical import lexical_cross_entropy
from nmt.models.ops.lstm_layer import LSTMState
from nmt.models.ops.matmul import PrepackedLinear
from nmt.models.ops.mixture import MixtureOptions, mixture_cross_entropy
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.prepacked import CachesWeights
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq, State, Tied, append_eos, check_tied


class SearchWeights(NamedTuple):
    """Weights that search uses at every step."""

    step: LuongStep  # with its weights laid out for search
    word: PrepackedLinear  # (E) -> (4H) what the first layer's gates get of the word, bias included
    projection: PrepackedLinear  # (H) -> (V)
    query: PrepackedLinear | None  # (H) -> (H) what W_c makes of h_t alone, where predictions are mixed


class Recurrent(NamedTuple):
    """What the decoder carries from one target position to the next, for R rows."""

    layers: list[LSTMState]  # h and c (R, H) of each layer
    vector: Tensor  # h~ (R, H)

    def pack(self, dtype: torch.dtype) -> Tensor:
        """Everything side by side, (R, 2 layers + 1, H), so that one gather reorders it."""
        columns = [*(s.h for s in self.layers), *(s.c for s in self.layers), self.vector]
        return torch.stack([x.to(dtype) for x in columns], 1)

    @classmethod
    def unpack(cls, rows: Tensor, dtype: torch.dtype) -> "Recurrent":
        """What ``pack`` packed, h and h~ in the dtype of the products, c as it is."""
        *columns, vector = rows.unbind(1)
        depth = len(columns) // 2
        layers = [LSTMState(h.to(dtype), c) for h, c in zip(columns[:depth], columns[depth:], strict=True)]
        return cls(layers, vector.to(dtype))


@dataclass(frozen=True)
class LSTMSearchState:
    """K hypotheses for each of B sentences."""

    rows: Tensor  # (B, K, 2 layers + 1, H) float32 or wider: a packed Recurrent for each hypothesis
    memory: Memory | None
    position: int | Tensor  # target positions read so far; () int64 while a step is being exported
    weights: SearchWeights
    # Where predictions are mixed: (B, S, H) what W_c makes of each h_s alone; (B, S, V) what each word alone predicts.
    source_terms: Tensor | None = None
    written: Tensor | None = None  # (B, K, t, H) the decoder's states so far, where it attends to them
    tapes: SourceTapes | None = None  # of deep fusion
    summary: Tensor | None = None  # (B, K, H) its gamma~

    def reorder(self, parent: Tensor) -> "LSTMSearchState":
        """parent (B, K') in [0, K)"""
        B, K = self.rows.shape[:2]
        flat = (parent + torch.arange(B, device=parent.device)[:, None] * K).flatten()
        rows = self.rows.flatten(0, 1).index_select(0, flat)
        memory = None if self.memory is None else self.memory.reorder(flat, parent.size(1))
        written, summary = (
            None if x is None else x.flatten(0, 1).index_select(0, flat).unflatten(0, (B, parent.size(1)))
            for x in (self.written, self.summary)
        )
        rows = rows.unflatten(0, (B, parent.size(1)))
        return replace(self, rows=rows, memory=memory, written=written, summary=summary)

    def keep(self, sentences: Tensor) -> "LSTMSearchState":
        """sentences (B',) int64"""
        memory = None if self.memory is None else self.memory.keep(sentences)
        tapes = None if self.tapes is None else self.tapes.keep(sentences)
        terms, written, summary = (
            None if x is None else x.index_select(0, sentences) for x in (self.source_terms, self.written, self.summary)
        )
        rows = self.rows.index_select(0, sentences)
        return replace(
            self, rows=rows, memory=memory, source_terms=terms, written=written, tapes=tapes, summary=summary
        )


class LSTM(CachesWeights, Seq2Seq):
    """Stacked LSTM encoder and decoder.

    The decoder starts from the encoder's final states, layer by layer from the top: decoder layer l of L takes
    encoder layer max(l + L_enc - L, 1).  A bidirectional encoder's are [->h_S; <-h_1] and [->c_S; <-c_1], as
    wide as the decoder's, so that no learned bridge stands between.

    With source reversal (Sutskever et al. 2014) the encoder reads the words last to first; attention's memory is in
    natural order.  Output p(y_t) = softmax(W_s h~_t + b) (Luong et al. 2015, eq. 6).
    """

    def __init__(
        self, config: LSTMConfig, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        check_tied(config.tied, joint)
        self.config, self.target_size, self.label_smoothing = config, target_size, label_smoothing
        self.source_eos = config.appends_eos
        E, H = config.embedding_width, config.hidden_size
        self.source_embedding = nn.Embedding(source_size, E, padding_idx=PAD)
        self.target_embedding = nn.Embedding(target_size, E, padding_idx=PAD)
        self.encoder = LSTMEncoder(config)
        self.decoder = LSTMDecoder(config)
        if self.decoder.attention is not None:
            self.longest_source = self.decoder.attention.longest_source
        self.latent = LatentAlignment(config, self.decoder) if config.mixture is Mixture.predictions else None
        self.lexical = LexicalAlignment(config, self.decoder) if config.mixture is Mixture.lexical else None
        if self.lexical is not None and label_smoothing:
            raise ConfigError(
                f"trainer.label_smoothing={label_smoothing} does not apply to model.mixture=lexical, whose loss is the "
                "likelihood of each word: set trainer.label_smoothing=0"
            )
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
        x, lengths, places = self.read(source, lengths)
        tapes = None
        if self.decoder.fusion is None:
            values, final = self.encoder(x, lengths)
        else:
            values, final, _, memories = self.encoder.read(x, lengths, want_maps=False)
            assert memories is not None  # of lstmn
            tapes = self.decoder.fusion.prepare(values, memories, lengths)
        shift = len(final) - len(self.decoder.layers)
        start = [final[max(depth + shift, 0)] for depth in range(len(self.decoder.layers))]
        if self.decoder.attention is None:
            return Encoded(None, start, tapes)
        values = natural_order(values, places)
        words = None if self.lexical is None else natural_order(x, places)
        return Encoded(self.decoder.attention.prepare(values, lengths, queries, hypotheses), start, tapes, words)

    def read(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Word vectors (S, B, E) in the encoder's order, lengths (B,) with end-of-sentence, and where each stands.

        The third, (B, S), has the natural place of each position where the encoder reads backwards.
        """
        words = lengths
        if self.source_eos:
            source, lengths = append_eos(source, lengths)
        places = reversed_places(words, source.size(1)) if self.config.reverse_source else None
        if places is not None:
            source = source.gather(1, places)
        return self.embed(self.source_embedding, source.t()), lengths, places

    def self_maps(self, batch: Batch) -> tuple[Tensor | None, Tensor | None] | None:
        """Of lstmn what each word remembers, a head for each direction; of intra-decoder attention its weights."""
        encoder, decoder = None, None
        if self.encoder.remembers:
            x, lengths, places = self.read(batch.source, batch.source_lengths)
            encoder = torch.stack(self.encoder.read(x, lengths, want_maps=True).maps, 1)
            if places is not None:
                rows = places[:, None, None, :, None].expand_as(encoder)
                encoder = encoder.gather(3, rows).gather(4, rows.transpose(3, 4))
        if self.decoder.intra is not None:
            encoded = self.encode(batch.source, batch.source_lengths, 1, batch.target_in.size(1))
            words = self.embed(self.target_embedding, batch.target_in.t())
            h, _ = self.decoder(words, encoded.start, encoded.memory, False, True, encoded.tapes)
            decoder = self.decoder.intra.all_positions(h.transpose(0, 1))[1].float()[:, None, None]
        return None if encoder is None and decoder is None else (encoder, decoder)

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        T = batch.target_in.size(1)
        at_once = 1 if self.decoder.loops else T
        encoded = self.encode(batch.source, batch.source_lengths, at_once, T)
        words = self.embed(self.target_embedding, batch.target_in.t())
        if self.latent is not None:
            return self.mixture_output(self.latent, batch, encoded, words, want_maps, TwoPasses(r_drop, cutoff))
        if self.lexical is not None:
            if r_drop or cutoff:
                raise ConfigError(NO_SECOND_PASS)
            return self.lexical_output(self.lexical, batch, encoded, words, want_maps)
        vectors, attended = self.decoder(words, encoded.start, encoded.memory, want_maps, tapes=encoded.tapes)
        loss_sum, nll = projected_cross_entropy(
            vectors.transpose(0, 1),
            batch.target_out,
            self.projection.weight,
            self.projection.bias,
            self.label_smoothing,
            r_drop,
            cutoff,
        )
        tokens = (batch.target_out != PAD).sum()
        return Output(loss_sum, tokens, nll, self.maps(attended, encoded.memory))

    def mixture_output(
        self, latent: LatentAlignment, batch: Batch, encoded: Encoded, words: Tensor, want_maps: bool, passes: TwoPasses
    ) -> Output:
        """What ``forward`` returns where predictions are mixed, with the posterior among the maps."""
        assert encoded.memory is not None
        values = encoded.memory.values
        h, steps = self.decoder(words, encoded.start, encoded.memory, True, tapes=encoded.tapes)
        mixed = latent.positions(steps, values.size(1))
        found = mixture_cross_entropy(
            latent.query_terms(h.transpose(0, 1)),
            latent.source_terms(values),
            mixed.positions,
            mixed.weights,
            batch.target_out,
            self.projection.weight,
            self.projection.bias,
            MixtureOptions(self.label_smoothing, passes, latent.dropout if self.training else 0.0),
        )
        tokens = (batch.target_out != PAD).sum()
        maps = self.maps(steps, encoded.memory) if want_maps else None
        posterior = None
        if maps is not None:
            posterior = maps._replace(weights=mixed.dense(found.posterior, values.size(1)).float()[:, None, None])
        return Output(found.loss_sum, tokens, found.nll, maps, posterior)

    def lexical_output(
        self, lexical: LexicalAlignment, batch: Batch, encoded: Encoded, words: Tensor, want_maps: bool
    ) -> Output:
        """What ``forward`` returns where single words predict, with the posterior among the maps."""
        assert encoded.memory is not None
        assert encoded.words is not None
        _, steps = self.decoder(words, encoded.start, encoded.memory, True, tapes=encoded.tapes)
        prior, real = lexical.prior(steps, encoded.words.size(1)), batch.target_out != PAD
        found = lexical_cross_entropy(
            lexical.vectors(encoded.words, self.training),
            prior,
            lexical.diagonal(encoded.memory.lengths, real.sum(1) - 1, prior),
            batch.target_out,
            self.projection.weight,
            self.projection.bias,
            lexical.factor,
        )
        tokens = real.sum()
        maps = self.maps(steps, encoded.memory) if want_maps else None
        posterior = None if maps is None else maps._replace(weights=found.posterior.float()[:, None, None])
        return Output(found.loss_sum, tokens, found.nll, maps, posterior)

    def start(self, encoded: Encoded) -> LSTMSearchState:
        c = encoded.start[0].c
        rows = Recurrent(encoded.start, torch.zeros_like(c)).pack(c.dtype)
        weights = self.cached(compute_dtype(rows), lambda: self.search_weights(rows))
        terms = self.source_terms(encoded, weights)
        written = self.decoder.nothing_written(rows.new_zeros(len(rows), dtype=weights.step.weights.word.dtype))
        written = None if written is None else written[:, None]
        summary = None if encoded.tapes is None else torch.zeros_like(encoded.tapes.keys[:, :1])
        return LSTMSearchState(rows[:, None], encoded.memory, 0, weights, terms, written, encoded.tapes, summary)

    def source_terms(self, encoded: Encoded, weights: SearchWeights) -> Tensor | None:
        """``LSTMSearchState.source_terms``."""
        if self.lexical is not None and encoded.words is not None:
            return self.lexical.table(encoded.words, weights.projection)
        if self.latent is not None and encoded.memory is not None:
            return self.latent.source_terms(encoded.memory.values)
        return None

    def search_weights(self, x: Tensor) -> SearchWeights:
        """The weights that a step of search multiplies by, for inputs like ``x``."""
        weights = self.decoder.weights(x, PrepackedLinear)
        word = PrepackedLinear(weights.word, weights.biases[0])
        dtype = compute_dtype(x)
        query = None if self.latent is None else PrepackedLinear(self.latent.query_weight.to(dtype).contiguous())
        return SearchWeights(self.decoder.step(weights), word, PrepackedLinear.of(self.projection, dtype), query)

    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, AttentionMaps | None]:
        assert isinstance(state, LSTMSearchState)
        B, K = tokens.shape
        step, wide = state.weights.step, state.rows.dtype
        words = self.embed(self.target_embedding, tokens.flatten()).to(step.weights.word.dtype)
        before = Recurrent.unpack(state.rows.flatten(0, 1), words.dtype)
        terms = [state.weights.word(words), *step.weights.biases[1:], words.new_zeros(self.config.hidden_size)]
        position = target_position(state.position, K, tokens)
        written = None if state.written is None else state.written.flatten(0, 1)
        fused = None
        if self.decoder.fusion is not None and state.tapes is not None and state.summary is not None:
            fused = Fused(state.tapes, self.decoder.fusion.terms(words), state.summary.flatten(0, 1))
        result = step(terms, before.layers, before.vector, state.memory, position, written, fused)
        vector = self.decoder.after_loop(result.vector)
        logits = self.logits(result, vector, state).to(wide)
        rows = Recurrent(result.states, vector).pack(wide).unflatten(0, (B, K))
        attended = [result.attended] if want_maps and result.attended is not None else []
        memory = None if state.memory is None else state.memory.after(result.attended)
        written, summary = (None if x is None else x.unflatten(0, (B, K)) for x in (result.written, result.summary))
        after = replace(state, rows=rows, memory=memory, position=state.position + 1, written=written, summary=summary)
        return logits.view(B, K, -1), after, self.maps(attended, state.memory)

    def logits(self, result: StepResult, vector: Tensor, state: LSTMSearchState) -> Tensor:
        """Logits (R, V) of one step of search, of which ``vector`` is h~; of mixed predictions log p itself."""
        project, query = state.weights.projection, state.weights.query
        if self.lexical is not None and state.source_terms is not None and result.attended is not None:
            return self.lexical.log_probs(result.attended, state.source_terms)
        if self.latent is None or query is None or state.source_terms is None or result.attended is None:
            return project(vector)
        mixed = self.latent.positions([result.attended], state.source_terms.size(1))
        return self.latent.log_probs(query(result.output), state.source_terms, mixed, project)

    def embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        whole = word_dropout(table(ids), self.config.word_dropout, self.training)
        return dropout(whole, self.config.dropout, self.training, self.config.dropout_axis)

    def maps(self, attended: list[Attended], memory: Memory | None) -> AttentionMaps | None:
        """Attention of one layer and each of its heads, over all source positions."""
        if not attended or memory is None:
            return None
        S = memory.padding.size(2)
        by_head = attended[0].by_head
        weights = by_head(torch.cat([a.dense_weights(S) for a in attended], 1).float())[:, None]
        if attended[0].centre is None:
            return AttentionMaps(weights)
        centre = by_head(torch.cat([a.centre for a in attended if a.centre is not None], 1))[:, None]
        attention = self.decoder.attention
        return AttentionMaps(weights, centre, None if attention is None else attention.half_width)


def natural_order(x: Tensor, places: Tensor | None) -> Tensor:
    """x (S, B, F) in the encoder's order, of which ``places`` (B, S) has where each position stands: (B, S, F)."""
    if places is None:
        return x.transpose(0, 1).contiguous()
    rows = places * places.size(0) + torch.arange(places.size(0), device=places.device)[:, None]
    return F.embedding(rows, x.flatten(0, 1))
