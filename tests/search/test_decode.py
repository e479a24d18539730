"""Many sentences at once."""

import pytest
import torch
from table_model import TableModel
from test_beam import SOURCES, assert_same, run

from nmt.device import Precision
from nmt.search import DecodeConfig, Ensemble, Method, translate_ids

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


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DecodeConfig(beam_size=5), 5),
        (DecodeConfig(beam_size=1), 1),
        (DecodeConfig(method=Method.sample, samples=3), 3),
    ],
    ids=["beam", "greedy", "sample"],
)
def test_encode_is_told_how_many_hypotheses_will_be_read(config, expected):
    """Also the members of an ensemble."""
    model, members = TableModel(), [TableModel(seed=1), TableModel(seed=2)]
    translate_ids(model, SOURCES, config, CPU)
    translate_ids(Ensemble(members), SOURCES, config, CPU)
    assert [m.hypotheses for m in (model, *members)] == [expected] * 3


def test_minimum_bayes_risk_needs_text():
    """Utilities compare texts, so ids alone are refused."""
    with pytest.raises(ValueError, match="pass reranking"):
        translate_ids(TableModel(), SOURCES, DecodeConfig(mbr="chrf"), CPU)
