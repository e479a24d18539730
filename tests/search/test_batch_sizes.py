"""In fp32 and in int8 a translation does not depend on what else is in the batch."""

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.device import Precision, has_int8
from nmt.models.ops import int8
from nmt.runs.directory import Run
from nmt.search import DecodeConfig, translate_ids

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this torch has no FBGEMM for this processor")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", [Precision.fp32, pytest.param(Precision.int8, marks=needs_int8)])
def test_translations_do_not_depend_on_the_batch(name, precision, tmp_path, monkeypatch):
    """Of random weights, whose distributions are flat: near ties are frequent.  In int8 all weights have 8 bits."""
    monkeypatch.setattr(int8, "LEAST_ELEMENTS", 1)
    run = Run.open(make_run(tmp_path / "run", MODELS[name]))
    model, _ = run.load_model("best", torch.device("cpu"))
    draw = np.random.default_rng(0)
    sources = [draw.integers(4, run.tokenizers.source.size, draw.integers(1, 9)).tolist() for _ in range(40)]

    def translated(size: int) -> list[list[list[int]]]:
        config = DecodeConfig(batch_size=size, beam_size=3, max_length=8)
        found = translate_ids(model, sources, config, torch.device("cpu"), precision)
        return [[list(hypothesis.ids) for hypothesis in hypotheses] for hypotheses in found]

    assert translated(1) == translated(7) == translated(64)
