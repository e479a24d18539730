"""Monotonic hard attention, and MoChA, which looks at a chunk that ends where it stops."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, masked_softmax
from nmt.models.attention.config import MonotonicConfig
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection
from nmt.models.ops.rows import RowWindow

STRIDE = 8  # positions that a walk asks at a time; fewer operations are better than few positions
# Positions from which walking is faster than scoring all: at 25, 100, 400 and 1,600 a step of five hypotheses takes
# 0.49 ms walking, and 0.34, 0.43, 0.91 and 3.1 ms scoring all (benchmarks/monotonic.py, AVX-512, one thread).
WALKED_FROM = 128


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

    The query is the state before the step.  The biases inside both tanh are left out.  The papers could not be read in
    full here: the formulas and the numbers of equations are from memory.

    Where no gradient is wanted, on a CPU, positions of longer sources are scored as the walk comes to them, ``STRIDE``
    at a time, so that a translation of T words costs S + T and not S T (Raffel et al. 2017, section 2.3).  A GPU scores
    all at once: it would have to be waited for at each stride.

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
        walks = not (self.training or torch.is_grad_enabled()) and values.device.type == "cpu"
        if walks and S >= WALKED_FROM:
            return {"place": torch.zeros(B, 1, dtype=torch.int64)}
        nowhere = values.new_zeros(B, 1, S, dtype=torch.promote_types(values.dtype, torch.float32))
        return {"stopped": nowhere.index_fill(2, torch.zeros(1, dtype=torch.int64, device=values.device), 1.0)}

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.carried is not None
        assert memory.query_projection is not None
        queries = memory.query_projection(query).split(self.width, 2)
        if "place" in memory.carried:
            return self.walk(queries, memory, memory.carried["place"], query.dtype)
        before = memory.carried["stopped"]
        keys = memory.keys[:, None].split(self.width, 3)
        e = self.energies(queries[0], keys[0]).to(before.dtype)
        stopped = self.stops(e.masked_fill(memory.padding, torch.finfo(e.dtype).min), before)
        weights = stopped
        if self.chunk > 1:
            u = additive_scores(queries[1], keys[1], self.energy.weight[1]).to(before.dtype)
            weights = over_chunks(stopped, u.masked_fill(memory.padding, torch.finfo(u.dtype).min), self.chunk)
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, carried={"stopped": stopped})

    def energies(self, query: Tensor, keys: Tensor) -> Tensor:
        """e without noise, of queries W q (B, N, F) and keys U h (B, 1 or N, R, F): (B, N, R)"""
        return self.gain * additive_scores(query, keys, F.normalize(self.energy.weight[0], dim=0)) + self.offset

    def walk(self, queries: tuple[Tensor, ...], memory: Memory, place: Tensor, dtype: torch.dtype) -> Attended:
        """The same as ``stops`` and what follows, of queries W q and W' q (B, N, F) that walk on from (B, N or 1)."""
        S = memory.lengths[:, None]
        place = place.expand(-1, queries[0].size(1))
        stop, walking = S.expand_as(place), place < S  # a walk that has left the sentence stays outside
        while walking.any():
            s = place[..., None] + torch.arange(STRIDE)
            e = self.energies(queries[0], self.keys(memory, s)[0])
            here = e > 0  # a stop beyond the sentence is none, below
            found = here.any(2) & walking
            stop = torch.where(found, place + here.int().argmax(2), stop)
            place = place + STRIDE
            walking = walking & ~found & (place < S)
        s = stop[..., None] - torch.arange(self.chunk - 1, -1, -1)
        outside = (s < 0) | (stop >= S)[..., None]
        weights = (~outside).to(self.gain.dtype)
        if self.chunk > 1:
            u = additive_scores(queries[1], self.keys(memory, s)[1], self.energy.weight[1])
            weights = masked_softmax(u, outside) * weights
        context = RowWindow(memory.value_rows, inside(s, memory)).weighted_sum(weights)
        return Attended(context.to(dtype), weights, inside(s, memory), carried={"place": stop})

    def keys(self, memory: Memory, s: Tensor) -> tuple[Tensor, ...]:
        """U h_s and, with a chunk, U' h_s at positions s (B, N, R): each (B, N, R, F)."""
        return RowWindow(memory.key_rows, inside(s, memory)).gathered().split(self.width, 3)

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


def inside(s: Tensor, memory: Memory) -> Tensor:
    """Positions that are none brought to the nearest that is one."""
    return s.clamp(0, memory.values.size(1) - 1)


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
