"""Monotonic hard attention, and MoChA, which looks at a chunk that ends where it stops."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory
from nmt.models.attention.config import MonotonicConfig
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection


class MonotonicAttention(Attention):
    """Walk on from where the target position before stopped, and stop at s with probability p_{t,s}.

    e_{t,s} = g (v / |v|) . tanh(W q + U h_s) + r,   p_{t,s} = sigmoid(e_{t,s} + noise)
    a_{t,s} = p_{t,s} sum_{k<=s} a_{t-1,k} prod_{k<=l<s} (1 - p_{t,l}),   a_{-1} = (1, 0, 0, ...)

    a_{t,s} is the probability to stop there (Raffel et al. 2017, eqs. 8 to 10 and 16).  Training takes the expectation,
    with normal noise of deviation ``noise`` in e, which drives p to 0 or 1.  ``module.eval()`` stops at the first s
    with e > 0 and looks there alone, with the gradient of the expectation (straight through, as ``hard``; the paper
    has none there).  Where the walk ends without a stop, the weights of this target position and of all later ones are
    0.  r starts at ``offset_start``: 0 here, where papers on speech, whose sources are much longer than their targets,
    start below it.

    With ``chunk`` w > 1 (MoChA, Chiu and Raffel 2018, eqs. 9 to 13) the w positions up to the stop are read:

    b_{t,s} = sum_{s<=k<s+w} a_{t,k} exp(u_{t,s}) / sum_{k-w<l<=k} exp(u_{t,l}),   u_{t,s} = v' . tanh(W' q + U' h_s)

    The query is the state before the step.  The biases inside both tanh are left out.  Search scores all positions at
    once, in a few operations: the papers' linear time over a whole translation is not built.  The papers could not be
    read in full here: the formulas and the numbers of equations are from memory.

    The sum over k is exp(L_s) sum_{k<=s} a_{t-1,k} exp(-L_k), L_s = sum_{l<s} log(1 - p_{t,l}), in logarithms.
    """

    def __init__(self, config: MonotonicConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.noise, self.chunk, self.width = config.noise, config.chunk, config.hidden_size
        parts = 1 if self.chunk == 1 else 2  # W and W' are one matrix, and so are U and U'
        self.query = QueryLinear(query_size, parts * self.width)
        self.key = nn.Linear(memory_size, parts * self.width, bias=False)
        self.energy = nn.Linear(self.width, parts, bias=False)  # v, v'
        self.gain = nn.Parameter(torch.tensor(self.width**-0.5))
        self.offset = nn.Parameter(torch.tensor(config.offset_start))

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor:
        return self.key(values)

    def projections(self, dtype: torch.dtype, keyed: bool) -> tuple[QueryProjection | None, QueryProjection | None]:
        return self.query.for_batch(dtype), None

    def start(self, values: Tensor) -> dict[str, Tensor]:
        B, S, _ = values.shape
        nowhere = values.new_zeros(B, 1, S, dtype=torch.promote_types(values.dtype, torch.float32))
        return {"stopped": nowhere.index_fill(2, torch.zeros(1, dtype=torch.int64, device=values.device), 1.0)}

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.carried is not None
        assert memory.query_projection is not None
        before = memory.carried["stopped"]
        queries = memory.query_projection(query).split(self.width, 2)
        keys = memory.keys[:, None].split(self.width, 3)
        v = F.normalize(self.energy.weight[0], dim=0)
        e = self.gain * additive_scores(queries[0], keys[0], v).to(before.dtype) + self.offset
        stopped = self.stops(e.masked_fill(memory.padding, torch.finfo(e.dtype).min), before)
        weights = stopped
        if self.chunk > 1:
            u = additive_scores(queries[1], keys[1], self.energy.weight[1]).to(before.dtype)
            weights = over_chunks(stopped, u.masked_fill(memory.padding, torch.finfo(u.dtype).min), self.chunk)
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, carried={"stopped": stopped})

    def stops(self, e: Tensor, before: Tensor) -> Tensor:
        """a_t from the energies (B, N, S) and a_{t-1} (B, N or 1, S)."""
        if self.training:
            return expected_stops(e + self.noise * torch.randn_like(e) if self.noise else e, before)
        stops = (e > 0) & (before.detach().cumsum(2) > 0.5)
        first = (stops & (stops.cumsum(2) == 1)).to(before.dtype)
        if not torch.is_grad_enabled():
            return first
        soft = expected_stops(e, before)
        return first + (soft - soft.detach())


def expected_stops(e: Tensor, before: Tensor) -> Tensor:
    """a_t (B, N, S) for p = sigmoid(e) and a_{t-1} (B, N or 1, S)."""
    go_on = F.logsigmoid(-e)
    L = go_on.cumsum(2) - go_on
    arrived = (before.clamp(min=torch.finfo(before.dtype).tiny).log() - L).logcumsumexp(2) + L
    return e.sigmoid() * arrived.exp()


def over_chunks(stopped: Tensor, u: Tensor, width: int) -> Tensor:
    """b_t (B, N, S): each stop's weight spread over the ``width`` positions up to it, by their scores u (B, N, S)."""
    lowest, highest = torch.finfo(u.dtype).min, torch.finfo(u.dtype).max
    total = F.pad(u, (width - 1, 0), value=lowest).unfold(2, width, 1).logsumexp(3)
    stops = F.pad(stopped, (0, width - 1)).unfold(2, width, 1)  # (B, N, S, w): of the positions k = s ... s + w - 1
    totals = F.pad(total, (0, width - 1), value=highest).unfold(2, width, 1)
    return (stops * (u[..., None] - totals).exp()).sum(3)
