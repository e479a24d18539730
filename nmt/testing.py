"""Checks for an attention mechanism of one's own: what every caller relies on (nmt/models/attention/base.py)."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.models.attention import Attention, AttentionConfig

LENGTHS = (5, 1, 3)  # of the sentences that a mechanism is tried on
SIZE = 4  # Q and M, features of a query and of a position


def check_attention(module: type[Attention], config: AttentionConfig) -> None:
    """Try a mechanism, built as ``module(config, 4, 4)``, on random sentences in float64.

    padding     what lies beyond a sentence's length (not a number) changes nothing, and gets no weight
    batch       a sentence alone gives what it gives among others
    queries     N queries at once give what they give one by one
    gradients   those of queries and of encoder states are those of finite differences (torch.autograd.gradcheck)
    autocast    under bfloat16 the context has the query's dtype, and the weights are float32
    cost        the number of torch's operations does not grow with N: there is no loop over queries

    Weights are compared in ``module.eval()``.  Raises AssertionError with a sentence that names what does not hold.
    """
    torch_rng = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        attention = module(config, SIZE, SIZE).double().eval()
        query, values = torch.randn(3, 6, SIZE).double(), torch.randn(3, max(LENGTHS), SIZE).double()
        check_invariance(attention, query, values)
        check_gradients(attention, query[:, :2], values)
        check_autocast(attention, query, values)
        few, many = (operations(attention, torch.randn(3, n, SIZE).double(), values) for n in (4, 16))
        assert many < 2 * few, f"cost: 4 queries take {few} operations and 16 take {many}: there is a loop over queries"
    finally:
        torch.set_rng_state(torch_rng)


def attend(attention: Attention, query: Tensor, values: Tensor, lengths: Any = LENGTHS, first: int = 0) -> Any:
    """Context and weights over all positions, of queries (B, N, Q) of the target positions from ``first`` on."""
    memory = attention.prepare(values, torch.tensor(lengths))
    found = attention(query, memory, torch.arange(first, first + query.size(1)))
    return found.context, found.dense_weights(values.size(1))


def check_invariance(attention: Attention, query: Tensor, values: Tensor) -> None:
    """Padding, batch and number of queries."""
    context, weights = attend(attention, query, values)
    assert context.shape == query.shape, f"context is {tuple(context.shape)}, and (B, N, M) is {tuple(query.shape)}"
    damaged = values.clone()
    for b, length in enumerate(LENGTHS):
        damaged[b, length:] = float("nan")
        assert not weights[b, :, length:].any(), "padding: positions beyond a sentence's length have weight"
    assert_same("padding: what lies beyond a sentence's length", attend(attention, query, damaged), (context, weights))
    for b, length in enumerate(LENGTHS):
        alone = attend(attention, query[b : b + 1], values[b : b + 1, :length], (length,))
        among = context[b : b + 1], weights[b : b + 1, :, :length]
        assert_same("batch: a sentence among others, and alone", alone, among)
    for n in range(query.size(1)):
        single = attend(attention, query[:, n : n + 1], values, first=n)
        assert_same("queries: one by one, and at once", single, (context[:, n : n + 1], weights[:, n : n + 1]))


def assert_same(what: str, found: Any, expected: Any) -> None:
    """Raise AssertionError unless contexts and weights agree to 1e-9."""
    for name, a, b in zip(("contexts", "weights"), found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9), f"{what}: the {name} differ"


def check_gradients(attention: Attention, query: Tensor, values: Tensor) -> None:
    """Against finite differences."""
    inputs = query.clone().requires_grad_(), values.clone().requires_grad_()
    try:
        torch.autograd.gradcheck(lambda q, v: attend(attention, q, v)[0], inputs)
    except RuntimeError as error:
        raise AssertionError(f"gradients: {error}") from None


def check_autocast(attention: Attention, query: Tensor, values: Tensor) -> None:
    """The types that come out under bfloat16."""
    attention = attention.float()
    with torch.autocast("cpu", torch.bfloat16):
        context, weights = attend(attention, query.float(), values.float())
    attention.double()
    assert context.dtype == torch.float32, f"autocast: the query is float32 and the context {context.dtype}"
    assert weights.dtype == torch.float32, f"autocast: the weights are {weights.dtype}, not float32"


class Counter(TorchDispatchMode):
    """Counts the operations of torch while it is entered."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(attention: Attention, query: Tensor, values: Tensor) -> int:
    """How many operations one call of ``forward`` takes."""
    memory = attention.prepare(values, torch.tensor(LENGTHS))
    with torch.no_grad(), Counter() as counter:
        attention(query, memory, torch.arange(query.size(1)))
    return counter.count
