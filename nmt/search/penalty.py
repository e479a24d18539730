"""From a log-probability to the score that hypotheses are ranked by.

|Y| counts the target tokens with end-of-sentence, log P(Y|X) is the sum of their log-probabilities.
"""

import torch
from torch import Tensor

from nmt.search.config import DecodeConfig, LengthPenalty

# A source word that nothing attended to (outside every local window) would make a score minus infinity.
LEAST_COVERAGE = 1e-6


def length_score(log_prob: Tensor, length: Tensor | int, config: DecodeConfig) -> Tensor:
    """Score without coverage, for |Y| = ``length`` (broadcast against ``log_prob``).

    none     log P
    average  log P / |Y|
    gnmt     log P / lp, lp = (5 + |Y|)^alpha / 6^alpha   (Wu et al. 2016, section 7, eq. 14)
    reward   log P + alpha |Y|                            (He et al. 2016, word reward; Murray and Chiang 2018, eq. 3)
    """
    if isinstance(length, Tensor):
        length = length.to(log_prob.dtype)
    match config.length_penalty:
        case LengthPenalty.none:
            return log_prob
        case LengthPenalty.average:
            return log_prob / length
        case LengthPenalty.gnmt:
            return log_prob / ((5 + length) / 6) ** config.length_alpha
        case LengthPenalty.reward:
            return log_prob + config.length_alpha * length


def score_bound(log_prob: Tensor, shortest: int, longest: Tensor, config: DecodeConfig) -> Tensor:
    """The most that any continuation of a hypothesis with ``log_prob`` can score, over |Y| in [shortest, longest].

    A continuation's log P is at most ``log_prob``; every score grows with log P, and for a fixed log P <= 0
    each is monotone in |Y|, so its maximum is at an end of the range.  The coverage penalty is never
    positive.
    """
    return torch.maximum(length_score(log_prob, shortest, config), length_score(log_prob, longest, config))


def coverage_penalty(attention: Tensor, real: Tensor, config: DecodeConfig) -> Tensor:
    """beta * sum_i log(min(sum_j p_ij, 1)) over source words i and target tokens j   (Wu et al. 2016, eq. 14).

    attention (B, K, S): sum_j p_ij, where p_ij is the mean weight over layers and heads, end-of-sentence's
    step included; real (B, S): the source words.  Returns (B, K).  Sums below 1e-6 count as 1e-6.
    """
    logs = attention.clamp(LEAST_COVERAGE, 1.0).log()
    return config.coverage * logs.masked_fill(~real[:, None], 0.0).sum(-1)
