"""scripts/screens.py shows runs in a real browser."""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import chromium
from matplotlib.image import imread

import nmt

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="needs Chromium")]
SCRIPT = Path(__file__).parents[2] / "scripts" / "screens.py"


def test_every_page_is_drawn(tmp_path):
    """More than one colour in each picture, and TensorBoard's images hold more than its frame."""
    words = ["data.train_size=100", "data.validation_size=5", "data.test_size=5", "data.tokenizer.vocab_size=400"]
    words += ["model.hidden_size=16", "trainer.max_steps=4", "trainer.validate_every=2", "threads=1", "device=cpu"]
    for seed in (1, 2):
        nmt.train(
            [*words, f"runs={tmp_path}/runs", f"data.cache={tmp_path}/cache", f"seed={seed}", f"name=tiny-{seed}"]
        )
    subprocess.run([sys.executable, SCRIPT, tmp_path / "runs", tmp_path / "out"], check=True)
    pictures = {path.stem: imread(path) for path in (tmp_path / "out").iterdir()}
    assert set(pictures) == {"tensorboard_scalars", "tensorboard_images", "report", "sentence"}
    for name, picture in pictures.items():
        middle = picture[200:800, 340:1240]
        assert middle.std() > 0.05, name
