"""Mechanisms that look through a window of 2D+1 source positions: local_m and local_p."""

import math

import torch
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, QueryMap, masked_softmax
from nmt.models.attention.config import LocalMConfig, LocalPConfig, Sigma
from nmt.models.attention.scores import ConcatScore, LocationScore, ProductScore, build_score
from nmt.models.ops.recurrent_linear import StepLinear
from nmt.models.ops.rows import Window

# What the two ways of local attention cost, in units of reading one source row for nothing: reading all S rows
# for N queries costs S (1 + e N), gathering N windows of W rows a + b N W.  a, b and e by whether gradients are
# wanted and whether the rows have two bytes; measured with benchmarks/attention.py on one CPU thread at B=32,
# M=512, for N from 1 to 50 and W from 3 to 101.
COST = {
    (False, False): (30, 1.3, 0.03),
    (True, False): (60, 1.3, 0.03),
    (False, True): (33, 1.8, 0.02),
    (True, True): (70, 2.3, 0.02),
}


class LocalAttention(Attention):
    """Luong et al. 2015, section 3.2: attend to the centre and D positions on either side.

    local_m   centre min(t, S-1)                                a = softmax over the window
    local_p   p = S sigmoid(v . tanh(W_p q)), centre floor(p)   a = the same times exp(-(s - p)^2 / (2 sigma^2))

    S counts source words and sigma is D/2 or, with sigma=learned, one parameter that starts there.  The
    Gaussian keeps the real p, is not renormalized, and is the only gradient path to W_p and v.  With
    ``renormalize`` the scores are multiplied by the Gaussian before the softmax, so that rows sum to 1:
    Luong's normLocalAttn, "new approach for local attention after EMNLP'15" (nmt.hybrid, attnLayerForward.m).

    Two ways to the same numbers: read all S positions, or gather the 2D+1 inside each window; ``gathers``
    says when.
    """

    offsets: Tensor
    forced: bool | None = None  # gather always or never, whatever the rule says: for tests and measurements

    def __init__(self, config: LocalMConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.half_width = config.half_width
        self.score = build_score(config, query_size, memory_size, 2 * config.half_width + 1)
        self.predict = CentrePredictor(config, query_size) if isinstance(config, LocalPConfig) else None
        offsets = torch.arange(-config.half_width, config.half_width + 1)
        self.register_buffer("offsets", offsets, persistent=False)

    def keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        """Keys of general where all are read anyway, unless projecting the one set of queries is fewer rows; those of
        concat unless projecting windows is."""
        gathers = self.gathers(values, at_once)
        if isinstance(self.score, ProductScore):
            few = queries is not None and queries <= at_once and queries < values.size(1)
            return None if few or gathers else self.score.keys(values)
        if isinstance(self.score, ConcatScore):
            few = queries is not None and queries * len(self.offsets) < values.size(1)
            return None if few and gathers else self.score.keys(values)
        return None

    def query_maps(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryMap | None, QueryMap | None]:
        return self.score.of_query(dtype, keyed), None if self.predict is None else self.predict.once_a_batch()

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        last = memory.lengths[:, None] - 1
        if self.predict is None:
            centre = torch.minimum(position, last).expand(query.shape[:2])
            p = centre.to(torch.promote_types(query.dtype, torch.float32))
        else:
            p = self.predict(query, memory)
            centre = torch.minimum(p.detach().long(), last)  # p > 0, so that long is floor
        around = (query, memory, centre[..., None], p[..., None])
        context, weights, s = (self.windows if self.gathers(memory.values, query.size(1)) else self.everywhere)(*around)
        return Attended(context.to(query.dtype), weights, s, p)

    def everywhere(self, query: Tensor, memory: Memory, centre: Tensor, p: Tensor) -> tuple[Tensor, Tensor, None]:
        """Read all S positions: context (B, N, M) and weights (B, N, S)."""
        s = torch.arange(memory.values.size(1), device=query.device)
        offset = s - centre
        outside = (offset.abs() > self.half_width).logical_or_(memory.padding)
        if isinstance(self.score, LocationScore):
            rows = (offset + self.half_width).clamp_(0, len(self.offsets) - 1)
            scores = memory.of_query(query).gather(2, rows)
        else:
            scores = self.score(query, memory)
        weights = self.weigh(scores, outside, s, p)
        return memory.value_table.sum(weights), weights, None

    def windows(self, query: Tensor, memory: Memory, centre: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gather 2D+1 positions a query: context (B, N, M), weights (B, N, W) and their positions."""
        s = centre + self.offsets
        real = torch.minimum(s.clamp(min=0), memory.lengths[:, None, None] - 1)  # the nearest position that exists
        window = Window(memory.value_table, real)
        weights = self.weigh(self.window_scores(memory.of_query(query), memory, real, window), s != real, s, p)
        return window.sum(weights), weights, s

    def window_scores(self, query: Tensor, memory: Memory, s: Tensor, window: Window) -> Tensor:
        """(B, N, W) of what is scored in the queries' place, against the keys at s, whose values the window has."""
        score, keyed = self.score, memory.key_table is not memory.value_table
        if isinstance(score, LocationScore):
            return query
        keys = Window(memory.key_table, s) if keyed else window
        if isinstance(score, ProductScore):
            return keys.scores(query)
        rows = keys.rows()
        return score.rows(query, rows if keyed or score.key is None else score.key(rows))

    def weigh(self, scores: Tensor, outside: Tensor, s: Tensor, p: Tensor) -> Tensor:
        """Weights (B, N, R) from the scores at the positions s (R,) or (B, N, R), around p (B, N, 1)."""
        return masked_softmax(scores, outside) if self.predict is None else self.predict.weigh(scores, outside, s - p)

    def gathers(self, values: Tensor, queries: int) -> bool:
        """Whether windows are gathered from values (B, S, M) for so many queries a sentence: the cheaper way."""
        if self.forced is not None:
            return self.forced
        S, W = values.size(1), len(self.offsets)
        if isinstance(self.score, ConcatScore):
            return S > 2 * W  # the cost is in the tanh, of W rows a query or of S
        a, b, e = COST[torch.is_grad_enabled(), values.dtype.itemsize == 2]
        return S * (1 + e * queries) > a + b * queries * W


class CentrePredictor(nn.Module):
    """p = S sigmoid(v . tanh(W_p q)) and the Gaussian around it (Luong et al. 2015, eqs. 9 and 10)."""

    def __init__(self, config: LocalPConfig, query_size: int) -> None:
        super().__init__()
        self.hidden = StepLinear(query_size, config.hidden_size)
        self.energy = nn.Linear(config.hidden_size, 1, bias=False)
        self.renormalize = config.renormalize
        self.sigma = config.half_width / 2
        learned = config.sigma is Sigma.learned
        self.log_sigma = nn.Parameter(torch.tensor(math.log(self.sigma))) if learned else None

    def once_a_batch(self) -> QueryMap:
        """W_p, in float32 or wider whatever autocast says: bf16 would put position 257 at 256."""
        return self.hidden.once_a_batch(torch.promote_types(self.hidden.weight.dtype, torch.float32))

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """p (B, N), in the dtype of W_p."""
        assert memory.centre_map is not None
        with torch.autocast(query.device.type, enabled=False):
            hidden = memory.centre_map(query).tanh()
            return memory.lengths[:, None] * (hidden @ self.energy.weight[0].to(hidden.dtype)).sigmoid()

    def weigh(self, scores: Tensor, outside: Tensor, distance: Tensor) -> Tensor:
        """Weights (B, N, R) from the scores and s - p."""
        sigma = self.sigma if self.log_sigma is None else self.log_sigma.to(distance.dtype).exp()
        gauss = torch.exp(distance.square() * (-0.5 / sigma**2))
        if self.renormalize:
            return masked_softmax(scores * gauss, outside)
        return masked_softmax(scores, outside) * gauss
