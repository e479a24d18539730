"""Mechanisms that look through a window of 2D+1 source positions: local_m and local_p."""

import math

import torch
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, masked_weights
from nmt.models.attention.config import Centre, Gaussian, LocalMConfig, LocalPConfig, Sigma
from nmt.models.attention.normalizers import NORMALIZERS, Normalizer
from nmt.models.attention.scores import build_score
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection
from nmt.models.ops.rows import RowWindow


class LocalAttention(Attention):
    """Luong et al. 2015, section 3.2: attend to the centre and D positions on either side.

    local_m   centre min(t, S-1)                                a = softmax over the window
    local_p   p = S sigmoid(v . tanh(W_p q)), centre floor(p)   a = the same times exp(-(s - p)^2 / (2 sigma^2))

    S counts source words (and end-of-sentence where model.source_eos adds one) and sigma is D/2 or, with
    sigma=learned, one parameter that starts there.  The Gaussian keeps the real p, is not renormalized, and is the
    only gradient path to W_p and v.  With ``renormalize`` the scores are multiplied by the Gaussian before the
    softmax, so that rows sum to 1: Luong's normLocalAttn, "new approach for local attention after EMNLP'15"
    (nmt.hybrid, attnLayerForward.m).  ``model.attention.normalizer`` takes the place of the softmax; the Gaussian comes
    after it or before it as above, so that a position to which sparsemax or entmax15 gives no weight has none.

    Where p is far from the word that matters, Luong's Gaussian leaves next to nothing of the context, and p starts in
    the middle of the sentence for every word.  Three options, which can be combined, do without that:

    gaussian=bias      a = softmax over the window of score - (s - p)^2 / (2 sigma^2)   (Yang et al. 2018, there for
                       self-attention and for all positions): rows sum to 1, and the score can outweigh the distance
    centre=diagonal    p = S sigmoid(logit((t' + 1/2) / S) + v . tanh(W_p q)),  t' = min(t, S-1): with small weights p
                       lies in the middle of position t', and can still reach every other  (of this project)
    sigma_start        a learned sigma that starts wide  (of this project)

    There are two ways to the same numbers, ``attend_in_full`` and ``attend_in_windows``; the cheaper one is taken.
    """

    offsets: Tensor
    always_gather: bool | None = None  # gather windows always or never, whatever is cheaper: for tests and measurements

    def __init__(self, config: LocalMConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.half_width = config.half_width
        self.normalizer = NORMALIZERS[config.normalizer]
        self.score = build_score(config, query_size, memory_size, 2 * config.half_width + 1)
        self.predict = CentrePredictor(config, query_size) if isinstance(config, LocalPConfig) else None
        offsets = torch.arange(-config.half_width, config.half_width + 1)
        self.register_buffer("offsets", offsets, persistent=False)

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor | None:
        width = len(self.offsets) if self.gathers(values, at_once) else None
        return (
            self.score.project_keys(values) if self.score.projects_keys_first(values, queries, at_once, width) else None
        )

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        return self.score.query_projection(dtype, keyed), None if self.predict is None else self.predict.projection()

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        last = memory.lengths[:, None] - 1
        if self.predict is None:
            centre = torch.minimum(position, last).expand(query.shape[:2])
            p = centre.to(torch.promote_types(query.dtype, torch.float32))
        else:
            p = self.predict(query, memory, position)
            centre = torch.minimum(p.detach().long(), last)  # p > 0, so that long is floor
        attend = self.attend_in_windows if self.gathers(memory.values, query.size(1)) else self.attend_in_full
        context, weights, s = attend(query, memory, centre[..., None], p[..., None])
        return Attended(context.to(query.dtype), weights, s, p)

    def attend_in_full(self, query: Tensor, memory: Memory, centre: Tensor, p: Tensor) -> tuple[Tensor, Tensor, None]:
        """Read all S positions: context (B, N, M) and weights (B, N, S)."""
        assert self.half_width is not None
        s = torch.arange(memory.values.size(1), device=query.device)
        offset = s - centre
        outside = (offset.abs() > self.half_width).logical_or_(memory.padding)
        weights = self.attention_weights(self.score.over_all(query, memory, offset), outside, s, p)
        return memory.value_rows.weighted_sum(weights), weights, None

    def attend_in_windows(
        self, query: Tensor, memory: Memory, centre: Tensor, p: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gather 2D+1 positions a query: context (B, N, M), weights (B, N, W) and their positions."""
        s = centre + self.offsets
        real = torch.minimum(s.clamp(min=0), memory.lengths[:, None, None] - 1)  # the nearest position that exists
        window = RowWindow(memory.value_rows, real)
        weights = self.attention_weights(self.score.over_window(query, memory, real, window), s != real, s, p)
        return window.weighted_sum(weights), weights, s

    def gathers(self, values: Tensor, queries: int) -> bool:
        """Whether windows are gathered from values (B, S, M) for so many queries a sentence: the cheaper way."""
        if self.always_gather is not None:
            return self.always_gather
        return self.score.prefers_windows(values, len(self.offsets), queries)

    def attention_weights(self, scores: Tensor, outside: Tensor, s: Tensor, p: Tensor) -> Tensor:
        """Weights (B, N, R) from the scores at the positions s (R,) or (B, N, R), around p (B, N, 1)."""
        if self.predict is None:
            return masked_weights(scores, outside, self.normalizer)
        return self.predict.attention_weights(scores, outside, s - p, self.normalizer)


class CentrePredictor(nn.Module):
    """p = S sigmoid(v . tanh(W_p q)) and the Gaussian around it (Luong et al. 2015, eqs. 9 and 10), or its options."""

    def __init__(self, config: LocalPConfig, query_size: int) -> None:
        super().__init__()
        self.hidden = QueryLinear(query_size, config.hidden_size)
        self.energy = nn.Linear(config.hidden_size, 1, bias=False)
        self.renormalize, self.bias = config.renormalize, config.gaussian is Gaussian.bias
        self.from_diagonal = config.centre is Centre.diagonal
        self.sigma = config.sigma_start or config.half_width / 2
        learned = config.sigma is Sigma.learned
        self.log_sigma = nn.Parameter(torch.tensor(math.log(self.sigma))) if learned else None

    def projection(self) -> QueryProjection:
        """W_p, in float32 or wider whatever autocast says: bf16 would put position 257 at 256."""
        return self.hidden.for_batch(torch.promote_types(self.hidden.weight.dtype, torch.float32))

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Tensor:
        """p (B, N), in the dtype of W_p, for queries of the target positions (N,) or (B, N)."""
        assert memory.centre_projection is not None
        with torch.autocast(query.device.type, enabled=False):
            hidden = memory.centre_projection(query).tanh()
            S, energy = memory.lengths[:, None], hidden @ self.energy.weight.flatten().to(hidden.dtype)
            if self.from_diagonal:
                start = torch.minimum(position, S - 1).to(energy.dtype) + 0.5
                energy = energy + start.log() - (S - start).log()  # logit(start / S)
            return S * energy.sigmoid()

    def attention_weights(self, scores: Tensor, outside: Tensor, distance: Tensor, normalizer: Normalizer) -> Tensor:
        """Weights (B, N, R) from the scores and s - p."""
        sigma = self.sigma if self.log_sigma is None else self.log_sigma.to(distance.dtype).exp()
        log_gauss = distance.square() * (-0.5 / sigma**2)
        if self.bias:
            return masked_weights(scores + log_gauss, outside, normalizer)
        gauss = torch.exp(log_gauss)
        if self.renormalize:
            return masked_weights(scores * gauss, outside, normalizer)
        return masked_weights(scores, outside, normalizer) * gauss
