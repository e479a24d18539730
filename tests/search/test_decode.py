"""Many sentences at once, and what a model says of given ones."""

import pytest
import torch
from table_model import TableModel, reference_score
from test_beam import PENALTIES, SOURCES, assert_same, maps_of, run

from nmt.device import Precision
from nmt.search import DecodeConfig, Method, score_ids, translate_ids

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "config",
    [DecodeConfig(batch_size=3), DecodeConfig(method=Method.sample, samples=3, batch_size=2)],
    ids=["beam", "sample"],
)
def test_translate_keeps_the_order(config):
    """Whatever the batch and however the corpus is cut into pieces, line i is the translation of line i."""
    model = TableModel(end=-1.0).train()
    seen = []
    whole = translate_ids(model, SOURCES, config, CPU, Precision.fp32, progress=seen.append)
    assert sum(seen) == len(SOURCES)
    assert model.training
    for i, source in enumerate(SOURCES):
        assert_same(run(model, [source], config, numbers=[i]), [whole[i]])
    pieces = [
        *translate_ids(model, SOURCES[:2], config, CPU, Precision.fp32),
        *translate_ids(model, SOURCES[2:], config, CPU, Precision.fp32, first=2),
    ]
    assert_same(pieces, whole)


def test_empty_input():
    """No sentences give no translations, an empty sentence gives one."""
    assert translate_ids(TableModel(), [], DecodeConfig(), CPU) == []
    assert len(translate_ids(TableModel(), [[], [4]], DecodeConfig(), CPU)[0]) == 1


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("source_eos", [False, True])
def test_scores_of_given_targets_are_those_of_search(penalty, source_eos):
    """Forced decoding of what search found gives the same scores and maps; token scores are the model's."""
    model = TableModel(seed=7, source_eos=source_eos)
    config = DecodeConfig(beam_size=4, n_best=4, batch_size=3, **penalty)
    found = translate_ids(model, SOURCES, config, CPU, want_maps=True)
    targets = [[h.ids for h in hypotheses][: 1 + i % 4] for i, hypotheses in enumerate(found)]
    scored = score_ids(model, SOURCES, targets, config, CPU, want_maps=True)
    for source, hypotheses, rows, given in zip(SOURCES, found, scored, targets, strict=True):
        assert len(rows) == len(given)
        for h, s in zip(hypotheses, rows, strict=False):
            assert s.score == pytest.approx(h.score, abs=1e-10)
            assert s.log_prob == pytest.approx(h.log_prob, abs=1e-10)
            assert s.score == pytest.approx(reference_score(model, source, h.ids, config), abs=1e-10)
            assert s.tokens == pytest.approx(
                [model.next_log_probs(source, h.ids[:t])[i] for t, i in enumerate([*h.ids, 3])], abs=1e-10
            )
            assert all(map(torch.equal, maps_of(s), maps_of(h)))


def test_minimum_bayes_risk_needs_text():
    """Utilities compare texts, so ids alone are refused."""
    with pytest.raises(ValueError, match="detokenize"):
        translate_ids(TableModel(), SOURCES, DecodeConfig(mbr="chrf"), CPU)
