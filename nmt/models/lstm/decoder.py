"""The LSTM decoder: one step of Luong's or Bahdanau's model, and the loop over target positions.

With h_t the top state and c_t the context it attends to (Luong et al. 2015, section 3):

    global, local, hard   h_t = LSTM([y_{t-1}; h~_{t-1}]),  c_t = attend(h_t),  h~_t = tanh(W_c [c_t; h_t])   (eq. 5)
    none                  h_t = LSTM([y_{t-1}; h~_{t-1}]),  h~_t = h_t
    bahdanau              c_t = attend(s_{t-1}),  s_t = LSTM([y_{t-1}; c_t]),  h~_t = tanh(W_c [c_t; s_t])

With model.fusion=deep the first layer's c_t has the source's memory in it: nmt/models/lstm/deep_fusion.py.
With model.intra_attention c^d_t, what the decoder makes of its own earlier states, stands beside c_t in h~_t:
nmt/models/lstm/intra_attention.py.

y_{t-1} is the embedding of the previous word; h~_{t-1} is left out without input feeding; h~_0 = 0.  Residual
layers (above the first) add their input to their output; s_{t-1} is the top layer's own state without it.
Bahdanau et al. 2015 have a GRU, a maxout readout that also sees y_{t-1}, and s_0 = tanh(W_s <-h_1); the
LSTM and Luong's readout stand here in their place, and the first state is the encoder's final one, so that
mechanisms can be compared.

Shape letters: B sentences, K hypotheses a sentence, R = B K rows, T target positions, E word features, H units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from nmt.models.attention import Attended, Memory, build_attention
from nmt.models.lstm.config import DropoutPlacement, Fusion, LSTMConfig, Mixture
from nmt.models.lstm.deep_fusion import DeepFusion, Fused, SourceTapes
from nmt.models.lstm.intra_attention import IntraDecoderAttention
from nmt.models.ops.dropout import dropout
from nmt.models.ops.lstm_layer import LSTMLayer, LSTMState, cell
from nmt.models.ops.matmul import trained_linear
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.prepacked import Linear
from nmt.models.ops.recurrent_linear import QueryProjection, RecurrentLinear

# A weight W as a loop over steps uses it, (x, a) -> a + W x: RecurrentLinear in training, PrepackedLinear in search.
Product = TypeVar("Product", bound=Callable[[Tensor, Tensor], Tensor])


@dataclass(frozen=True)
class StepWeights(Generic[Product]):
    """The decoder's weights as a loop over steps needs them; cast and concatenated once."""

    word: Tensor  # (4H, E) the columns of the first layer's W that y_{t-1} meets
    biases: list[Tensor]  # (4H,) of each layer
    layers: list[Product]  # [U W] of each layer, for [h_{t-1}; x] -> (4H)
    readout: Product | None  # W_c, where it is part of the loop
    intra: QueryProjection | None = None  # of intra-decoder attention


class StepResult(NamedTuple):
    """What one step gives to the next one, and to the projection."""

    states: list[LSTMState]  # (R, H) of each layer
    vector: Tensor  # (R, H): h~_t; of bahdanau [c_t; s_t; c^d_t], because no later step needs W_c of it
    attended: Attended | None
    output: Tensor  # (R, H): h_t
    written: Tensor | None = None  # (R, t + 1, H) all h so far, where the decoder attends to them
    summary: Tensor | None = None  # gamma~_t (R, H) of deep fusion


class LSTMDecoder(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.hidden_size, self.residual = config.hidden_size, config.residual
        self.dropout, self.shared = config.dropout, config.dropout_axis
        self.drops_inputs = config.dropout_placement is DropoutPlacement.luong
        self.mixes_predictions = config.mixture is not Mixture.contexts
        self.uses_input_feeding, self.attends_before_step = config.uses_input_feeding, config.attention.previous_state
        E, H = config.embedding_width, config.hidden_size
        depth = config.decoder_layers or config.num_layers
        fed = H if self.uses_input_feeding or self.attends_before_step else 0
        layers = nn.ModuleList(LSTMLayer(E + fed if i == 0 else H, H, config.bias) for i in range(depth))
        self.layers = cast(Sequence[LSTMLayer], layers)
        self.attention = build_attention(config.attention, H, H)
        self.intra = IntraDecoderAttention(H) if config.intra_attention else None
        self.fusion = DeepFusion(E, H, config.bias) if config.fusion is Fusion.deep else None
        read = 3 * H if config.intra_attention else 2 * H
        self.readout = Linear(read, H, bias=False) if self.attention is not None else None

    @property
    def feeds(self) -> bool:
        """Whether the first layer reads a vector beside the word: h~_{t-1}, or Bahdanau's context."""
        return self.uses_input_feeding or self.attends_before_step

    @property
    def loops(self) -> bool:
        """Whether a step needs more of the one before it than the LSTM's own state."""
        return self.feeds or self.fusion is not None

    def forward(
        self,
        words: Tensor,
        start: list[LSTMState],
        memory: Memory | None,
        want_maps: bool,
        states_alone: bool = False,
        tapes: SourceTapes | None = None,
    ) -> tuple[Tensor, list[Attended]]:
        """Teacher forcing: words (T, B, E) -> h~ (T, B, H), and who attended where if asked.

        With ``states_alone``, and always where predictions are mixed, h (T, B, H) instead:
        nmt/models/lstm/latent_alignment.py makes its own h~ of it.

        Without feedback each layer runs over all positions and attention is called once (one Attended with N = T);
        else position by position (T of them with N = 1), and only what waits for the step before is in the loop.
        """
        states_alone = states_alone or self.mixes_predictions
        if self.loops:
            step = self.step(self.weights(words, RecurrentLinear))
            terms = step.terms(words)
            states, fed = start, words.new_zeros(words.size(1), self.hidden_size, dtype=step.weights.word.dtype)
            vectors, attended, written, fused = [], [], self.nothing_written(fed), self.before_fusion(tapes, words)
            for t in range(len(words)):
                at = target_position(t, 1, words)
                now = [term[t] for term in terms]
                one = None if fused is None else fused._replace(term=fused.term[t])
                states, fed, seen, output, written, summary = step(now, states, fed, memory, at, written, one)
                fused = None if fused is None or summary is None else fused._replace(summary=summary)
                memory = None if memory is None else memory.after(seen)
                vectors.append(output if states_alone else fed)
                attended.append(seen)
            h, attended = torch.stack(vectors), [a for a in attended if a is not None]
            h = h if states_alone else self.after_loop(h)
        else:
            h, attended = self.all_positions(words, start, memory, states_alone)
        if not self.drops_inputs and not states_alone:
            h = dropout(h, self.dropout, self.training, self.shared)
        return h, attended if want_maps else []

    def all_positions(
        self, x: Tensor, start: list[LSTMState], memory: Memory | None, states_alone: bool = False
    ) -> tuple[Tensor, list[Attended]]:
        """Layer by layer; x (T, B, E)."""
        for depth, (layer, (h0, c0)) in enumerate(zip(self.layers, start, strict=True)):
            dropped = dropout(x, self.dropout, self.training, self.shared) if depth else x
            h = layer.outputs(dropped, h0, c0)
            x = h + x if self.residual and depth else h
        if self.attention is None or memory is None or self.readout is None:
            return x, []
        query = x.transpose(0, 1)  # (B, T, H)
        attend = self.attention if memory.carried is None else self.attention.in_turn
        attended = attend(query, memory, torch.arange(x.size(0), device=x.device))
        if states_alone:
            return x, [attended]
        parts = [attended.context.transpose(0, 1), x]
        if self.intra is not None:
            parts.append(self.intra.all_positions(query)[0].transpose(0, 1))
        return self.readout(torch.cat(parts, 2)).tanh(), [attended]

    def before_fusion(self, tapes: SourceTapes | None, words: Tensor) -> Fused | None:
        """What deep fusion begins with, and the terms of all positions of words (T, B, E) in the place of one's."""
        if self.fusion is None or tapes is None:
            return None
        terms = self.fusion.terms(words).to(tapes.keys.dtype)
        return Fused(tapes, terms, terms.new_zeros(words.size(1), self.hidden_size))

    def nothing_written(self, like: Tensor) -> Tensor | None:
        """The states before the first position, (R, 0, H) for ``like`` (R, ...); None where nobody attends to them."""
        return None if self.intra is None else like.new_zeros(like.size(0), 0, self.hidden_size)

    def after_loop(self, vectors: Tensor) -> Tensor:
        """h~ (..., H) of StepResult.vector (..., H, 2H or 3H), once no later step can need it."""
        return self.readout(vectors).tanh() if self.attends_before_step and self.readout is not None else vectors

    def step(self, weights: "StepWeights[Any]") -> "LuongStep":
        """One target position of this model, with weights for a loop."""
        return (BahdanauStep if self.attends_before_step else LuongStep)(self, weights)

    def weights(self, x: Tensor, form: Callable[[Tensor], Product]) -> StepWeights[Product]:
        """Weights for a loop whose input is like ``x``, those of its products as ``form`` makes them."""
        dtype = compute_dtype(x)
        fed = self.hidden_size if self.feeds else 0
        word, *inputs = self.layers[0].weight_ih_l0.to(dtype).split([self.layers[0].input_size - fed, fed], 1)
        inputs += [layer.weight_ih_l0.to(dtype) for layer in self.layers[1:]]
        layers, biases = [], []
        for layer, w in zip(self.layers, inputs, strict=True):
            layers.append(form(torch.cat([layer.weight_hh_l0.to(dtype), w], 1)))
            bias = layer.total_bias
            biases.append((w.new_zeros(4 * self.hidden_size) if bias is None else bias).to(dtype))
        # Bahdanau's readout follows the loop.
        in_loop = self.readout is not None and not self.attends_before_step
        readout = form(self.readout.weight.to(dtype)) if in_loop and self.readout is not None else None
        intra = None if self.intra is None else self.intra.for_batch(dtype)
        return StepWeights(word, biases, layers, readout, intra)


def target_position(t: int | Tensor, queries: int, like: Tensor) -> Tensor:
    """The target position t of each of N ``queries`` as attention takes it: (N,), on the device of ``like``."""
    return torch.as_tensor(t, device=like.device).expand(queries)


class LuongStep:
    """h_t = LSTM([y_{t-1}; h~_{t-1}]),  c_t = attend(h_t),  h~_t = tanh(W_c [c_t; h_t])   (Luong et al. 2015, eq. 5)"""

    def __init__(self, decoder: LSTMDecoder, weights: StepWeights[Any]) -> None:
        self.decoder, self.weights = decoder, weights
        self.masks: dict[int, Tensor] = {}  # of dropout, by layer, where all positions share them

    def __call__(
        self,
        terms: list[Tensor],
        states: list[LSTMState],
        fed: Tensor,
        memory: Memory | None,
        position: Tensor,
        written: Tensor | None = None,
        fused: Fused | None = None,
    ) -> StepResult:
        """One position (K,) of R rows, from the states and h~_{t-1} (R, H) of the one before, and all of ``written``.

        ``terms``: what of each layer's gates (R, 4H), and of the readout's sum (R, H), does not wait for that.
        """
        states, h, summary = self.layers(terms, states, [fed] if self.decoder.uses_input_feeding else [], fused)
        W_c = self.weights.readout
        if self.decoder.attention is None or memory is None or W_c is None:
            return StepResult(states, h, None, h, summary=summary)
        attended = self.decoder.attention(as_queries(h, position), memory, position)
        both, written = self.with_written([attended.context.flatten(0, 1), h], written)
        return StepResult(states, W_c(both, terms[-1]).tanh(), attended, h, written, summary)

    def with_written(self, parts: list[Tensor], written: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[c_t; h_t] (R, 2H) or, with what was written (R, t, H), [c_t; h_t; c^d_t] and that for the next step."""
        if self.decoder.intra is None or written is None or self.weights.intra is None:
            return torch.cat(parts, 1), None
        context, written = self.decoder.intra.step(parts[1], written, self.weights.intra)
        return torch.cat([*parts, context], 1), written

    def layers(
        self, terms: list[Tensor], states: list[LSTMState], fed: list[Tensor], fused: Fused | None
    ) -> tuple[list[LSTMState], Tensor, Tensor | None]:
        """The stacked LSTM at one position: each layer's state, the output of the top one (R, H), and gamma~_t."""
        residual = self.decoder.residual
        inputs = [self.dropped(x, 0) for x in fed] if self.decoder.drops_inputs else fed
        after: list[LSTMState] = []
        x = torch.empty(0)
        added = summary = None
        if self.decoder.fusion is not None and fused is not None:
            added, summary = self.decoder.fusion.step(fused)
        for depth, (product, state) in enumerate(zip(self.weights.layers, states, strict=True)):
            if depth:
                inputs = [self.dropped(x, depth)]
            gates = product(torch.cat([state.h, *inputs], 1), terms[depth])
            after.append(cell(gates, state.c, None if depth else added))
            x = after[-1].h + x if residual and depth else after[-1].h
        return after, x, summary

    def dropped(self, x: Tensor, depth: int) -> Tensor:
        """The input x (R, H) of a layer after dropout, with model.dropout_mask=sentence by the same mask each time."""
        p, training = self.decoder.dropout, self.decoder.training
        if self.decoder.shared is None or not training or p == 0:
            return dropout(x, p, training)
        if depth not in self.masks:
            self.masks[depth] = dropout(torch.ones_like(x), p, training)
        return x * self.masks[depth]

    def terms(self, words: Tensor) -> list[Sequence[Tensor]]:
        """``terms`` of all positions: for each layer, and the readout, one (B, ...) a position.  words (T, B, E)."""
        (T, B, _), w = words.shape, self.weights
        first = trained_linear(words.to(w.word.dtype), w.word, w.biases[0])
        terms = [w.layers[0].terms(first)]
        terms += [layer.terms(b.expand(T, B, -1)) for layer, b in zip(w.layers[1:], w.biases[1:], strict=True)]
        if w.readout is not None:
            terms.append(w.readout.terms(first.new_zeros(1).expand(T, B, self.decoder.hidden_size)))
        return terms


class BahdanauStep(LuongStep):
    """c_t = attend(s_{t-1}),  s_t = LSTM([y_{t-1}; c_t]),  h~_t = tanh(W_c [c_t; s_t])   (Bahdanau et al. 2015, A.1.2)

    W_c is applied to all positions together, after the loop.
    """

    def __call__(
        self,
        terms: list[Tensor],
        states: list[LSTMState],
        fed: Tensor,
        memory: Memory | None,
        position: Tensor,
        written: Tensor | None = None,
        fused: Fused | None = None,
    ) -> StepResult:
        assert self.decoder.attention is not None
        assert memory is not None
        attended = self.decoder.attention(as_queries(states[-1].h, position), memory, position)
        context = attended.context.flatten(0, 1)
        states, s, summary = self.layers(terms, states, [context], fused)
        both, written = self.with_written([context, s], written)
        return StepResult(states, both, attended, s, written, summary)


def as_queries(rows: Tensor, position: Tensor) -> Tensor:
    """Rows (R, H) as the queries (B, K, H) of attention, of which position (K,) tells the number."""
    return rows.view(-1, position.size(0), rows.size(1))
