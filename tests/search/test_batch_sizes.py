"""In fp32 a translation does not depend on what else is in the batch."""

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run

from nmt.device import Precision
from nmt.runs.directory import Run
from nmt.search import DecodeConfig, translate_ids


@pytest.mark.parametrize("name", MODELS)
def test_fp32_translations_do_not_depend_on_the_batch(name, tmp_path):
    """Of random weights, whose distributions are flat: near ties are frequent."""
    run = Run.open(make_run(tmp_path / "run", MODELS[name]))
    model, _ = run.load_model("best", torch.device("cpu"))
    draw = np.random.default_rng(0)
    sources = [draw.integers(4, run.tokenizers.source.size, draw.integers(1, 9)).tolist() for _ in range(40)]

    def translated(size: int) -> list[list[list[int]]]:
        config = DecodeConfig(batch_size=size, beam_size=3, max_length=8)
        found = translate_ids(model, sources, config, torch.device("cpu"), Precision.fp32)
        return [[list(hypothesis.ids) for hypothesis in hypotheses] for hypotheses in found]

    assert translated(1) == translated(7) == translated(64)
