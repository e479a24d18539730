"""The plain torch code that exporters trace computes what the kernels compute, in every model."""

import pytest
import torch
from model_cases import NAMES, PAIRS, build

from nmt.models.ops.plain import is_plain, plain_operations
from nmt.models.ops.prepacked import cached_weights

SOURCES = [source for source, _ in PAIRS]


@pytest.mark.parametrize("name", NAMES)
def test_plain_operations_are_the_kernels(name):
    """In float64, for the encoder and for some steps; and outside of it nothing is different."""
    model = build(name)
    source = torch.tensor([SOURCES[2], [*SOURCES[0], *[0] * 6]])
    lengths = torch.tensor([9, 3])

    def steps() -> list[torch.Tensor]:
        with torch.no_grad(), cached_weights(model):
            state, found = model.start(model.encode(source, lengths, 2)), []
            state = state.reorder(torch.zeros(2, 2, dtype=torch.int64))
            for token in (2, 7, 4):
                logits, state, _ = model.step(torch.tensor([[token, token + 1]] * 2), state)
                found.append(logits)
            return found

    expected = steps()
    with plain_operations():
        found = steps()
    again = steps()
    for a, b, c in zip(found, expected, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert torch.equal(b, c)


def test_it_ends_with_the_block():
    assert not is_plain()
    with plain_operations(), plain_operations():
        assert is_plain()
        assert not torch.is_grad_enabled()
    with pytest.raises(KeyError), plain_operations():
        raise KeyError
    assert not is_plain()
