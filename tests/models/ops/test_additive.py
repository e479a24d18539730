"""The additive score in chunks is the plain formula, and its hidden layer never exists as a whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nmt.models.ops import additive


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, n) for n in (3, 4, 5, 4)]),
    shared=st.booleans(),
    chunk=st.integers(1, 60),
    gpu=st.booleans(),
)
def test_any_chunk_gives_the_formula(shape: tuple[int, int, int, int], shared: bool, chunk: int, gpu: bool):
    """v . tanh(q + k) and its gradients, whether queries share the rows or each has its own; as on a GPU, too, where
    what fits is made at once."""
    B, N, R, F = shape
    torch.manual_seed(0)
    inputs = random(B, N, F), random(B, 1 if shared else N, R, F), random(F)
    query, rows, v = inputs
    weight = torch.randn(B, N, R, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(additive, "HIDDEN_ELEMENTS_OF_GPU" if gpu else "HIDDEN_ELEMENTS", chunk)
        patch.setattr(additive, "launches_cost", lambda device: gpu)
        found = additive.additive_scores(query, rows, v)
        gradients = torch.autograd.grad((found * weight).sum(), inputs)
    expected = (query[:, :, None] + rows).tanh() @ v
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(gradients, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.elements = max(self.elements, *sizes) if sizes else self.elements
        return result


@pytest.mark.parametrize("gpu", [False, True])
def test_the_hidden_layer_is_never_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch, gpu: bool):
    monkeypatch.setattr(additive, "HIDDEN_ELEMENTS_OF_GPU" if gpu else "HIDDEN_ELEMENTS", 1000)
    monkeypatch.setattr(additive, "launches_cost", lambda device: gpu)
    query, rows, v = random(2, 30, 8), random(2, 1, 40, 8), random(8)
    with Largest() as made:
        additive.additive_scores(query, rows, v).sum().backward()
    assert made.elements <= 2 * 30 * 40  # the scores themselves; the hidden layer would be 8 times as large


@pytest.mark.parametrize("gpu", [False, True])
def test_saturated_scores_have_finite_gradients(monkeypatch: pytest.MonkeyPatch, gpu: bool):
    """tanh by way of the sigmoid neither overflows nor makes NaN at the ends."""
    monkeypatch.setattr(additive, "launches_cost", lambda device: gpu)
    query, rows, v = random(1, 1, 3), random(1, 1, 2, 3), random(3)
    for end in (1e3, -1e3, 1e30, -1e30):
        scores = additive.additive_scores(query.float() + end, rows.float(), v.float())
        end_score = v.detach().sum().item() * (1 if end > 0 else -1)
        torch.testing.assert_close(scores, scores.new_full((1, 1, 2), end_score))
        assert all(g.isfinite().all() for g in torch.autograd.grad(scores.sum(), (query, rows, v)))
