"""The interface of attention: what goes in, what comes out, and the base class of the mechanisms.

Shape letters used throughout:
    B sentences, S source positions, N queries a sentence, W window positions,
    Q query features, M memory (encoder) features, K key features.

N is whatever the caller has: every target position in teacher forcing without input feeding, one position with it,
every live hypothesis in beam search.  The hypotheses of a sentence therefore share one memory, and nothing is ever
repeated for each of them.

A mechanism may need to know where it has attended before.  What it carries from one target position to the next is
``Memory.carried``: tensors (B, N, ...) by name, one row for each of N hypotheses, or one for all.  ``Attention.start``
makes the first of them, ``forward`` returns the next as ``Attended.carried``, and search reorders them with the beam.
Its N queries are then N hypotheses of one target position; successive positions go through ``in_turn``.

With several heads (several_heads.py) each head of a sentence is a sentence of its own to the mechanism, so that B is
then sentences times heads; only what is carried keeps a row for each sentence, (B, N, heads, ...).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.models.attention.normalizers import Normalizer, softmax
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.recurrent_linear import QueryProjection
from nmt.models.ops.rows import Rows


class Memory(NamedTuple):
    """What a batch of sources offers to attention; made once a batch by ``Attention.prepare``."""

    value_rows: Rows  # encoder states, zero beyond each length
    key_rows: Rows  # what queries are compared with; the same object as ``value_rows`` where there are no keys apart
    lengths: Tensor  # (B,) number of real source positions, at least 1
    padding: Tensor  # (B, 1, S) True beyond each length
    query_projection: QueryProjection | None = None  # what each query is multiplied by before it is compared
    centre_projection: QueryProjection | None = None  # W_p of local_p
    carried: dict[str, Tensor] | None = None  # (B, N, ...) what a mechanism knows of the positions before, by name
    heads: int = 1  # so many rows of all but ``carried`` belong to each sentence
    head_projection: QueryProjection | None = None  # the queries of all heads, side by side, of the decoder's query
    shares: Tensor | None = None  # (B, S, K) of each position in K values, where values are not those of positions

    @property
    def values(self) -> Tensor:
        """(B, S, M)"""
        return self.value_rows.tensor

    @property
    def keys(self) -> Tensor:
        """(B, S, K)"""
        return self.key_rows.tensor

    @property
    def keyed(self) -> bool:
        """Whether there are keys apart from the values."""
        return self.key_rows is not self.value_rows

    def keep(self, sentences: Tensor) -> "Memory":
        """Only these sentences (B',) int64 of the batch."""
        rows = sentences
        if self.heads > 1:
            rows = (sentences[:, None] * self.heads + torch.arange(self.heads, device=sentences.device)).flatten()
        values = self.value_rows.keep(rows)
        keys = self.key_rows.keep(rows) if self.keyed else values
        lengths, padding = (x.index_select(0, rows) for x in (self.lengths, self.padding))
        shares = None if self.shares is None else self.shares.index_select(0, rows)
        kept = self._replace(value_rows=values, key_rows=keys, lengths=lengths, padding=padding, shares=shares)
        if self.carried is None:
            return kept
        return kept._replace(carried={name: x.index_select(0, sentences) for name, x in self.carried.items()})

    def reorder(self, rows: Tensor, hypotheses: int) -> "Memory":
        """The memory of other hypotheses, ``hypotheses`` a sentence: rows (B hypotheses,) int64 of those there are."""
        if self.carried is None:
            return self
        moved = {name: x.flatten(0, 1).index_select(0, rows) for name, x in self.carried.items()}
        return self._replace(carried={name: x.unflatten(0, (-1, hypotheses)) for name, x in moved.items()})

    def after(self, attended: "Attended | None") -> "Memory":
        """The memory of the next target position."""
        return self if attended is None or attended.carried is None else self._replace(carried=attended.carried)


class Attended(NamedTuple):
    """Result for N queries a sentence.  ``positions`` is None when W == S.

    With several heads the context is that of all heads, and the rest has a row for each head of each sentence.
    """

    context: Tensor  # (B, N, M) in the query's dtype
    weights: Tensor  # (B, N, W) float32 or wider
    positions: Tensor | None = None  # (B, N, W) source index of each weight; outside the sentence the weight is 0
    centre: Tensor | None = None  # (B, N) where a window stands: real-valued for local_p
    carried: dict[str, Tensor] | None = None  # ``Memory.carried`` of the next target position
    heads: int = 1
    shares: Tensor | None = None  # ``Memory.shares`` (B, S, W), where weights are those of W vectors made of the source

    def dense_weights(self, source_length: int) -> Tensor:
        """Spread window weights over all source positions: (B, N, S), for pictures, AER and tests."""
        if self.shares is not None:
            with torch.autocast(self.weights.device.type, enabled=False):
                return self.weights @ self.shares.transpose(1, 2)
        if self.positions is None:
            return self.weights
        positions = self.positions.clamp(0, source_length - 1)
        zeros = self.weights.new_zeros(*self.weights.shape[:2], source_length)
        return zeros.scatter_add(2, positions, self.weights)

    def by_head(self, rows: Tensor) -> Tensor:
        """Weights or centres, (B heads, N, ...), with an axis of heads: (B, heads, N, ...)."""
        return rows.unflatten(0, (-1, self.heads))


class Attention(nn.Module):
    """Base of the mechanisms: ``prepare`` once a batch, then ``forward`` once a step.

    A mechanism is one dataclass (config.py), one class and one row of ``ATTENTIONS``.  It must implement ``forward``.
    ``project_keys`` and ``projections`` are for work that does not depend on the query, or whose gradient should be
    made once a batch.
    """

    longest_source: int | None = None  # most positions that ``prepare`` takes; None: any number
    half_width: int | None = None  # D, where 2D+1 positions around a centre are looked at; None: all
    heads: int = 1

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        """Do the work that does not depend on the query.  values (B, S, M), lengths (B,) at least 1.

        Padding is zeroed here, so that whatever it held (NaN too) never meets a weight of zero.  Under
        autocast the values are cast here, once, and not at every step.
        ``queries`` is how many queries a sentence will come, where the caller knows (T in teacher
        forcing), ``at_once`` how many at a time (N); they decide what is worth doing once and never
        change the result.
        """
        padding = ~real_positions(lengths, values.size(1))  # (B, S)
        dtype = compute_dtype(values)
        value_rows = Rows(values.to(dtype).masked_fill(padding[..., None], 0.0))
        keys = self.project_keys(value_rows.tensor, queries, at_once)
        key_rows = value_rows if keys is None else Rows(keys)
        query, centre = self.projections(dtype, keys is not None)
        start = self.start(value_rows.tensor)
        return Memory(value_rows, key_rows, lengths, padding[:, None], query, centre, start)

    def start(self, values: Tensor) -> dict[str, Tensor] | None:
        """``Memory.carried`` before the first target position, for values (B, S, M): (B, 1, ...) by name.

        None for a mechanism that does not know where it has attended before.
        """
        return None

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        """What queries are compared with, (B, S, K); None for the values themselves."""
        return None

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        """The memory's ``query_projection`` and ``centre_projection``, with products in ``dtype``."""
        return None, None

    def head_projection(self, dtype: torch.dtype) -> QueryProjection | None:
        """The memory's ``head_projection``, with products in ``dtype``; None for a single head."""
        return None

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        """Attend.  query (B, N, Q); position (N,) or (B, N), the target index of each query."""
        raise NotImplementedError

    def in_turn(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        """``forward`` of the queries (B, N, Q) of N successive target positions (N,), each knowing those before it."""
        steps: list[Attended] = []
        for n in range(query.size(1)):
            steps.append(self(query[:, n : n + 1], memory, position[n : n + 1]))
            memory = memory.after(steps[-1])
        context, weights, positions, centre, *_ = zip(*steps, strict=True)
        s, p = (None if parts[0] is None else torch.cat(parts, 1) for parts in (positions, centre))
        both = torch.cat(context, 1), torch.cat(weights, 1)
        return Attended(*both, s, p, memory.carried, memory.heads, steps[0].shares)


def real_positions(lengths: Tensor, size: int) -> Tensor:
    """lengths (B,) -> (B, size) bool, False at padding."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where ``visible`` is True and minus infinity where not: to be added to scores before their softmax."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, float("-inf"))


def masked_softmax(scores: Tensor, outside: Tensor) -> Tensor:
    """Softmax over the last axis, exactly zero where ``outside`` is True (not all of a row), in float32 or wider."""
    return masked_weights(scores, outside, softmax)


def masked_weights(scores: Tensor, outside: Tensor, normalizer: Normalizer) -> Tensor:
    """What a normalizer makes of the scores over the last axis, in float32 or wider.

    Exactly zero where ``outside`` is True, which may not be all of a row.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return normalizer(scores.masked_fill(outside, torch.finfo(scores.dtype).min))
