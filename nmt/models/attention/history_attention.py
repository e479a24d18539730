"""Mechanisms whose additive score also sees where they attended before: coverage, location_aware, structural.

With f_{t,s} features of source position s that are made of the weights of the target positions before t,

    a_t = softmax_s(v . tanh(W q + U h_s + V f_{t,s}))

The gradient of a_t reaches the weights before it through f.  Positions t and s are counted from 0, S is the number of
source positions, and the weights before the first target position are 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory, masked_weights
from nmt.models.attention.config import CoverageConfig, HistoryConfig, LocationAwareConfig, StructuralConfig
from nmt.models.attention.global_attention import GlobalAttention
from nmt.models.attention.normalizers import NORMALIZERS
from nmt.models.attention.scores import AdditiveScore


class HistoryAttention(GlobalAttention):
    """Base of these mechanisms, which differ in f.

    What is carried from one target position to the next, (B, N, S) each:

    previous     a_{t-1}
    cumulated    sum_{r<t} a_r
    """

    def __init__(self, config: HistoryConfig, query_size: int, memory_size: int, features: int) -> None:
        """``features`` X of each position."""
        Attention.__init__(self)
        self.normalizer = NORMALIZERS[config.normalizer]
        self.score = AdditiveScore(query_size, memory_size, config.hidden_size)
        self.features = nn.Linear(features, config.hidden_size, bias=False)

    def start(self, values: Tensor) -> dict[str, Tensor]:
        B, S, _ = values.shape
        nowhere = values.new_zeros(B, 1, S, dtype=torch.promote_types(values.dtype, torch.float32))
        return {"previous": nowhere, "cumulated": nowhere}

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.carried is not None
        V_f = self.features(self.features_of(memory, position))  # (B, N or 1, S, K)
        query_term = self.score.project_query(query, memory)
        rows = memory.keys[:, None] + V_f.to(memory.keys.dtype)
        weights = masked_weights(self.score(query_term, rows), memory.padding, self.normalizer)
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, carried=self.next(memory, weights))

    def features_of(self, memory: Memory, position: Tensor) -> Tensor:
        """f: (B, N, S, X), or with 1 in the place of N where all queries have the same."""
        raise NotImplementedError

    def next(self, memory: Memory, weights: Tensor) -> dict[str, Tensor]:
        """What is carried on, with these weights (B, N, S) of the present target position."""
        assert memory.carried is not None
        return {"previous": weights, "cumulated": memory.carried["cumulated"] + weights}


class CoverageAttention(HistoryAttention):
    """f_{t,s} = C_{t,s} = sum_{r<t} a_{r,s}: how much of a word has been read   (See et al. 2017, eqs. 10 and 11)

    With ``max_fertility`` N it is C_{t,s} = sum_{r<t} a_{r,s} / Phi_s, where Phi_s = N sigmoid(u . h_s) in (0, N) is
    how many target words the source word s makes: the linguistic coverage of Tu et al. 2016, section 3.1.2.

    The query is the state after the step, as in See et al.; it is the one before it in Tu et al.  Their coverage of
    more than one number a word, updated by a GRU, is not built.  ``trainer.coverage_loss`` is the loss of See et al.,
    eq. 12.  Neither paper could be read in full here: equations are as others report them, and their numbers are from
    memory.
    """

    def __init__(self, config: CoverageConfig, query_size: int, memory_size: int) -> None:
        super().__init__(config, query_size, memory_size, 1)
        self.most = config.max_fertility
        self.fertility = None if self.most is None else nn.Linear(memory_size, 1, bias=False)

    def features_of(self, memory: Memory, position: Tensor) -> Tensor:
        assert memory.carried is not None
        coverage = memory.carried["cumulated"]
        if self.fertility is not None and self.most is not None:
            u = self.fertility.weight.expand(coverage.size(0), 1, -1)
            Phi = self.most * memory.value_rows.scores(u).to(coverage.dtype).sigmoid()  # (B, 1, S)
            coverage = coverage / Phi
        return coverage[..., None]


class LocationAwareAttention(HistoryAttention):
    """f_{t,s} = F * a_{t-1}, around s: filters over the previous weights   (Chorowski et al. 2015, eqs. 8 and 9)

    F has ``filters`` rows of 2 ``filter_reach`` + 1 numbers each.  The query is the state before the step.  The
    paper's bias inside the tanh and its sharpening and smoothing of weights are left out.  The paper could not be read
    in full here: the formula is as others report it, the numbers of equations are from memory.
    """

    def __init__(self, config: LocationAwareConfig, query_size: int, memory_size: int) -> None:
        super().__init__(config, query_size, memory_size, config.filters)
        self.reach = config.filter_reach
        self.filters = nn.Linear(2 * self.reach + 1, config.filters, bias=False)

    def features_of(self, memory: Memory, position: Tensor) -> Tensor:
        assert memory.carried is not None
        return self.filters(around(memory.carried["previous"], self.reach))


class StructuralAttention(HistoryAttention):
    """What word alignment models know, as features of a position   (Cohn et al. 2016, section 3)

    position    log(1 + t), log(1 + s), log(1 + S), t and s here counted from 1   (section 3.1)
    markov      a_{t-1} of the positions s-k to s+k                               (section 3.2)
    fertility   sum_{r<t} a_r of the positions s-k to s+k: local fertility        (section 3.3)

    k is ``neighbours``.  The query is the state before the step.  The paper's global fertility, a term of the loss,
    is not built; its agreement of two directions is trainer.agreement.  The paper could not be read here: the formulas
    are from memory, checked against a summary of it, and whether it counts from 0 or from 1 is this project's choice.
    """

    def __init__(self, config: StructuralConfig, query_size: int, memory_size: int) -> None:
        window = 2 * config.neighbours + 1
        features = 3 * config.position + window * config.markov + window * config.fertility
        super().__init__(config, query_size, memory_size, features)
        self.reach = config.neighbours
        self.position, self.markov, self.fertility = config.position, config.markov, config.fertility

    def features_of(self, memory: Memory, position: Tensor) -> Tensor:
        assert memory.carried is not None
        previous, cumulated = memory.carried["previous"], memory.carried["cumulated"]
        found = []
        if self.position:
            s = torch.arange(memory.keys.size(1), device=position.device)
            t, S = position.expand(len(memory.lengths), -1), memory.lengths
            counts = torch.broadcast_tensors(t[:, :, None] + 1, s + 1, S[:, None, None])
            found.append(torch.stack(counts, 3).to(previous.dtype).log1p())
        if self.markov:
            found.append(around(previous, self.reach))
        if self.fertility:
            found.append(around(cumulated, self.reach))
        shape = torch.broadcast_shapes(*(x.shape[:3] for x in found))
        return torch.cat([x.expand(*shape, -1) for x in found], 3)


def around(weights: Tensor, reach: int) -> Tensor:
    """weights (B, N, S) -> (B, N, S, 2 reach + 1), those of the positions s - reach to s + reach, 0 beyond the ends."""
    return F.pad(weights, (reach, reach)).unfold(2, 2 * reach + 1, 1)
