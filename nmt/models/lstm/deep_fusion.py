"""Deep attention fusion: what the source remembers enters the decoder's cell (model.fusion=deep)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.models.attention.base import masked_softmax, real_positions
from nmt.models.ops.additive import additive_scores
from nmt.models.ops.precision import compute_dtype
from nmt.models.ops.recurrent_linear import QueryLinear, QueryProjection
from nmt.models.ops.rows import Rows


class SourceTapes(NamedTuple):
    """The tapes of a batch of sources, and what each step multiplies by; made once a batch."""

    hidden: Rows  # gamma (B, S, H), 0 at padding
    memories: Rows  # alpha (B, S, H) float32 or wider, 0 at padding
    keys: Tensor  # W_g gamma (B, S, H)
    padding: Tensor  # (B, 1, S) True beyond each length
    look: QueryProjection  # W_~
    gate: QueryProjection  # the half of W_r that gamma~ meets

    def keep(self, sentences: Tensor) -> "SourceTapes":
        """Only these sentences (B',) int64 of the batch."""
        keys, padding = (x.index_select(0, sentences) for x in (self.keys, self.padding))
        hidden, memories = self.hidden.keep(sentences), self.memories.keep(sentences)
        return self._replace(hidden=hidden, memories=memories, keys=keys, padding=padding)


class Fused(NamedTuple):
    """What a step of the decoder needs of the fusion."""

    tapes: SourceTapes
    term: Tensor  # (R, 2H), see ``DeepFusion.terms``
    summary: Tensor  # gamma~_{t-1} (R, H)


class DeepFusion(nn.Module):
    """The source's hidden tape gamma and memory tape alpha, read by the first layer of the decoder.

    b_{t,j} = u . tanh(W_g gamma_j + W_x x_t + W_~ gamma~_{t-1}),   p_t = softmax_j(b_t)    (eqs. 11 and 12)
    [gamma~_t; alpha~_t] = sum_j p_{t,j} [gamma_j; alpha_j]                                 (eq. 13)
    r_t = sigmoid(W_r [gamma~_t; x_t] + b)                                                  (eq. 14)
    c_t = r_t alpha~_t + f_t c_{t-1} + i_t c^_t                                             (eq. 15)

    (Cheng, Dong and Lapata 2016, section 3.3), x_t the word y_{t-1} and c^_t the candidate of the LSTM's cell; at the
    first position gamma~ is 0.  Their decoder is an LSTMN itself, with what it remembers of its own states in the place
    of c_{t-1}; here it is an LSTM.  Attention (``model.attention``) stays beside it; with ``none`` this is all that the
    decoder sees of the source but its first state.  The paper could not be read here: the formulas, and the numbers of
    equations, are from memory.

    Shape letters: B sentences, S source positions, R = B K rows of K hypotheses a sentence, E word features, H units.
    """

    def __init__(self, embedding_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)  # W_g
        self.word = nn.Linear(embedding_size, 2 * hidden_size, bias)  # W_x, and the half of W_r that x_t meets
        self.look, self.gate = (QueryLinear(hidden_size, hidden_size) for _ in range(2))
        self.energy = nn.Linear(hidden_size, 1, bias=False)  # u

    def prepare(self, hidden: Tensor, memories: Tensor, lengths: Tensor) -> SourceTapes:
        """The tapes (S, B, H) of an encoder, with lengths (B,), for all steps of a batch."""
        dtype = compute_dtype(hidden)
        padding = ~real_positions(lengths, hidden.size(0))  # (B, S)
        gamma, alpha = (x.transpose(0, 1).masked_fill(padding[..., None], 0.0) for x in (hidden, memories))
        gamma = gamma.to(dtype)
        look, gate = self.look.for_batch(dtype), self.gate.for_batch(dtype)
        return SourceTapes(Rows(gamma), Rows(alpha), self.key(gamma).to(dtype), padding[:, None], look, gate)

    def terms(self, words: Tensor) -> Tensor:
        """What does not wait for the step before, of words (..., E): (..., 2H)."""
        return self.word(words)

    def step(self, fused: Fused) -> tuple[Tensor, Tensor]:
        """r_t alpha~_t (R, H), float32 or wider, and gamma~_t (R, H)."""
        tapes, (of_score, of_gate) = fused.tapes, fused.term.chunk(2, 1)
        B = tapes.keys.size(0)
        query = (of_score + tapes.look(fused.summary)).view(B, -1, tapes.keys.size(2))
        weights = masked_softmax(
            additive_scores(query, tapes.keys[:, None], self.energy.weight.flatten()), tapes.padding
        )
        summary = tapes.hidden.weighted_sum(weights).flatten(0, 1)
        memory = tapes.memories.weighted_sum(weights).flatten(0, 1)
        gate = (of_gate + tapes.gate(summary)).to(torch.promote_types(memory.dtype, torch.float32)).sigmoid()
        return gate * memory, summary
