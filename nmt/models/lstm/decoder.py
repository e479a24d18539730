"""The LSTM decoder: attention, input feeding, and the loop over target positions.

With h_t the top state and c_t the context it attends to (Luong et al. 2015, section 3):

    global, local, hard   h_t = LSTM([y_{t-1}; h~_{t-1}]),  c_t = attend(h_t),  h~_t = tanh(W_c [c_t; h_t])   (eq. 5)
    none                  h_t = LSTM([y_{t-1}; h~_{t-1}]),  h~_t = h_t
    bahdanau              c_t = attend(s_{t-1}),  s_t = LSTM([y_{t-1}; c_t]),  h~_t = tanh(W_c [c_t; s_t])

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
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention import Attended, Memory, build_attention
from nmt.models.lstm.config import DropoutPlacement, LSTMConfig
from nmt.models.ops.dropout import dropout
from nmt.models.ops.lstm_layer import LSTMLayer, LSTMState, cell
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.prepacked import Linear
from nmt.models.ops.recurrent_linear import LoopLinear

# What a weight W is made into: (x, a) -> a + W x.
Map = TypeVar("Map", bound=Callable[[Tensor, Tensor], Tensor])


@dataclass(frozen=True)
class Weights(Generic[Map]):
    """The decoder's weights as a loop over steps needs them; cast and concatenated once."""

    word: Tensor  # (4H, E) of the first layer's input, the half for y_{t-1}
    steps: list[Map]  # of each layer, for [h_{t-1}; fed] or [h_{t-1}; x] -> (4H)
    biases: list[Tensor]  # (4H,) of each layer
    readout: Map | None  # W_c


class Step(NamedTuple):
    """What one step leaves to the next, and to the projection."""

    states: list[LSTMState]  # (R, H) of each layer
    vector: Tensor  # (R, H): h~_t; with bahdanau [c_t; s_t], which nothing in the loop needs W_c of
    attended: Attended | None


class LSTMDecoder(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.hidden_size, self.dropout, self.residual = config.hidden_size, config.dropout, config.residual
        self.drops_inputs = config.dropout_placement is DropoutPlacement.luong
        self.feeds, self.attends_first = config.feeds, config.attention.previous_state
        E, H = config.embedding_width, config.hidden_size
        depth = config.decoder_layers or config.num_layers
        fed = H if self.feeds or self.attends_first else 0
        layers = nn.ModuleList(LSTMLayer(E + fed if i == 0 else H, H, config.bias) for i in range(depth))
        self.layers = cast(Sequence[LSTMLayer], layers)
        self.attention = build_attention(config.attention, H, H)
        self.readout = Linear(2 * H, H, bias=False) if self.attention is not None else None

    @property
    def loops(self) -> bool:
        """Whether a step needs more of the one before it than the LSTM's own state."""
        return self.feeds or self.attends_first

    def forward(
        self, words: Tensor, start: list[LSTMState], memory: Memory | None, want_maps: bool
    ) -> tuple[Tensor, list[Attended]]:
        """Teacher forcing: words (T, B, E) -> h~ (T, B, H), and who attended where if asked.

        Without feedback each layer runs over all positions and attention is called once (one Attended with
        N = T); else step by step (T of them with N = 1).
        """
        vectors, attended = (self.loop if self.loops else self.at_once)(words, start, memory)
        if not self.drops_inputs:
            vectors = dropout(vectors, self.dropout, self.training)
        return vectors, attended if want_maps else []

    def at_once(self, x: Tensor, start: list[LSTMState], memory: Memory | None) -> tuple[Tensor, list[Attended]]:
        """Layer by layer; x (T, B, E)."""
        for depth, (layer, (h0, c0)) in enumerate(zip(self.layers, start, strict=True)):
            dropped = dropout(x, self.dropout, self.training) if depth else x
            h = layer.outputs(dropped, h0, c0)
            x = h + x if self.residual and depth else h
        if self.attention is None or memory is None or self.readout is None:
            return x, []
        query = x.transpose(0, 1)  # (B, T, H)
        attended = self.attention(query, memory, torch.arange(x.size(0), device=x.device))
        both = torch.cat([attended.context.transpose(0, 1), x], 2)
        return self.readout(both).tanh(), [attended]

    def loop(self, words: Tensor, start: list[LSTMState], memory: Memory | None) -> tuple[Tensor, list[Attended]]:
        """Step by step; what does not wait for the step before is taken out of the loop."""
        T, B, _ = words.shape
        weights = self.weights(words, LoopLinear)
        first = F.linear(words.to(weights.word.dtype), weights.word, weights.biases[0])
        terms = [weights.steps[0].terms(first)]
        terms += [
            step.terms(bias.expand(T, B, -1)) for step, bias in zip(weights.steps[1:], weights.biases[1:], strict=True)
        ]
        if weights.readout is not None and not self.attends_first:
            terms.append(weights.readout.terms(first.new_zeros(1).expand(T, B, self.hidden_size)))
        states, fed = start, first.new_zeros(B, self.hidden_size)
        vectors, attended = [], []
        for t in range(T):
            position = torch.full((1,), t, device=words.device)
            step = self.step([term[t] for term in terms], states, fed, memory, weights, position)
            states, fed = step.states, step.vector
            vectors.append(step.vector)
            if step.attended is not None:
                attended.append(step.attended)
        return self.after_loop(torch.stack(vectors)), attended

    def step(
        self,
        terms: list[Tensor],
        states: list[LSTMState],
        fed: Tensor,
        memory: Memory | None,
        weights: Weights[Any],
        position: Tensor,
    ) -> Step:
        """One position for R rows.

        terms: what of each layer's gates (R, 4H), and of the readout's sum (R, H), was known before;
        fed (R, H): h~_{t-1}, unused with bahdanau; position (K,).
        """
        attended = None
        if self.attends_first:
            attended = self.attend(states[-1].h, memory, position)
            fed = attended.context.flatten(0, 1)
        extra = [fed] if self.loops else []
        if self.drops_inputs:
            extra = [dropout(e, self.dropout, self.training) for e in extra]
        after = []
        x = fed
        for depth, (linear, state) in enumerate(zip(weights.steps, states, strict=True)):
            if depth:
                extra = [dropout(x, self.dropout, self.training)]
            gates = linear(torch.cat([state.h, *extra], 1), terms[depth])
            after.append(cell(gates, state.c))
            x = after[-1].h + x if self.residual and depth else after[-1].h
        if self.attends_first:
            return Step(after, torch.cat([fed, x], 1), attended)
        if weights.readout is None:
            return Step(after, x, None)
        attended = self.attend(x, memory, position)
        both = torch.cat([attended.context.flatten(0, 1), x], 1)
        return Step(after, weights.readout(both, terms[-1]).tanh(), attended)

    def after_loop(self, vectors: Tensor) -> Tensor:
        """What Step.vector (..., H or 2H) becomes once no later step can need it: h~ (..., H)."""
        return self.readout(vectors).tanh() if self.attends_first and self.readout is not None else vectors

    def attend(self, query: Tensor, memory: Memory | None, position: Tensor) -> Attended:
        """query (R, H), position (K,)"""
        assert self.attention is not None
        assert memory is not None
        return self.attention(query.view(-1, position.size(0), query.size(1)), memory, position)

    def weights(self, x: Tensor, form: Callable[[Tensor], Map]) -> Weights[Map]:
        """Weights for a loop whose input is like ``x``, those of its products as ``form`` makes them."""
        dtype = compute_dtype(x)
        fed = self.hidden_size if self.loops else 0
        word, *inputs = self.layers[0].weight_ih_l0.to(dtype).split([self.layers[0].input_size - fed, fed], 1)
        inputs += [layer.weight_ih_l0.to(dtype) for layer in self.layers[1:]]
        steps, biases = [], []
        for layer, w in zip(self.layers, inputs, strict=True):
            steps.append(form(torch.cat([layer.weight_hh_l0.to(dtype), w], 1)))
            bias = layer.total_bias
            biases.append((w.new_zeros(4 * self.hidden_size) if bias is None else bias).to(dtype))
        readout = None if self.readout is None else form(self.readout.weight.to(dtype))
        return Weights(word, steps, biases, readout)
