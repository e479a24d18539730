"""Mechanisms that look at every source position: global, bahdanau, hard."""

import torch
from torch import Tensor

from nmt.models.attention.base import Attended, Attention, Memory, QueryMap, masked_softmax
from nmt.models.attention.config import BahdanauConfig, ConcatSource, GlobalConfig
from nmt.models.attention.scores import ConcatScore, LocationScore, ProductScore, build_score

LOCATION_ROWS = 256  # where max_source is not set


class GlobalAttention(Attention):
    """Luong et al. 2015, section 3.1: a = softmax_s(score(q, h_s)) over every source position."""

    score: ProductScore | ConcatScore | LocationScore

    def __init__(self, config: GlobalConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.score = build_score(config, query_size, memory_size, config.max_source or LOCATION_ROWS)
        if isinstance(self.score, LocationScore):
            self.longest_source = self.score.rows.out_features

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        if isinstance(self.score, LocationScore):
            self.score.check(lengths, values.size(1))
        return super().prepare(values, lengths, queries, at_once)

    def keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        return None if isinstance(self.score, LocationScore) else self.score.keys(values)

    def query_maps(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryMap | None, QueryMap | None]:
        return self.score.of_query(dtype, keyed), None

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        weights = self.weigh(query, memory)
        return Attended(memory.value_table.sum(weights).to(query.dtype), weights)

    def weigh(self, query: Tensor, memory: Memory) -> Tensor:
        """a: (B, N, S)"""
        return masked_softmax(self.score(query, memory), memory.padding)


class BahdanauAttention(GlobalAttention):
    """Bahdanau et al. 2015, appendix A.1.2: a = softmax_s(v . tanh(W q + U h_s)), q the previous state s_{t-1}."""

    def __init__(self, config: BahdanauConfig, query_size: int, memory_size: int) -> None:
        Attention.__init__(self)
        self.score = ConcatScore(ConcatSource.learned, query_size, memory_size, config.hidden_size)


class HardAttention(GlobalAttention):
    """Xu et al. 2015, section 4.1: the context is one h_s, with s drawn from a = softmax_s(score(q, h_s)).

    Training (``module.train()``) draws s and passes the gradient straight through the draw, as if the
    weights had been a (Bengio et al. 2013, arXiv 1308.3432, section 4).  ``module.eval()`` takes the
    likeliest position, the first of equals.  The paper's REINFORCE is not built; ``log_prob`` holds
    log a of the chosen position.
    """

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        soft = self.weigh(query, memory)
        if self.training:
            chosen = torch.multinomial(soft.detach().flatten(0, 1), 1).view(*soft.shape[:2], 1)
        else:
            chosen = soft.argmax(2, keepdim=True)
        log_prob = soft.gather(2, chosen).squeeze(2).log()
        one = torch.zeros_like(soft).scatter(2, chosen, 1.0)
        weights = one + (soft - soft.detach())  # the bracket is exactly 0
        return Attended(memory.value_table.sum(weights).to(query.dtype), weights, log_prob=log_prob)
