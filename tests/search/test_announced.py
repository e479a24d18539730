"""Search tells the model how many hypotheses of a sentence it will read at a time."""

import pytest
import torch
from table_model import TableModel
from test_beam import SOURCES

from nmt.search import DecodeConfig, Ensemble, Method, score_ids, translate_ids

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DecodeConfig(beam_size=5), 5),
        (DecodeConfig(beam_size=1), 1),
        (DecodeConfig(method=Method.sample, samples=3), 3),
    ],
)
def test_search_announces_its_hypotheses(config, expected):
    model = TableModel()
    translate_ids(model, SOURCES, config, CPU)
    assert model.announced == expected


def test_scoring_and_ensembles_announce_theirs():
    members = [TableModel(seed=1), TableModel(seed=2)]
    score_ids(Ensemble(members), SOURCES[:2], [[[4], [5]], [[4, 5], [5]]], DecodeConfig(), CPU)
    assert [m.announced for m in members] == [2, 2]
