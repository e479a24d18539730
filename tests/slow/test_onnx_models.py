"""Every model of the table of cases in ONNX."""

import pytest
from model_cases import NAMES, PAIRS, build
from onnx_engines import compare_with_torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


# Attention that knows of the steps before is refused: tests/export/test_onnx.py.
CARRYING = ("coverage", "location_aware", "structural", "temporal", "gmm", "monotonic")


@pytest.mark.parametrize("name", [n for n in NAMES if n.split(": ")[1].split()[0] not in CARRYING])
def test_every_model_translates_and_scores_the_same(tmp_path, name):
    compare_with_torch(build(name).float(), PAIRS, tmp_path)
