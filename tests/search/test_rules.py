"""Limits, forced beginnings and blocked n-grams, in every kind of search."""

from collections import Counter

import pytest
import torch
from table_model import TableModel, all_sentences, reference_score
from test_beam import SOURCES, run

from nmt.batch import UNK
from nmt.search import DecodeConfig, Method, Stopping

METHODS = [
    {"beam_size": 5, "n_best": 5},
    {"beam_size": 1},
    {"beam_size": 6, "groups": 2},
    {"method": Method.sample, "samples": 5, "n_best": 5},
]
methods = pytest.mark.parametrize("method", METHODS, ids=["beam", "greedy", "groups", "sample"])


@methods
@pytest.mark.parametrize("end", [-9.0, 9.0], ids=["never-ends", "ends-at-once"])
@pytest.mark.parametrize(
    "limits",
    [{"min_length": 3}, {"min_ratio": 0.7}, {"max_ratio": 0.5, "max_extra": 1}, {"max_length": 4, "min_ratio": 1.5}],
    ids="-".join,
)
def test_lengths_stay_within_their_limits(method, limits, end):
    """A model that would end at once is held to the minimum exactly, one that never ends to the maximum."""
    model = TableModel(end=end, sharpness=0.1)
    config = DecodeConfig(**method, **limits)
    for source, hypotheses in zip(SOURCES, run(model, SOURCES, config), strict=True):
        least, most = config.lengths(len(source))
        assert least <= most <= config.max_length
        lengths = [len(h.ids) for h in hypotheses]
        assert all(least <= n <= most for n in lengths)
        assert (least if end > 0 else most) in lengths
        assert all(h.finished == (len(h.ids) < most) for h in hypotheses)
        assert [h.log_prob for h in hypotheses] == pytest.approx([model.log_prob(source, h.ids) for h in hypotheses])


@methods
def test_translations_begin_as_forced(method):
    """Also with a token that is otherwise forbidden, with a prefix over the limit, and with none."""
    model = TableModel()
    prefixes = [[6, 6], [], [UNK, 4], [5] * 7, [], [4], [6]]
    config = DecodeConfig(**method, max_ratio=None, max_length=6)
    for source, prefix, hypotheses in zip(
        SOURCES, prefixes, run(model, SOURCES, config, prefixes=prefixes), strict=True
    ):
        for h in hypotheses:
            assert h.ids[: len(prefix)] == prefix
            assert UNK not in h.ids[len(prefix) :]
            assert h.log_prob == pytest.approx(model.log_prob(source, h.ids))
    free = run(model, SOURCES, config)
    assert [free[i][0].ids for i in (1, 4)] == [
        run(model, SOURCES, config, prefixes=prefixes)[i][0].ids for i in (1, 4)
    ]


def test_forced_beginning_leaves_the_rest_exact():
    """A wide beam finds the n best of the sentences that begin as forced."""
    model = TableModel(seed=6)
    config = DecodeConfig(beam_size=125, n_best=5, max_length=4, max_ratio=None, stopping=Stopping.safe)
    (found,) = run(model, [[2, 4]], config, prefixes=[[5]])
    sentences = [ids for ids in all_sentences(1, 4) if ids[0] == 5]
    best = sorted(sentences, key=lambda ids: -reference_score(model, [2, 4], ids, config))[:5]
    assert [h.ids for h in found] == best


@methods
@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_ngram_twice(method, order):
    """No n-gram of the order in question repeats, although the model would love to."""
    model = TableModel(end=-3.0)
    model.table[..., 4] += 5.0
    most = 3 if order == 1 else 8
    config = DecodeConfig(**method, no_repeat_ngram=order, max_ratio=None, max_length=most)
    free = DecodeConfig(**method, max_ratio=None, max_length=most)

    def repeats(h):
        return max(Counter(tuple(h.ids[i : i + order]) for i in range(len(h.ids) - order + 1)).values(), default=0)

    assert all(repeats(h) <= 1 for hypotheses in run(model, SOURCES, config) for h in hypotheses)
    assert any(repeats(h) > 1 for hypotheses in run(model, SOURCES, free) for h in hypotheses)


def test_blocking_is_exact():
    """A wide beam finds the best of the sentences without repeated words."""
    model = TableModel(seed=9)
    config = DecodeConfig(
        beam_size=125, n_best=5, max_length=4, max_ratio=None, no_repeat_ngram=1, stopping=Stopping.safe
    )
    for source, found in zip(SOURCES, run(model, SOURCES, config), strict=True):
        sentences = [ids for ids in all_sentences(0, 4) if len(set(ids)) == len(ids)]
        best = sorted(sentences, key=lambda ids: -reference_score(model, source, ids, config))[:5]
        assert [h.ids for h in found] == best


@methods
def test_minimum_beyond_what_blocking_allows_repeats(method):
    """Three words, none twice, and a minimum of five: the sentence repeats rather than fail."""
    config = DecodeConfig(**method, no_repeat_ngram=1, min_length=5, max_length=6)
    for hypotheses in run(TableModel(), SOURCES, config):
        assert all(5 <= len(h.ids) <= 6 for h in hypotheses)
        assert all(torch.isfinite(torch.tensor(h.log_prob)) for h in hypotheses)
