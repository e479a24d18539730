"""Several heads of one mechanism side by side (model.attention.heads)."""

import torch
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, real_positions
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection


class SeveralHeads(Attention):
    """H heads, each the same mechanism over queries and encoder states of its own, of 1/H of the width.

    (a_{t,i}, c_{t,i}) = attend(W_Q^i q_t, W_M^i h_s),   c_t = [c_{t,1}; ...; c_{t,H}]

    Multi-head attention (Vaswani et al. 2017, section 3.2.2) for any mechanism, its windows, its coverage and its walk
    included.  It differs from theirs in two things: keys and values are made of the same W_M^i h_s, because a mechanism
    decides itself what it compares, and there is no W^O, because whatever reads c_t multiplies it by a matrix anyway
    (W_c of the attentional vector, W of Bahdanau's LSTM).  Weights that the mechanism has itself, as W_a, v_a or W_p,
    are one set for all heads: W_Q^i and W_M^i tell heads apart.

    The heads of a sentence are H sentences to the mechanism, one after the other.
    """

    def __init__(self, mechanism: Attention, heads: int, query_size: int, memory_size: int) -> None:
        """``mechanism``, made for widths ``query_size`` / ``heads`` and ``memory_size`` / ``heads``."""
        super().__init__()
        self.mechanism, self.heads = mechanism, heads
        self.query = QueryLinear(query_size, query_size)  # W_Q of all heads
        self.memory = nn.Linear(memory_size, memory_size, bias=False)  # W_M of all heads
        self.longest_source, self.half_width = mechanism.longest_source, mechanism.half_width

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        padding = ~real_positions(lengths, values.size(1))
        dtype = compute_dtype(values)
        states = self.split(self.memory(values.to(dtype).masked_fill(padding[..., None], 0.0)))
        memory = self.mechanism.prepare(states, for_heads(lengths, self.heads), queries, at_once)
        carried = self.of_sentences(memory.carried)
        return memory._replace(carried=carried, heads=self.heads, head_projection=self.head_projection(dtype))

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        return self.mechanism.projections(dtype, keyed)

    def head_projection(self, dtype: torch.dtype) -> QueryProjection:
        return self.query.for_batch(dtype)

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.head_projection is not None
        queries = self.split(memory.head_projection(query))
        position = position if position.dim() == 1 else for_heads(position, self.heads)
        attended = self.mechanism(queries, memory._replace(carried=self.of_heads(memory.carried)), position)
        context = attended.context.view(query.size(0), self.heads, query.size(1), -1).transpose(1, 2).flatten(2)
        carried = self.of_sentences(attended.carried)
        return attended._replace(context=context.to(query.dtype), carried=carried, heads=self.heads)

    def split(self, rows: Tensor) -> Tensor:
        """(B, N, H F), the features of all heads side by side -> (B H, N, F)."""
        B, N, width = rows.shape
        H = self.heads
        return rows.view(B, N, H, width // H).transpose(1, 2).reshape(B * H, N, width // H)

    def of_sentences(self, carried: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """What the mechanism carries on, (B H, N, ...), as (B, N, H, ...)."""
        if carried is None:
            return None
        return {name: x.unflatten(0, (-1, self.heads)).transpose(1, 2) for name, x in carried.items()}

    def of_heads(self, carried: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """The inverse of ``of_sentences``."""
        return None if carried is None else {name: x.transpose(1, 2).flatten(0, 1) for name, x in carried.items()}


def for_heads(rows: Tensor, heads: int) -> Tensor:
    """A row for each head of each sentence, (B heads, ...), of a row for each sentence (B, ...)."""
    return rows[:, None].expand(-1, heads, *rows.shape[1:]).flatten(0, 1)
