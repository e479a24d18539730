"""Minimum Bayes risk against the double sum it stands for."""

import numpy as np
import pytest
import sacrebleu
import torch
from table_model import TableModel
from test_beam import SOURCES

from nmt.eval.metrics import sentence_utility
from nmt.search import DecodeConfig, Method, Reranking, translate_ids
from nmt.search.mbr import expected_utility

UTILITIES = {
    "bleu": lambda h, r: sacrebleu.sentence_bleu(h, [r]).score,
    "chrf": lambda h, r: sacrebleu.sentence_chrf(h, [r]).score,
    "chrfpp": lambda h, r: sacrebleu.sentence_chrf(h, [r], word_order=2).score,
    "ter": lambda h, r: -sacrebleu.sentence_ter(h, [r]).score,
}
CPU = torch.device("cpu")
TEXTS = ["a b c d e", "a b c d", "a b x d e", "q", "a b c d e", "c b a"]


def detokenize(rows):
    return [" ".join(f"word{i}" for i in row) for row in rows]


@pytest.mark.parametrize("name", UTILITIES)
def test_expected_utility_is_the_double_sum(name):
    """Every candidate against every candidate, equal ones included, with sacrebleu's own sentence scores."""
    weights = np.random.default_rng(0).dirichlet(np.ones(len(TEXTS))).tolist()
    slow = [sum(w * UTILITIES[name](h, r) for r, w in zip(TEXTS, weights, strict=True)) for h in TEXTS]
    assert expected_utility(TEXTS, weights, sentence_utility(name)) == pytest.approx(slow)


@pytest.mark.parametrize("method", [Method.beam, Method.sample], ids=lambda m: m.name)
def test_the_best_of_all_candidates_wins(method):
    """Draws weigh the same and beam hypotheses by probability; the list is sorted and holds nothing twice."""
    model = TableModel(end=-1.0)
    config = DecodeConfig(method=method, beam_size=6, samples=12, n_best=3, mbr="chrf", max_ratio=1.0)
    plain = DecodeConfig(method=method, beam_size=6, samples=12, n_best=config.candidates, max_ratio=1.0)
    chosen = translate_ids(model, SOURCES, config, CPU, reranking=Reranking(detokenize, sentence_utility("chrf")))
    candidates = translate_ids(model, SOURCES, plain, CPU)
    for best, pool in zip(chosen, candidates, strict=True):
        p = np.array([1.0 if method is Method.sample else np.exp(h.log_prob) for h in pool])
        pool_texts = detokenize([h.ids for h in pool])
        gain = {
            tuple(h.ids): sum(w * UTILITIES["chrf"](text, r) for w, r in zip(p / p.sum(), pool_texts, strict=True))
            for h, text in zip(pool, pool_texts, strict=True)
        }
        assert [h.score for h in best] == pytest.approx(sorted(gain.values(), reverse=True)[: len(best)])
        assert [h.score for h in best] == pytest.approx([gain[tuple(h.ids)] for h in best])
        assert len(best) == min(3, len(gain))
