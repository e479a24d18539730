"""The LSTM that remembers every word it has read: Long Short-Term Memory-Networks (model.encoder=lstmn)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.ops.additive import additive_scores
from nmt.models.ops.lstm_layer import LSTMState, at_last_step, cell
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.recurrent_linear import QueryLinear, RecurrentLinear


class LSTMNLayer(nn.Module):
    """A layer with a tape of all hidden states and one of all memories in the place of the last h and c.

    a_{t,i} = v . tanh(W_h h_i + W_x x_t + W_~ h~_{t-1}),   s_t = softmax_{i<t}(a_t)         (eqs. 4 and 5)
    [h~_t; c~_t] = sum_{i<t} s_{t,i} [h_i; c_i]                                              (eq. 6)
    (h_t, c_t) = the LSTM's cell of x_t, with h~_t and c~_t for h_{t-1} and c_{t-1}          (eqs. 7 to 9)

    (Cheng, Dong and Lapata 2016, section 3.1, who call it intra-attention: attention of a sentence to itself, within
    the cell).  At the first word h~ and c~ are 0.  The hidden layer of a is as wide as h.  The paper could not be read
    here: the formulas, and the numbers of equations, are from memory.  Its deep layers, gated and with the word itself
    as input of each, are not built: layers are stacked as those of model.encoder=lstm.  What the decoder makes of both
    tapes is in deep_fusion.py.

    A step reads both tapes, so that a sentence costs S^2, and training keeps them as they were at each step.

    Shape letters: T words, B rows, I input features, H units.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.input = nn.Linear(input_size, 4 * hidden_size, bias)  # W of the gates i, f, g and o
        self.recurrent = nn.Linear(hidden_size, 4 * hidden_size, bias=False)  # U, which h~ meets
        self.key = QueryLinear(hidden_size, hidden_size)  # W_h
        self.word = nn.Linear(input_size, hidden_size, bias=False)  # W_x
        self.summary = nn.Linear(hidden_size, hidden_size, bias=False)  # W_~
        self.energy = nn.Linear(hidden_size, 1, bias=False)  # v

    def forward(self, x: Tensor) -> "Remembered":
        """x (T, B, I) -> what it becomes; whatever stands after a word does not reach it."""
        dtype = compute_dtype(x)
        wide = torch.promote_types(dtype, torch.float32)
        gates, query = (RecurrentLinear(part.weight.to(dtype)) for part in (self.recurrent, self.summary))
        gate_terms, query_terms = gates.terms(self.input(x).to(dtype)), query.terms(self.word(x).to(dtype))
        key, v = self.key.for_batch(dtype), self.energy.weight[0]
        summary, memory = (x.new_zeros(x.size(1), self.hidden_size, dtype=kind) for kind in (dtype, wide))
        tapes: tuple[list[Tensor], ...] = [], [], []  # h, c, and W_h h
        weights: list[Tensor] = []
        for t in range(len(x)):
            looking = query(summary, query_terms[t])
            if t:  # the first word has nothing to look at
                hidden, memories, keys = (torch.stack(tape, 1) for tape in tapes)  # (B, t, H)
                scores = additive_scores(looking[:, None], keys[:, None], v)  # (B, 1, t)
                weights.append(scores.softmax(2)[:, 0])
                summary = (weights[-1][:, None].to(dtype) @ hidden)[:, 0]
                memory = (weights[-1][:, None].to(wide) @ memories)[:, 0]
            h, c = cell(gates(summary, gate_terms[t]), memory)
            for tape, new in zip(tapes, (h, c, key(h)), strict=True):
                tape.append(new)
        hidden = torch.stack(tapes[0])
        if len(x) == 1:  # what looks back has no gradient otherwise, and DistributedDataParallel waits for one
            hidden = hidden + 0.0 * ((query_terms[0] + tapes[2][0]).to(v.dtype) @ v).sum()
        return Remembered(hidden, torch.stack(tapes[1]), weights)


class Remembered(NamedTuple):
    """What a layer makes of T words."""

    h: Tensor  # (T, B, H)
    c: Tensor  # (T, B, H) float32 or wider
    weights: list[Tensor]  # of the second word and each later one, (B, t): what it remembers of the words before

    def maps(self) -> Tensor:
        """(B, T, T) float32: row t has what word t remembers of each word; the first row is 0."""
        T, B, _ = self.h.shape
        rows = [self.h.new_zeros(B, 0), *self.weights]
        return torch.stack([F.pad(row.float(), (0, T - row.size(1))) for row in rows], 1)


def remember_padded(
    layers: Sequence[LSTMNLayer], x: Tensor, lengths: Tensor, want_maps: bool
) -> tuple[LSTMState, LSTMState, list[Tensor]]:
    """Right-padded x (T, B, I) of lengths (B,), read forward and, by a second layer, backward.

    As ``read_padded`` of an LSTM, states (T, B, H) of all directions side by side, here with their memories, and final
    states (B, H); and, if asked, the maps (B, directions, T, T) in natural order, in a list.
    """
    tapes: list[LSTMState] = []
    final, maps = [], []
    places = backward_places(lengths, x.size(0))
    for layer, backward in zip(layers, (False, True), strict=False):
        read = layer(in_order(x, places) if backward else x)
        tapes.append(LSTMState(*(in_order(tape, places) if backward else tape for tape in (read.h, read.c))))
        final.append(LSTMState(at_last_step(read.h, lengths), at_last_step(read.c, lengths)))
        if want_maps:
            rows = places.t()[:, :, None].expand(-1, -1, len(x))
            found = read.maps()
            maps.append(found.gather(1, rows).gather(2, rows.transpose(1, 2)) if backward else found)
    h, c = (torch.cat(states, 1) for states in zip(*final, strict=True))
    all_h, all_c = (torch.cat(states, 2) for states in zip(*tapes, strict=True))
    return LSTMState(all_h, all_c), LSTMState(h, c), [torch.stack(maps, 1)] if maps else []


def backward_places(lengths: Tensor, size: int) -> Tensor:
    """Places (size, B) that read each row's first ``lengths`` (B,) steps last to first, and the rest as it is."""
    t = torch.arange(size, device=lengths.device)[:, None]
    return torch.where(t < lengths, lengths - 1 - t, t)


def in_order(x: Tensor, places: Tensor) -> Tensor:
    """x (T, B, F) at places (T, B) of each row."""
    return x.gather(0, places[..., None].expand_as(x))
