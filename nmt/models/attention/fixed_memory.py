"""A memory of fixed size: K vectors that the source becomes once, whatever its length."""

import torch
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, masked_weights
from nmt.models.attention.config import FixedMemoryConfig, Shares
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection
from nmt.models.ops.rows import Rows


class FixedMemoryAttention(Attention):
    """Once a source: alpha_s = softmax_k(W_alpha h_s), C_k = sum_s alpha_{s,k} h_s.  Each step: c_t = sum_k beta_k C_k.

    beta_t = softmax_k(W_beta q_t): what a step costs depends on K alone   (Britz et al. 2017, section 3).  The weights
    of source positions are a_{t,s} = sum_k beta_{t,k} alpha_{s,k}; they are multiplied out where somebody looks, and
    their sum is any number: C_k is a sum, which grows with the source.  ``model.attention.normalizer`` takes the place
    of both softmaxes.  The query is the state after the step.

    position_encoding   W_alpha h_s is multiplied by l_{s,k} = (1 - k/K)(1 - s/S) + (k/K)(s/S), k and s from 1.  S is
                        the length of the sentence here; in the paper it is that of the longest one
    shares=of_vector    the softmax of alpha goes over the positions, and C_k is a mean of encoder states, so that rows
                        of a sum to 1  (the program below does so; which of the two the paper has is not certain)

    The paper also tries the sigmoid in the place of either softmax, which is not built.  It could not be read here: the
    formulas are from memory; that of l was checked with xnmt's program.
    """

    def __init__(self, config: FixedMemoryConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.normalizer, self.of_vector = NORMALIZERS[config.normalizer], config.shares is Shares.of_vector
        self.position_encoding = config.position_encoding
        self.share = nn.Linear(memory_size, config.vectors, bias=False)  # W_alpha
        self.query = QueryLinear(query_size, config.vectors)  # W_beta

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        memory = super().prepare(values, lengths, queries, at_once)
        shares = self.shares(memory)
        vectors = Rows(shares.transpose(1, 2).to(memory.values.dtype) @ memory.values)
        return memory._replace(value_rows=vectors, key_rows=vectors, shares=shares)

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        return self.query.for_batch(dtype), None

    def shares(self, memory: Memory) -> Tensor:
        """alpha (B, S, K), 0 at padding, in float32 or wider."""
        scores = self.share(memory.values)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.position_encoding:
            K = scores.size(2)
            s = torch.arange(1, scores.size(1) + 1, device=scores.device, dtype=scores.dtype)[:, None]
            k = torch.arange(1, K + 1, device=scores.device, dtype=scores.dtype) / K
            s = s / memory.lengths[:, None, None]
            scores = scores * ((1 - k) * (1 - s) + k * s)
        if self.of_vector:
            return masked_weights(scores.transpose(1, 2), memory.padding, self.normalizer).transpose(1, 2)
        return self.normalizer(scores).masked_fill(memory.padding.transpose(1, 2), 0.0)

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.query_projection is not None
        scores = memory.query_projection(query)  # (B, N, K)
        weights = self.normalizer(scores.to(torch.promote_types(scores.dtype, torch.float32)))
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, shares=memory.shares)
