"""Minimum Bayes risk: of the candidates, the one that is most like the others."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nmt.search.config import DecodeConfig, Method
from nmt.search.hypothesis import Hypothesis


class Reranking(NamedTuple):
    """How minimum Bayes risk compares candidates, which search knows as ids alone: as texts, by a metric."""

    detokenize: Callable[[Sequence[Sequence[int]]], list[str]]  # ids without BOS and EOS -> texts
    # u(hypothesis, reference) of one sentence, the larger the better; nmt.eval.metrics.sentence_utility makes one
    utility: Callable[[str, str], float]


def expected_utility(
    texts: Sequence[str], weights: Sequence[float], utility: Callable[[str, str], float]
) -> list[float]:
    """sum_r w_r u(h, r) for each h: the candidates are their own references, each counted with its weight.

    ``utility`` is u(hypothesis, reference), the larger the better.
    (Kumar and Byrne 2004, section 2.2, over an n-best list; Eikema and Aziz 2020, section 5, over samples.)
    Equal texts are compared once.
    """
    mass: Counter[str] = Counter()
    for text, weight in zip(texts, weights, strict=True):
        mass[text] += weight  # pyright: ignore[reportArgumentType]  # a Counter of floats
    expected = {h: sum(w * utility(h, r) for r, w in mass.items()) for h in mass}
    return [expected[text] for text in texts]


def rerank(candidates: list[Hypothesis], reranking: Reranking, config: DecodeConfig) -> list[Hypothesis]:
    """The n_best candidates of largest expected utility, which becomes their score; each sentence once.

    Draws weigh the same, because probable sentences are drawn more often; beam hypotheses weigh
    P(h) / sum_h' P(h').
    """
    if config.method is Method.sample:
        weights = np.full(len(candidates), 1 / len(candidates))
    else:
        log_prob = np.array([h.log_prob for h in candidates])
        weights = np.exp(log_prob - log_prob.max())
        weights /= weights.sum()
    texts = reranking.detokenize([h.ids for h in candidates])
    expected = expected_utility(texts, weights.tolist(), reranking.utility)
    best: dict[tuple[int, ...], Hypothesis] = {}
    for i in sorted(range(len(candidates)), key=lambda i: -expected[i]):
        best.setdefault(tuple(candidates[i].ids), replace(candidates[i], score=expected[i]))
    return list(best.values())[: config.n_best]
