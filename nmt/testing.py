"""Checks for an attention mechanism of one's own: what every caller relies on (nmt/models/attention/base.py)."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig

LENGTHS = (5, 1, 3)  # of the sentences that a mechanism is tried on
SIZE = 4  # Q and M, features of a query and of a position


Trial = tuple[Attention, Tensor, Tensor]  # a mechanism in float64, queries (3, 6, SIZE) and values (3, 5, SIZE)


def check_attention(module: type[Attention], config: AttentionConfig | None = None) -> None:
    """Try a mechanism, built as ``module(config, 4, 4)``, on random sentences in float64.

    ``config`` None: that of its row in ATTENTIONS, with the defaults of its settings.

    padding     what lies beyond a sentence's length (not a number) changes nothing, and gets no weight
    batch       a sentence alone gives what it gives among others
    queries     N queries at once give what they give one by one
    gradients   those of queries, encoder states and parameters are those of finite differences
                (torch.autograd.gradcheck), and every parameter takes part in training
    autocast    under bfloat16 the context has the query's dtype, and the weights are float32
    cost        the number of torch's operations does not grow with N: there is no loop over queries
    memory      no encoder state is copied for each query: no tensor is as large as N S M

    Weights are compared in ``module.eval()``; padding is tried in training, too.  Raises AssertionError with a sentence
    that names what does not hold, TypeError for an object in the place of its class, and ValueError without
    ``config`` for a mechanism that has no row.
    """
    if isinstance(module, Attention):
        raise TypeError(f"check_attention takes the class {type(module).__name__} and makes an object of it itself")
    if config is None:
        config = next((row() for row, made in ATTENTIONS.items() if made is module), None)
    if config is None:
        raise ValueError(f"{module.__name__} has no row in nmt.models.attention.ATTENTIONS; give its settings, too")
    for check in CHECKS.values():
        check(module, config)


def what_fails(module: type[Attention], config: AttentionConfig) -> dict[str, str]:
    """Each of the checks of ``check_attention`` by name, with a sentence on what is wrong, "" where it holds.

    Whatever the mechanism raises counts as a failure of the check.
    """
    found = {}
    for name, check in CHECKS.items():
        try:
            check(module, config)
            found[name] = ""
        except (Exception, SystemExit) as error:
            found[name] = sentence(error).removeprefix(f"{name}: ")
    return found


def sentence(error: BaseException) -> str:
    """The first line of an error, with its type where it is none of the checks' own."""
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, AssertionError) else f"{type(error).__name__}: {first}".rstrip(": ")


@contextlib.contextmanager
def on_trial(module: type[Attention], config: AttentionConfig) -> Iterator[Trial]:
    """A mechanism and what to try it on, the same each time; torch's random numbers go on as if nothing had been."""
    torch_rng = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        attention = module(config, SIZE, SIZE).double().eval()
        yield attention, torch.randn(3, 6, SIZE).double(), torch.randn(3, max(LENGTHS), SIZE).double()
    finally:
        torch.set_rng_state(torch_rng)


def attend(attention: Attention, query: Tensor, values: Tensor, lengths: Any = LENGTHS, first: int = 0) -> Any:
    """Context and weights over all positions, of queries (B, N, Q) of the target positions from ``first`` on."""
    memory = attention.prepare(values, torch.tensor(lengths))
    return read(attention(query, memory, torch.arange(first, first + query.size(1))), query, values)


def read(found: Any, query: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Context (B, N, M) and weights (B, N, S), the mean over heads, of what ``forward`` returned for query and values.

    Raises AssertionError where it is nothing of the kind, so that no check holds of nothing.
    """
    assert isinstance(found, Attended), f"forward returns {type(found).__name__}, and should return Attended"
    for name, x in (("context", found.context), ("weights", found.weights)):
        assert isinstance(x, Tensor), f"{name} is {type(x).__name__}, and should be a tensor"
    (B, N), (S, M) = query.shape[:2], values.shape[1:]
    assert found.context.shape == (B, N, M), f"context is {tuple(found.context.shape)}, and (B, N, M) is {B, N, M}"
    weights = found.by_head(found.dense_weights(S)).mean(1)
    assert weights.shape == (B, N, S), f"weights are {tuple(weights.shape)}, and (B, N, S) is {B, N, S}"
    assert weights.any(), "no position of any sentence has weight"
    assert not (weights < 0).any(), "a weight is below 0"
    return found.context, weights


def check_padding(module: type[Attention], config: AttentionConfig) -> None:
    """What lies beyond a sentence's length."""
    with on_trial(module, config) as (attention, query, values):
        context, weights = attend(attention, query, values)
        damaged = values.clone()
        for b, length in enumerate(LENGTHS):
            damaged[b, length:] = float("nan")
            assert not weights[b, :, length:].any(), "padding: positions beyond a sentence's length have weight"
        found = attend(attention, query, damaged)
        assert_same("padding: what lies beyond a sentence's length", found, (context, weights))
        context, weights = attend(attention.train(), query, damaged)
        assert context.isfinite().all(), "padding: in training the context has what lies beyond a sentence's length"
        for b, length in enumerate(LENGTHS):
            assert not weights[b, :, length:].any(), (
                "padding: in training positions beyond a sentence's length have weight"
            )


def check_batch(module: type[Attention], config: AttentionConfig) -> None:
    """A sentence alone, and among others."""
    with on_trial(module, config) as (attention, query, values):
        context, weights = attend(attention, query, values)
        for b, length in enumerate(LENGTHS):
            alone = attend(attention, query[b : b + 1], values[b : b + 1, :length], (length,))
            among = context[b : b + 1], weights[b : b + 1, :, :length]
            assert_same("batch: a sentence among others, and alone", alone, among)


def check_queries(module: type[Attention], config: AttentionConfig) -> None:
    """One by one, and at once."""
    with on_trial(module, config) as (attention, query, values):
        context, weights = attend(attention, query, values)
        for n in range(query.size(1)):
            single = attend(attention, query[:, n : n + 1], values, first=n)
            assert_same("queries: one by one, and at once", single, (context[:, n : n + 1], weights[:, n : n + 1]))


def assert_same(what: str, found: Any, expected: Any) -> None:
    """Raise AssertionError unless contexts and weights agree to 1e-9."""
    for name, a, b in zip(("contexts", "weights"), found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9), f"{what}: the {name} differ"


class Attending(nn.Module):
    """A mechanism as a module whose call gives the context, so that its parameters can be exchanged for a call."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, query: Tensor, values: Tensor) -> Tensor:
        """query (B, N, Q), values (B, S, M) -> (B, N, M)."""
        return attend(self.attention, query, values)[0]


def check_gradients(module: type[Attention], config: AttentionConfig) -> None:
    """Against finite differences."""
    with on_trial(module, config) as (attention, query, values):
        inputs = query[:, :2].clone().requires_grad_(), values.clone().requires_grad_()
        try:
            torch.autograd.gradcheck(lambda q, v: attend(attention, q, v)[0], inputs)
        except GradcheckError as error:
            raise AssertionError(f"gradients: {error}") from None
        attending, fixed = Attending(attention), tuple(x.detach() for x in inputs)
        for name, parameter in attention.named_parameters():
            assert parameter.requires_grad, f"gradients: {name} is not trained: its requires_grad is False"

            def context(x: Tensor, name: str = name) -> Tensor:
                return functional_call(attending, {f"attention.{name}": x}, fixed)

            try:
                # In one random direction: parameters are many, and what is cut off has no gradient in any.
                torch.autograd.gradcheck(context, parameter.detach().clone().requires_grad_(), fast_mode=True)
            except GradcheckError as error:
                raise AssertionError(f"gradients: of {name}: {error}") from None


def check_autocast(module: type[Attention], config: AttentionConfig) -> None:
    """The types that come out under bfloat16."""
    with on_trial(module, config) as (attention, query, values):
        attention.float()
        for dtype in (torch.float32, torch.bfloat16):  # a decoder's query has either
            with torch.autocast("cpu", torch.bfloat16):
                context, weights = attend(attention, query.to(dtype), values.to(dtype))
            assert context.dtype == dtype, f"autocast: the query is {dtype} and the context {context.dtype}"
            assert weights.dtype == torch.float32, f"autocast: the weights are {weights.dtype}, not float32"


def check_cost(module: type[Attention], config: AttentionConfig) -> None:
    """Operations with few queries and with many."""
    with on_trial(module, config) as (attention, _, values):
        few, many = (operations(attention, torch.randn(3, n, SIZE).double(), values).count for n in (4, 16))
    assert many < 2 * few, f"cost: 4 queries take {few} operations and 16 take {many}: there is a loop over queries"


def check_memory(module: type[Attention], config: AttentionConfig) -> None:
    """The largest tensor that is made, for sizes at which those of the package work in chunks."""
    N, S, M = 96, 256, 64
    if getattr(config, "max_source", None) is not None:  # score=location has a row for so many positions
        config = dataclasses.replace(config, **{"max_source": S})
    with on_trial(module, config):
        attention = module(config, M, M).eval()
        largest = operations(attention, torch.randn(1, N, M), torch.randn(1, S, M), (S,)).largest
    assert largest < N * S * M * 4 // 2, (
        f"memory: {N} queries of {S} positions with {M} features make a tensor of {largest / 1e6:.1f} MB: "
        "encoder states are copied for each query"
    )


CHECKS: dict[str, Callable[[type[Attention], AttentionConfig], None]] = {
    "padding": check_padding,
    "batch": check_batch,
    "queries": check_queries,
    "gradients": check_gradients,
    "autocast": check_autocast,
    "cost": check_cost,
    "memory": check_memory,
}


class Counter(TorchDispatchMode):
    """Counts the operations of torch while it is entered, and the bytes of the largest tensor that one returns."""

    count = largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, Tensor):
                self.largest = max(self.largest, x.untyped_storage().nbytes())
        return result


def operations(attention: Attention, query: Tensor, values: Tensor, lengths: Any = LENGTHS) -> Counter:
    """What one call of ``forward`` takes."""
    memory = attention.prepare(values, torch.tensor(lengths))
    with torch.no_grad(), Counter() as counter:
        found = attention(query, memory, torch.arange(query.size(1)))
    read(found, query, values)
    return counter
