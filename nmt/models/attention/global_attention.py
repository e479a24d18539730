"""Mechanisms that look at every source position: global, bahdanau, hard, temporal."""

import torch
from torch import Tensor

from nmt.models.attention.base import Attended, Attention, Memory, masked_weights
from nmt.models.attention.config import BahdanauConfig, GlobalConfig
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.attention.scores import AdditiveScore, ScoreFunction, build_score
from nmt.models.ops.recurrent_linear import QueryProjection

LOCATION_ROWS = 256  # where max_source is not set


class GlobalAttention(Attention):
    """Luong et al. 2015, section 3.1: a = softmax_s(score(q, h_s)) over every source position.

    ``model.attention.normalizer`` puts another normalizer in softmax's place, here and in what is derived from it.
    """

    score: ScoreFunction

    def __init__(self, config: GlobalConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.normalizer = NORMALIZERS[config.normalizer]
        self.score = build_score(config, query_size, memory_size, config.max_source or LOCATION_ROWS)
        self.longest_source = self.score.longest_source

    def prepare(self, values: Tensor, lengths: Tensor, queries: int | None = None, at_once: int = 1) -> Memory:
        self.score.check(lengths, values.size(1))
        return super().prepare(values, lengths, queries, at_once)

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        return self.score.project_keys(values)

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        return self.score.query_projection(dtype, keyed), None

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        weights = self.attention_weights(query, memory)
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)

    def attention_weights(self, query: Tensor, memory: Memory) -> Tensor:
        """a: (B, N, S)"""
        return masked_weights(self.score.over_all(query, memory), memory.padding, self.normalizer)


class BahdanauAttention(GlobalAttention):
    """Bahdanau et al. 2015, appendix A.1.2: a = softmax_s(v . tanh(W q + U h_s)), q the previous state s_{t-1}."""

    def __init__(self, config: BahdanauConfig, query_size: int, memory_size: int) -> None:
        Attention.__init__(self)
        self.normalizer = NORMALIZERS[config.normalizer]
        self.score = AdditiveScore(query_size, memory_size, config.hidden_size)


class HardAttention(GlobalAttention):
    """Xu et al. 2015, section 4.1: the context is one h_s, with s drawn from a = softmax_s(score(q, h_s)).

    Training (``module.train()``) draws s and passes the gradient straight through the draw, as if the
    weights had been a (Bengio et al. 2013, arXiv 1308.3432, section 4).  ``module.eval()`` takes the
    likeliest position, the first of equals.  The paper's REINFORCE is not built.
    """

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        soft = self.attention_weights(query, memory)
        if self.training:
            chosen = torch.multinomial(soft.detach().flatten(0, 1), 1).view(*soft.shape[:2], 1)
        else:
            chosen = soft.argmax(2, keepdim=True)
        one = torch.zeros_like(soft).scatter(2, chosen, 1.0)
        weights = one + (soft - soft.detach())  # the bracket is exactly 0
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


class TemporalAttention(GlobalAttention):
    """Paulus et al. 2018, section 2.1, intra-temporal attention: what a position has had before counts against it.

    a_t = softmax_s(e_{t,s} - log sum_{r<t} exp(e_{r,s})),   e_{t,s} = score(q_t, h_s)   (eqs. 2 to 4)

    At the first target position nothing is taken off.

    The paper's score is ``general``.  Its attention of the decoder to what it has written is model.intra_attention.
    The paper could not be read in full here: the formula is from memory.
    """

    def start(self, values: Tensor) -> dict[str, Tensor]:
        B, S, _ = values.shape
        dtype = torch.promote_types(values.dtype, torch.float32)
        return {"log_sum": values.new_full((B, 1, S), float("-inf"), dtype=dtype)}  # log sum_{r<t} exp(e_r)

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.carried is not None
        before = memory.carried["log_sum"]
        scores = self.score.over_all(query, memory).to(before.dtype)
        penalty = before.masked_fill(before.isneginf(), 0.0)  # none at the first target position
        weights = masked_weights(scores - penalty, memory.padding, self.normalizer)
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, carried={"log_sum": torch.logaddexp(before, scores)})
