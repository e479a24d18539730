"""Draws follow the distribution they claim, and depend on the sentence alone."""

import math
from collections import Counter

import pytest
import torch
from table_model import TableModel, all_sentences, reference_score
from test_beam import SOURCES, assert_same, run

from nmt.batch import EOS
from nmt.search import DecodeConfig, LengthPenalty, Method
from nmt.search.sampling import truncated

TRUNCATIONS = [
    {},
    {"temperature": 0.5},
    {"top_k": 2},
    {"top_p": 0.7},
    {"epsilon": 0.2},
    {"temperature": 2.0, "top_k": 3, "top_p": 0.9, "epsilon": 0.05},
]


def slow_truncated(p, config):
    """The distribution drawn from, token by token: {token: probability}."""

    def normal(weights):
        return {i: w / sum(weights.values()) for i, w in weights.items()}

    kept = normal({i: x ** (1 / config.temperature) for i, x in enumerate(p) if x > 0})
    ranked = sorted(kept, key=lambda i: -kept[i])
    if config.top_k is not None:
        ranked = ranked[: config.top_k]
        kept = normal({i: kept[i] for i in ranked})
    if config.top_p < 1:
        held, ranked = 0.0, iter(ranked)
        nucleus = []
        while held < config.top_p:
            nucleus.append(next(ranked))
            held += kept[nucleus[-1]]
        kept = normal({i: kept[i] for i in nucleus})
    best = max(kept, key=lambda i: kept[i])
    return normal({i: x for i, x in kept.items() if x >= config.epsilon or i == best})


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_truncations_are_their_formulas(truncation):
    """The fast distribution equals the slow one."""
    config = DecodeConfig(method=Method.sample, **truncation)
    logits = 2 * torch.randn(5, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fast = truncated(logits, config).softmax(-1)
    for row, p in zip(fast.flatten(0, 1).tolist(), logits.softmax(-1).flatten(0, 1).tolist(), strict=True):
        slow = slow_truncated(p, config)
        assert row == pytest.approx([slow.get(i, 0.0) for i in range(11)], abs=1e-12)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_frequencies_are_probabilities(truncation):
    """Of 4,000 draws each sentence gets its share, within five standard deviations."""
    model, n, source = TableModel(seed=1), 4000, [3, 4]
    config = DecodeConfig(method=Method.sample, samples=n, n_best=n, max_length=2, max_ratio=None, **truncation)
    (draws,) = run(model, [source], config)
    counts = Counter(tuple(h.ids) for h in draws)

    def legal(prefix):
        p = [math.exp(x) for x in model.next_log_probs(source, prefix)]
        p = [x if i >= EOS and (len(prefix) < 2 or i == EOS) else 0.0 for i, x in enumerate(p)]
        return slow_truncated([x / sum(p) for x in p], config)

    for ids in all_sentences(0, 2):
        p = math.prod(legal(ids[:t]).get(token, 0.0) for t, token in enumerate([*ids, EOS]))
        assert abs(counts[tuple(ids)] - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1e-9
    assert sum(counts.values()) == n


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_draws_do_not_depend_on_the_batch(truncation):
    """The same sentence number and seed give the same draws, alone or together, whatever the limit of the others."""
    model = TableModel(end=-1.0)
    config = DecodeConfig(method=Method.sample, samples=4, n_best=4, **truncation)
    together = run(model, SOURCES, config)
    for i, source in enumerate(SOURCES):
        assert_same(run(model, [source], config, numbers=[i]), [together[i]])


def test_seed_and_number_matter():
    """Another seed, another sentence number: other draws; log-probabilities stay the model's own."""
    model, same = TableModel(end=-1.0), [[3, 4, 5]] * 4
    config = DecodeConfig(method=Method.sample, samples=8, n_best=8, temperature=1.5, top_k=3)
    found = run(model, same, config)
    drawn = [tuple(tuple(h.ids) for h in hypotheses) for hypotheses in found]
    assert len(set(drawn)) == 4
    other = run(model, same, DecodeConfig(method=Method.sample, samples=8, n_best=8, temperature=1.5, top_k=3, seed=2))
    assert drawn != [tuple(tuple(h.ids) for h in hypotheses) for hypotheses in other]
    for h in found[0]:
        assert h.log_prob == pytest.approx(model.log_prob(same[0], h.ids), abs=1e-10)
    assert [h.score for h in found[0]] == sorted((h.score for h in found[0]), reverse=True)


def test_penalties_apply_to_draws():
    """Each draw is scored by the formulas; what the decoder attends to after a draw has ended does not count."""
    model = TableModel(end=-1.0)
    config = DecodeConfig(
        method=Method.sample, samples=6, n_best=6, length_penalty=LengthPenalty.gnmt, length_alpha=0.8, coverage=0.5
    )
    for source, hypotheses in zip(SOURCES, run(model, SOURCES, config), strict=True):
        expected = [reference_score(model, source, h.ids, config) for h in hypotheses]
        assert [h.score for h in hypotheses] == pytest.approx(expected, abs=1e-10)
