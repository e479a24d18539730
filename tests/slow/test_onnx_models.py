"""Every model of the table of cases in ONNX."""

import pytest
from model_cases import NAMES, PAIRS, build, config_of
from onnx_engines import compare_with_torch

from nmt.models import TransformerConfig

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


# Attention and encoders that know of the steps before, and heads beyond the softmax, are refused:
# tests/export/test_onnx.py.
CARRYING = ("coverage", "location_aware", "structural", "temporal", "gmm", "monotonic", "intra", "lstmn")


def held(name: str) -> bool:
    config = config_of(name)
    if isinstance(config, TransformerConfig):
        return not config.beyond_softmax()
    return name.split(": ")[1].split()[0] not in CARRYING


@pytest.mark.parametrize("name", NAMES)
def test_every_model_translates_and_scores_the_same(tmp_path, name):
    if not held(name):  # asked here and not where tests are collected, which every process that runs tests does
        pytest.skip("not exported")
    compare_with_torch(build(name).float(), PAIRS, tmp_path)
