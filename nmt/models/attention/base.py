"""The door of the attention room: what goes in, what comes out, and the base of the mechanisms.

Shape letters used throughout:
    B sentences, S source positions, N queries per sentence, W window positions,
    Q query features, M memory (encoder) features, K key features.

N is whatever the caller has at hand: every target position in teacher forcing without
input feeding, one position with it, every live hypothesis in beam search.  Hypotheses of
a sentence therefore share one memory and nothing is ever tiled by the beam size.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.rows import Table

QueryMap: TypeAlias = Callable[[Tensor], Tensor]


class Memory(NamedTuple):
    """What a sentence offers to attention; made once per batch by ``Attention.prepare``."""

    value_table: Table  # encoder states, zero beyond each length
    key_table: Table  # what queries are scored against; may be the values themselves
    lengths: Tensor  # (B,) number of real source positions, at least 1
    padding: Tensor  # (B, 1, S) True beyond each length
    query_map: QueryMap | None = None  # what each query goes through before it is scored
    centre_map: QueryMap | None = None  # W_p of local_p

    @property
    def values(self) -> Tensor:
        """(B, S, M)"""
        return self.value_table.rows

    @property
    def keys(self) -> Tensor:
        """(B, S, K)"""
        return self.key_table.rows

    def of_query(self, query: Tensor) -> Tensor:
        """What is scored in its place."""
        return query if self.query_map is None else self.query_map(query)

    def keep(self, sentences: Tensor) -> "Memory":
        """Only these rows (B',) int64 of the batch."""
        values = self.value_table.keep(sentences)
        keys = values if self.key_table is self.value_table else self.key_table.keep(sentences)
        lengths, padding = (x.index_select(0, sentences) for x in (self.lengths, self.padding))
        return self._replace(value_table=values, key_table=keys, lengths=lengths, padding=padding)


class Attended(NamedTuple):
    """Result for N queries per sentence.  ``positions`` is None when W == S."""

    context: Tensor  # (B, N, M) in the query's dtype
    weights: Tensor  # (B, N, W) float32 or wider
    positions: Tensor | None = None  # (B, N, W) source index of each weight; outside the sentence the weight is 0
    centre: Tensor | None = None  # (B, N) where a window stands: real-valued for local_p
    log_prob: Tensor | None = None  # (B, N) of the position that hard attention chose

    def dense_weights(self, source_length: int) -> Tensor:
        """Spread window weights over all source positions: (B, N, S), for pictures, AER and tests."""
        if self.positions is None:
            return self.weights
        return spread(self.weights, self.positions.clamp(0, source_length - 1), source_length)


class Attention(nn.Module):
    """Base of the mechanisms: ``prepare`` once per batch, then ``forward`` once per step."""

    longest_source: int | None = None  # most positions that ``prepare`` takes; None: any

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        """Do the work that does not depend on the query.  values (B, S, M), lengths (B,) at least 1.

        Padding is zeroed here, so that whatever it held (NaN too) never meets a weight of zero.  Under
        autocast the values are cast here, once, and not at every step.
        ``queries`` is how many queries a sentence will come, where the caller knows (T in teacher
        forcing), ``at_once`` how many at a time (N); they decide what is worth doing once and never
        change the result.
        """
        padding = torch.arange(values.size(1), device=lengths.device) >= lengths[:, None]  # (B, S)
        dtype = compute_dtype(values)
        table = Table(values.to(dtype).masked_fill(padding[..., None], 0.0))
        keys = self.keys(table.rows, queries, at_once)
        keyed = table if keys is None else Table(keys)
        return Memory(table, keyed, lengths, padding[:, None], *self.query_maps(dtype, keys is not None))

    def keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        """What queries are scored against, (B, S, K); None for the values themselves."""
        return None

    def query_maps(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryMap | None, QueryMap | None]:
        """The memory's ``query_map`` and ``centre_map``, in the dtype of the products."""
        return None, None

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        """Attend.  query (B, N, Q); position (N,) or (B, N), the target index of each query."""
        raise NotImplementedError


def masked_softmax(scores: Tensor, outside: Tensor) -> Tensor:
    """Softmax over the last axis, exactly zero where ``outside`` is True (not all of a row), in float32 or wider."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores.masked_fill(outside, torch.finfo(scores.dtype).min).softmax(-1)


def spread(weights: Tensor, positions: Tensor, source_length: int) -> Tensor:
    """Window weights (B, N, W) at positions within 0..S-1 to weights (B, N, S)."""
    return weights.new_zeros(*weights.shape[:2], source_length).scatter_add(2, positions, weights)
