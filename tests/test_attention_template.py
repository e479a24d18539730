"""The file for users to copy, docs/my_attention.py, is right as it stands, and can be told from one that is not."""

import runpy
from pathlib import Path

import pytest

from nmt.models.attention import ATTENTIONS, Attended
from nmt.testing import check_attention

TEMPLATE = Path(__file__).parents[1] / "docs" / "my_attention.py"


@pytest.fixture
def names():
    """What the file defines; its row is taken out of the table again."""
    found = runpy.run_path(str(TEMPLATE))
    yield found
    del ATTENTIONS[found["MineConfig"]]


def test_the_template_does_what_callers_rely_on(names):
    check_attention(names["MineAttention"], names["MineConfig"](scale=0.5))
    assert ATTENTIONS[names["MineConfig"]] is names["MineAttention"]


def test_the_template_without_its_mask_is_refused(names):
    class Unmasked(names["MineAttention"]):
        def forward(self, query, memory, position):
            weights = (query @ memory.keys.transpose(1, 2)).softmax(2)
            return Attended(memory.value_rows.weighted_sum(weights), weights)

    with pytest.raises(AssertionError, match="padding"):
        check_attention(Unmasked, names["MineConfig"]())
