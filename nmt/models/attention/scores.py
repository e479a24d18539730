"""Scores between a query and memory positions, on all positions or on those inside a window."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.errors import ConfigError, UserError
from nmt.models.attention.base import Memory, QueryMap
from nmt.models.attention.config import ConcatSource, Score, ScoredConfig
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.recurrent_linear import StepLinear


class ProductScore(nn.Module):
    """dot q.h_s, general q.W h_s (Luong et al. 2015, eq. 8), scaled_dot q.h_s / sqrt(Q) (Vaswani et al. 2017, eq. 1).

    Raises ConfigError where dot or scaled_dot meets a query and a memory of different widths.
    """

    def __init__(self, score: Score, query_size: int, memory_size: int) -> None:
        super().__init__()
        if score is not Score.general and query_size != memory_size:
            raise ConfigError(
                f"model.attention.score={score.name} needs a query as wide as the memory, "
                f"got {query_size} and {memory_size}; use model.attention.score=general"
            )
        self.scale = query_size**-0.5 if score is Score.scaled_dot else None
        self.project = StepLinear(memory_size, query_size) if score is Score.general else None

    def keys(self, values: Tensor) -> Tensor | None:
        """W h_s: (B, S, Q)."""
        return None if self.project is None else self.project(values)

    def of_query(self, dtype: torch.dtype, keyed: bool) -> QueryMap | None:
        """q, or without keys W^T q, whose product with h_s itself is the same score; None for q."""
        if self.project is not None:
            return None if keyed else self.project.once_a_batch(dtype, transposed=True)
        scale = self.scale
        return None if scale is None else lambda query: query * scale

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """Against all keys: (B, N, S)."""
        return memory.key_table.scores(memory.of_query(query))


class ConcatScore(nn.Module):
    """v . tanh(W_q q + W_k h_s)   (Bahdanau et al. 2015, A.1.2; Luong et al. 2015, eq. 8, whose W_a is [W_q W_k]).

    With concat_source=identity W_k is the identity and the width is the memory's (Luong's program).
    """

    def __init__(self, source: ConcatSource, query_size: int, memory_size: int, width: int) -> None:
        super().__init__()
        learned = source is ConcatSource.learned
        width = width if learned else memory_size
        self.query = StepLinear(query_size, width)
        self.key = nn.Linear(memory_size, width, bias=False) if learned else None
        self.energy = nn.Linear(width, 1, bias=False)

    def keys(self, values: Tensor) -> Tensor | None:
        """W_k h_s: (B, S, K)."""
        return None if self.key is None else self.key(values)

    def of_query(self, dtype: torch.dtype, keyed: bool) -> QueryMap:
        """W_q q"""
        return self.query.once_a_batch(dtype)

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """Against all keys: (B, N, S)."""
        return self.rows(memory.of_query(query), memory.keys[:, None])

    def rows(self, projected: Tensor, keys: Tensor) -> Tensor:
        """Of W_q q against rows of keys (B, 1 or N, R, K): (B, N, R)."""
        return additive_scores(projected, keys, self.energy.weight[0])


class LocationScore(nn.Module):
    """W q, one row a position   (Luong et al. 2015, eq. 9).

    Inside a window the rows belong to the offsets -D..D from its centre; globally to source positions.
    """

    def __init__(self, query_size: int, rows: int) -> None:
        super().__init__()
        self.rows = StepLinear(query_size, rows)

    def check(self, lengths: Tensor, source_length: int) -> None:
        """Raise UserError where a sentence is longer than there are rows; it is never cut short."""
        limit = self.rows.out_features
        # Lengths are read from the device only where a batch is that long at all.
        if source_length > limit and (longest := int(lengths.max())) > limit:
            raise UserError(
                f"model.attention.max_source={limit} is too small for a source of {longest} positions: "
                f"train with model.attention.max_source={longest} or more, or leave longer sources out"
            )

    def of_query(self, dtype: torch.dtype, keyed: bool) -> QueryMap:
        """W q, of all rows"""
        return self.rows.once_a_batch(dtype)

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """(B, N, S); positions that have no row are padding and score 0."""
        S = memory.values.size(1)
        scores = memory.of_query(query)[..., :S]
        return F.pad(scores, (0, S - scores.size(-1)))


def build_score(
    config: ScoredConfig, query_size: int, memory_size: int, location_rows: int
) -> ProductScore | ConcatScore | LocationScore:
    """The module of a config's score; W_a of concat is as wide as the query, as in Luong's program."""
    if config.score is Score.location:
        return LocationScore(query_size, location_rows)
    if config.score is Score.concat:
        return ConcatScore(config.concat_source, query_size, memory_size, width=query_size)
    return ProductScore(config.score, query_size, memory_size)
