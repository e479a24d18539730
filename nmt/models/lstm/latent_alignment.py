"""Latent alignment: attention weights mix predictions instead of contexts (model.mixture=predictions).

With a the attention weights of target position t, divided by their sum, and W_c and W_s those of soft attention,

    p(y_t) = sum_s a_s p(y_t | s),    p(y_t | s) = softmax(W_s h~_{t,s}),    h~_{t,s} = tanh(W_c [h_s; h_t])

(Deng et al. 2018, section 2.1, their "marginal likelihood"; Shankar et al. 2018; Wu et al. 2018).  The position s that
a word comes from is a latent variable, a its prior, and

    p(s | x, y_t) = a_s p(y_t | s) / p(y_t)

its posterior, which has seen the word (Shankar and Sarawagi 2019, eq. 3).  The sum is exact: over all source positions,
or over the 2D+1 of local attention's window, whose number does not grow with the source.  With ``top_k`` it is over the
k positions of greatest weight, whose weights are divided by their sum: the K-max renormalization that Deng et al. 2018
(section 4) use in search, here in training, too.  (Shankar and Sarawagi 2019, eq. 7, leave the sum below 1.)  Luong's
local_p has weights that sum to less than 1; they are divided by their sum as well.

Input feeding and Bahdanau's step read the expected context c_t = sum_s a_s h_s, made as for soft attention, before y_t
is known: so does the program of Deng et al. 2018 (var-attn), and "Prior-Joint" of Shankar and Sarawagi 2019, section 4.
Their other models, which feed the context of the posterior, are not built.  Shankar et al. 2018 and Wu et al. 2018
could not be read in full; the formula is as the other two papers have it.

Shape letters: B sentences, S source positions, T target positions, N queries a sentence, K positions that are mixed,
H units, V words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.attention import Attended
from nmt.models.lstm.config import LSTMConfig
from nmt.models.lstm.decoder import LSTMDecoder
from nmt.models.ops.cross_entropy import CHUNK_LOGITS
from nmt.models.ops.matmul import PrepackedLinear, trained_linear
from nmt.models.ops.mixture import mixed_log_probs
from nmt.models.ops.plain import is_plain


class MixedPositions(NamedTuple):
    """The positions whose predictions are mixed for N queries a sentence."""

    positions: Tensor  # (B, N, K) int64, within the source; those that do not exist have a weight of 0
    weights: Tensor  # (B, N, K) a, float32 or wider, perhaps with another sum than 1

    def dense(self, weights: Tensor, S: int) -> Tensor:
        """Other weights (B, N, K) of these positions, spread over all of the source: (B, N, S)."""
        return weights.new_zeros(*weights.shape[:2], S).scatter_add(2, self.positions, weights)


class LatentAlignment:
    """What a decoder needs to mix predictions.  Has no weights of its own."""

    def __init__(self, config: LSTMConfig, decoder: LSTMDecoder) -> None:
        assert decoder.attention is not None
        assert decoder.readout is not None
        self.readout, self.top_k = decoder.readout, config.mixture_top_k
        width = decoder.attention.half_width
        self.window = None if width is None else 2 * width + 1
        self.dropout = 0.0 if decoder.drops_inputs else config.dropout  # as that of h~ of soft attention

    def source_terms(self, values: Tensor) -> Tensor:
        """The part of W_c [h_s; h_t] that h_s makes; values (B, S, H) -> (B, S, H)."""
        return trained_linear(values, self.readout.weight[:, : self.readout.out_features])

    def query_terms(self, h: Tensor) -> Tensor:
        """The part that h_t makes; h (..., H) -> (..., H)."""
        return trained_linear(h, self.query_weight)

    @property
    def query_weight(self) -> Tensor:
        """(H, H) the half of W_c that h_t meets."""
        return self.readout.weight[:, self.readout.out_features :]

    def positions(self, steps: Sequence[Attended], S: int) -> MixedPositions:
        """Those of the queries of all ``steps`` one after the other, in a batch with S source positions."""
        weights = torch.cat([attended.weights for attended in steps], 1)
        found = [attended.positions for attended in steps if attended.positions is not None]
        if is_plain() and not found:
            return self.positions_of_any_size(weights)
        size = weights.size(2)
        most = min(n for n in (size, self.window, self.top_k) if n is not None)
        positions = torch.cat(found, 1) if found else torch.arange(size, device=weights.device).expand_as(weights)
        if most < size:  # outside of a window that was read with the whole source, weights are 0
            chosen = weights.detach().topk(most, dim=2, sorted=False).indices
            weights, positions = weights.gather(2, chosen), positions.gather(2, chosen)
        return MixedPositions(positions.clamp(0, S - 1), weights)

    def positions_of_any_size(self, weights: Tensor) -> MixedPositions:
        """The same for weights (B, N, S) of all positions without a decision by their number, which a tracer would fix.

        Positions outside of a window stay, with weights of 0; so do some of weight 0 where there are fewer than top_k.
        """
        if self.top_k is None:
            return MixedPositions(torch.arange(weights.size(2), device=weights.device).expand_as(weights), weights)
        kept = F.pad(weights, (0, self.top_k)).topk(self.top_k, dim=2)
        last = torch.as_tensor(weights.size(2) - 1, device=weights.device)
        return MixedPositions(torch.minimum(kept.indices, last), kept.values)

    def log_probs(
        self, query_terms: Tensor, source_terms: Tensor, mixed: MixedPositions, project: PrepackedLinear
    ) -> Tensor:
        """log p(y_t) of search: query_terms (B N, H), source_terms (B, S, H) -> (B N, V), in the dtype of the weights.

        Some rows at a time, so that there are never more logits than training's loss has in a chunk.
        """
        B, S, H = source_terms.shape
        index = mixed.positions + torch.arange(0, B * S, S, device=mixed.positions.device)[:, None, None]
        index, weights = index.flatten(0, 1), mixed.weights.flatten(0, 1)
        parts = [(query_terms, index, weights)]
        if not is_plain():
            some = max(1, CHUNK_LOGITS // (index.size(1) * project.out_features))
            parts = zip(query_terms.split(some), index.split(some), weights.split(some), strict=True)
        found = []
        for q, i, a in parts:
            rows = source_terms.view(B * S, H).index_select(0, i.flatten()).view(*i.shape, H)
            found.append(mixed_log_probs(project((q[:, None] + rows).tanh()).to(a.dtype), a))
        return torch.cat(found)
