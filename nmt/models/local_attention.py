"""Mechanisms that look through a window of 2D+1 source positions: local_m and local_p."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention_config import LocalMConfig, LocalPConfig, Sigma
from nmt.models.attention_door import Attended, Attention, Memory, masked_softmax, spread
from nmt.models.memory_table import Window
from nmt.models.scores import ConcatScore, LocationScore, ProductScore, build_score

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
    and ``gathers_keys`` say when.
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
        if isinstance(self.score, ProductScore):
            few = queries is not None and queries <= at_once and queries < values.size(1)
            return None if few or self.gathers(values, at_once) else self.score.keys(values)
        if isinstance(self.score, ConcatScore) and (queries is None or queries * len(self.offsets) >= values.size(1)):
            return self.score.keys(values)
        return None

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        last = memory.lengths[:, None] - 1
        if self.predict is None:
            centre = torch.minimum(position, last).expand(query.shape[:2])
            p = centre.to(torch.promote_types(query.dtype, torch.float32))
        else:
            p = self.predict(query, memory)
            centre = torch.minimum(p.detach().long(), last)  # p > 0, so that long is floor
        s = centre[..., None] + self.offsets  # (B, N, W)
        real = torch.minimum(s.clamp(min=0), last[..., None])  # the nearest position that exists
        values = Window(memory.value_table, real) if self.gathers(memory.values, query.size(1)) else None
        scores = self.scores(query, memory, real, values)
        if self.predict is None:
            weights = masked_softmax(scores, s != real)
        else:
            weights = self.predict.weigh(scores, s != real, s - p[..., None])
        if values is None:
            context = memory.value_table.sum(spread(weights, real, memory.values.size(1)))
        else:
            context = values.sum(weights)
        return Attended(context.to(query.dtype), weights, s, p)

    def gathers(self, values: Tensor, queries: int) -> bool:
        """Whether windows are gathered from values (B, S, M) for so many queries a sentence: the cheaper way."""
        if self.forced is not None:
            return self.forced
        a, b, e = COST[torch.is_grad_enabled(), values.dtype.itemsize == 2]
        return values.size(1) * (1 + e * queries) > a + b * queries * len(self.offsets)

    def gathers_keys(self, source_length: int) -> bool:
        """The same for the additive score, whose cost is in its tanh: of W rows a query, or of S."""
        return source_length > 2 * len(self.offsets) if self.forced is None else self.forced

    def scores(self, query: Tensor, memory: Memory, s: Tensor, values: Window | None) -> Tensor:
        """(B, N, W); ``values`` are those at s, where they are gathered."""
        score = self.score
        if isinstance(score, LocationScore):
            return score.rows(query)
        has_keys = memory.key_table is not memory.value_table
        if isinstance(score, ProductScore):
            if has_keys:
                return score(query, memory).gather(2, s)
            projected = score.projected(query)
            return memory.value_table.scores(projected).gather(2, s) if values is None else values.scores(projected)
        if score.key is not None and not has_keys:
            return score.rows(query, score.key(Window(memory.value_table, s).rows()))
        if self.gathers_keys(memory.keys.size(1)):
            return score.rows(query, Window(memory.key_table, s).rows())
        return score(query, memory).gather(2, s)


class CentrePredictor(nn.Module):
    """p = S sigmoid(v . tanh(W_p q)) and the Gaussian around it (Luong et al. 2015, eqs. 9 and 10)."""

    def __init__(self, config: LocalPConfig, query_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(query_size, config.hidden_size, bias=False)
        self.energy = nn.Linear(config.hidden_size, 1, bias=False)
        self.renormalize = config.renormalize
        self.sigma = config.half_width / 2
        learned = config.sigma is Sigma.learned
        self.log_sigma = nn.Parameter(torch.tensor(math.log(self.sigma))) if learned else None

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """p (B, N), in float32 or wider whatever autocast says: bf16 would put position 257 at 256."""
        wide = torch.promote_types(query.dtype, torch.float32)
        with torch.autocast(query.device.type, enabled=False):
            hidden = F.linear(query.to(wide), self.hidden.weight.to(wide)).tanh()
            return memory.lengths[:, None] * (hidden @ self.energy.weight[0].to(wide)).sigmoid()

    def weigh(self, scores: Tensor, outside: Tensor, distance: Tensor) -> Tensor:
        """Weights (B, N, W) from the scores and s - p."""
        sigma = self.sigma if self.log_sigma is None else self.log_sigma.to(distance.dtype).exp()
        gauss = torch.exp(distance.square() * (-0.5 / sigma**2))
        if self.renormalize:
            return masked_softmax(scores * gauss, outside)
        return masked_softmax(scores, outside) * gauss
