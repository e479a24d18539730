"""How a query q is compared with the positions h_s of the memory: one class a score, one row of ``SCORES`` each.

A class of your own needs ``forward`` alone, which compares queries with keys; override the other methods of
``ScoreFunction`` where a score can be had for less.
"""

from enum import Enum, StrEnum
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.errors import ConfigError, UserError
from nmt.models.attention.base import Memory
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection
from nmt.models.ops.rows import RowWindow, windows_are_cheaper

if TYPE_CHECKING:
    from nmt.models.attention.config import ScoredConfig


class ConcatSource(Enum):
    """The source half W_k of the concat score."""

    learned = "learned"  # a matrix (Luong et al. 2015, section 3.1)
    identity = "identity"  # as in Luong's program: v . tanh(W_q q + h_s) (nmt.hybrid, attnLayerForward.m, attnOpt 3)


class ScoreFunction(nn.Module):
    """Base of the scores: a number for each query and each position it is compared with.

    Shapes: B sentences, N queries a sentence, S source positions, W window positions, Q query features, M memory
    features, K key features.

    A score may split into a part that depends on the memory alone, the keys k(h_s), made once a batch, and one that
    depends on the query, made at every step (``project_keys``, ``project_query``).  A batch may come without keys of
    its own where that is cheaper; then the memory's values stand in their place and ``over_window`` makes the keys of a
    window itself.
    """

    longest_source: int | None = None  # most source positions that global attention can score; None: any number

    def __init__(self, *sizes: object) -> None:
        """``build_score`` calls each row of ``SCORES`` with the mechanism's configuration, Q, M and the number of
        positions that there can be, of the source or of a window; a score without parameters needs none of them."""
        super().__init__()

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Projected queries (B, N, Q) against keys (B, 1 or N, R, K), R of them a query: (B, N, R)."""
        raise NotImplementedError

    def check(self, lengths: Tensor, source_length: int) -> None:
        """Raise UserError where a sentence of lengths (B,), padded to ``source_length``, is too long to be scored."""

    def project_keys(self, values: Tensor) -> Tensor | None:
        """k(h_s) of values (B, S, M) or of a window's (B, N, W, M); None where queries are compared with h_s itself."""
        return None

    def projects_keys_first(self, values: Tensor, queries: int | None, at_once: int, width: int | None) -> bool:
        """Whether local attention should project the keys of all positions instead of each query or each window.

        ``queries`` a sentence will come (None: unknown), ``at_once`` of them at a time; ``width`` W of the windows that
        are gathered for them, None where all positions are read.
        """
        return True

    def prefers_windows(self, values: Tensor, width: int, queries: int) -> bool:
        """Whether local attention should gather windows instead of reading all of values (B, S, M)."""
        return windows_are_cheaper(values, queries, width)

    def query_projection(self, dtype: torch.dtype, keyed: bool) -> QueryProjection | None:
        """The matrix that every query of a batch is multiplied by, if any; ``keyed``: the batch has keys of its own."""
        return None

    def project_query(self, query: Tensor, memory: Memory) -> Tensor:
        """What is compared in the place of query (B, N, Q)."""
        return query if memory.query_projection is None else memory.query_projection(query)

    def over_all(self, query: Tensor, memory: Memory, offset: Tensor | None = None) -> Tensor:
        """Scores of all source positions: (B, N, S).

        ``offset`` (B, N, S) is the distance of each position from the centre of a window, where there is one.
        """
        return self(self.project_query(query, memory), memory.keys[:, None])

    def over_window(self, query: Tensor, memory: Memory, s: Tensor, window: RowWindow) -> Tensor:
        """Scores of the positions s (B, N, W), whose values ``window`` gathers: (B, N, W)."""
        keys = (RowWindow(memory.key_rows, s) if memory.keyed else window).gathered()
        projected = None if memory.keyed else self.project_keys(keys)
        return self(self.project_query(query, memory), keys if projected is None else projected)


class ProductScore(ScoreFunction):
    """Base of the scores that are a product k . q of each key with what ``project_query`` makes of the query."""

    def over_all(self, query: Tensor, memory: Memory, offset: Tensor | None = None) -> Tensor:
        return memory.key_rows.scores(self.project_query(query, memory))

    def over_window(self, query: Tensor, memory: Memory, s: Tensor, window: RowWindow) -> Tensor:
        keys = RowWindow(memory.key_rows, s) if memory.keyed else window
        return keys.scores(self.project_query(query, memory))


class DotScore(ProductScore):
    """q . h_s   (Luong et al. 2015, section 3.1).  Raises ConfigError for a query and a memory of different widths."""

    def __init__(self, config: "ScoredConfig", query_size: int, memory_size: int, location_rows: int) -> None:
        super().__init__()
        if query_size != memory_size:
            raise ConfigError(
                f"model.attention.score={config.score} needs a query as wide as the memory, "
                f"got {query_size} and {memory_size}; use model.attention.score=general"
            )


class ScaledDotScore(DotScore):
    """q . h_s / sqrt(Q)   (Vaswani et al. 2017, eq. 1)."""

    def project_query(self, query: Tensor, memory: Memory) -> Tensor:
        return query * query.size(-1) ** -0.5


class GeneralScore(ProductScore):
    """q . W h_s   (Luong et al. 2015, section 3.1).

    The same number is W^T q . h_s: one projected query instead of S projected positions, which pays where few queries
    come or where each reads a window.
    """

    def __init__(self, config: "ScoredConfig", query_size: int, memory_size: int, location_rows: int) -> None:
        super().__init__()
        self.project = QueryLinear(memory_size, query_size)

    def project_keys(self, values: Tensor) -> Tensor:
        """W h_s: (B, S, Q)"""
        return self.project(values)

    def projects_keys_first(self, values: Tensor, queries: int | None, at_once: int, width: int | None) -> bool:
        few = queries is not None and queries <= at_once and queries < values.size(1)
        return not few and width is None

    def query_projection(self, dtype: torch.dtype, keyed: bool) -> QueryProjection | None:
        """None, or without keys W^T."""
        return None if keyed else self.project.for_batch(dtype, transposed=True)


class AdditiveScore(ScoreFunction):
    """v . tanh(W_q q + W_k h_s)   (Bahdanau et al. 2015, A.1.2)."""

    def __init__(self, query_size: int, memory_size: int, width: int, learned: bool = True) -> None:
        """``width`` of the hidden layer; without ``learned`` W_k is the identity, which needs memory_size = width."""
        super().__init__()
        self.query = QueryLinear(query_size, width)
        self.key = nn.Linear(memory_size, width, bias=False) if learned else None
        self.energy = nn.Linear(width, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return additive_scores(query, keys, self.energy.weight.flatten())

    def project_keys(self, values: Tensor) -> Tensor | None:
        """W_k h_s: (B, S, K)"""
        return None if self.key is None else self.key(values)

    def projects_keys_first(self, values: Tensor, queries: int | None, at_once: int, width: int | None) -> bool:
        return width is None or queries is None or queries * width >= values.size(1)

    def prefers_windows(self, values: Tensor, width: int, queries: int) -> bool:
        """The cost is in the tanh, of W rows a query or of S."""
        return values.size(1) > 2 * width

    def query_projection(self, dtype: torch.dtype, keyed: bool) -> QueryProjection:
        """W_q"""
        return self.query.for_batch(dtype)


class ConcatScore(AdditiveScore):
    """v_a . tanh(W_a [q; h_s]) with W_a = [W_q W_k]   (Luong et al. 2015, section 3.1), as wide as the query.

    With concat_source=identity W_k is the identity and the width is the memory's (Luong's program).
    """

    def __init__(self, config: "ScoredConfig", query_size: int, memory_size: int, location_rows: int) -> None:
        learned = config.concat_source is ConcatSource.learned
        super().__init__(query_size, memory_size, query_size if learned else memory_size, learned)


class LocationScore(ScoreFunction):
    """W q, one row a position   (Luong et al. 2015, eq. 8).

    Inside a window the rows belong to the offsets -D..D from its centre; globally to source positions.
    """

    def __init__(self, config: "ScoredConfig", query_size: int, memory_size: int, location_rows: int) -> None:
        super().__init__()
        self.rows = QueryLinear(query_size, location_rows)
        self.longest_source = location_rows

    def check(self, lengths: Tensor, source_length: int) -> None:
        """Raise UserError where a sentence is longer than there are rows; it is never cut short."""
        limit = self.rows.out_features
        # Lengths are read from the device only where a batch is that long at all.
        if source_length > limit and (longest := int(lengths.max())) > limit:
            raise UserError(
                f"model.attention.max_source={limit} is too small for a source of {longest} positions: "
                f"train with model.attention.max_source={longest} or more, or leave longer sources out"
            )

    def projects_keys_first(self, values: Tensor, queries: int | None, at_once: int, width: int | None) -> bool:
        return False

    def query_projection(self, dtype: torch.dtype, keyed: bool) -> QueryProjection:
        """W, all rows"""
        return self.rows.for_batch(dtype)

    def over_all(self, query: Tensor, memory: Memory, offset: Tensor | None = None) -> Tensor:
        """(B, N, S); globally, positions that have no row are padding and score 0."""
        scores = self.project_query(query, memory)
        if offset is not None:
            width = self.rows.out_features
            return scores.gather(2, (offset + width // 2).clamp_(0, width - 1))
        S = memory.values.size(1)
        scores = scores[..., :S]
        return F.pad(scores, (0, S - scores.size(-1)))

    def over_window(self, query: Tensor, memory: Memory, s: Tensor, window: RowWindow) -> Tensor:
        return self.project_query(query, memory)


# The one table: the command line, --help and the builders read it.  The name is what model.attention.score takes.
SCORES: dict[str, type[ScoreFunction]] = {
    "dot": DotScore,
    "general": GeneralScore,
    "concat": ConcatScore,
    "location": LocationScore,
    "scaled_dot": ScaledDotScore,
}

Score = StrEnum("Score", {name: name for name in SCORES})  # the names, for those who like an editor to complete them


def build_score(config: "ScoredConfig", query_size: int, memory_size: int, location_rows: int) -> ScoreFunction:
    """The score that ``config`` names."""
    return SCORES[config.score](config, query_size, memory_size, location_rows)
