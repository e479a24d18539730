"""The parts that every search shares."""

import pytest
import torch

from nmt.search.request import largest


@pytest.mark.parametrize("V", [3, 50, 400, 1601, 8000, 8003])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_largest_is_topk(V, k):
    """The same values at places that hold them, with ties, forbidden tokens and a largest element at either end."""
    k = min(k, V)
    generator = torch.Generator().manual_seed(V + k)
    values = torch.randn(4, 3, V, generator=generator)
    values[1] = values[1].round()
    values[2, :, : V - k] = float("-inf")
    values[3, 0, -1] = values[3, 1, 0] = 99.0
    found, places = largest(values, k)
    assert torch.equal(found, values.topk(k).values)
    assert torch.equal(values.gather(-1, places), found)
    assert all(len(set(row)) == k for row in places.flatten(0, 1).tolist())
