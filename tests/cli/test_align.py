"""Why nmt.eval.align has no key that says how an ensemble decodes: its attention is the same either way."""

import torch
from tiny_runs import MODELS

from nmt.batch import collate
from nmt.models import build_model
from nmt.search import Average, Ensemble


def test_attention_of_an_ensemble_does_not_depend_on_how_probabilities_are_averaged():
    torch.manual_seed(1)
    members = [build_model(config, 20, 20, joint=False).eval() for config in MODELS.values()]
    batch = collate([[5, 6, 7], [8, 9]], [[10, 11], [12, 13, 14]], [0, 1])
    with torch.no_grad():
        outputs = [Ensemble(members, average).eval()(batch, want_maps=True) for average in Average]
    assert outputs[0].maps is not None
    assert torch.equal(outputs[0].maps.weights, outputs[1].maps.weights)
    assert not torch.equal(outputs[0].nll, outputs[1].nll), "the models must differ for this to mean anything"
