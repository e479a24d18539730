"""Linear maps that a loop over target positions applies step by step, with one weight gradient after the loop.

Plain autograd would add T updates of rank B to dW, each as large as W.  All inputs and all output gradients of a batch
are known at the end of its backward pass, and

    dW = [dL/dy_1 ... dL/dy_T]^T [x_1 ... x_T]

is a single product.  ``RecurrentLinear`` is for y_t = a_t + W x_t where x_t depends on y_{t-1}; ``QueryLinear`` for
attention's y_t = W x_t, whether the steps come one by one or all at once.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt.models.ops.deferred_gradient import DeferredGradient, defer_gradient
from nmt.models.ops.matmul import PrepackedLinear, linear, linear_plus, trained_linear, weight_gradient
from nmt.models.ops.prepacked import CachesWeights


class RecurrentLinear:
    """y_t = a_t + W x_t, where x_t depends on y_{t-1} and a_t does not.

    The terms a_t, known before the loop, go through one node of the graph (``terms``).  All steps read its output, so
    it runs backward after the last of them, with every dL/dy_t in hand, and makes dW.  Hooks on W, retain_graph and
    several backward passes work as usual.  The loop must call the map once for each term, in order.
    """

    def __init__(self, weight: Tensor) -> None:
        """weight (G, J), already in the dtype of the products."""
        self.weight = weight
        self.inputs: list[Tensor] | None = None

    def terms(self, terms: Tensor) -> Sequence[Tensor]:
        """a (T, B, G) -> one (B, G) for each step."""
        if torch.is_grad_enabled() and (terms.requires_grad or self.weight.requires_grad):
            self.inputs = []
            terms = _WeightGradient.apply(terms, self.weight, self.inputs)
        return terms.unbind(0)

    def __call__(self, x: Tensor, term: Tensor) -> Tensor:
        """x (B, J), term (B, G) -> (B, G)"""
        if self.inputs is not None:
            self.inputs.append(x.detach())
        return _TermPlusProduct.apply(term, x, self.weight.detach())


class _TermPlusProduct(torch.autograd.Function):
    """term + W x; the gradient of W is made by ``_WeightGradient``."""

    @staticmethod
    def forward(ctx: Any, term: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return linear_plus(term, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,), (weight,) = grad_outputs, ctx.saved_tensors
        term = grad if ctx.needs_input_grad[0] else None
        return term, linear(grad, weight.t()) if ctx.needs_input_grad[1] else None, None


class _WeightGradient(torch.autograd.Function):
    """The identity on the terms; its backward pass makes the gradient of W."""

    @staticmethod
    def forward(ctx: Any, terms: Tensor, weight: Tensor, inputs: list[Tensor]) -> Tensor:
        ctx.inputs = inputs
        return terms.view_as(terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grad_outputs  # (T, B, G)
        weight = None
        if ctx.needs_input_grad[1]:
            weight = weight_gradient(grad.flatten(0, 1), torch.cat(ctx.inputs))
        return grad, weight, None


class QueryLinear(CachesWeights, nn.Linear):
    """W of a y = W x that the queries of attention go through; without bias.

    Steps call what ``for_batch`` returns; calling the layer itself projects the keys of a whole batch.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # named as in nn.Linear
        return trained_linear(input, self.weight)

    def for_batch(self, dtype: torch.dtype, transposed: bool = False) -> "QueryProjection":
        """x (..., I) -> W x (..., O), or with ``transposed`` x (..., O) -> W^T x (..., I), with products in ``dtype``.

        The steps of one batch share what is returned, and with it one gradient of W.
        """
        if self.weight_cache is not None and not torch.is_grad_enabled():
            key = (dtype, transposed)
            return self.cached(key, lambda: PrepackedLinear(self._oriented(*key).contiguous()))
        with torch.enable_grad():  # steps may want gradients even if the memory they read wants none
            return BatchLinear(self._oriented(dtype, transposed))

    def _oriented(self, dtype: torch.dtype, transposed: bool) -> Tensor:
        weight = self.weight.to(dtype)
        return weight.t() if transposed else weight


class BatchLinear:
    """x (..., I) -> x W^T (..., O), called by many steps of a batch, with one gradient of W for all of them."""

    def __init__(self, weight: Tensor) -> None:
        """weight (O, I) in the dtype of the products."""
        self.gradient = DeferredGradient()
        self.weight = defer_gradient(weight, self.gradient)

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).to(self.weight.dtype)
        return cast(Tensor, _BatchLinear.apply(rows, self.weight, self.gradient)).unflatten(0, x.shape[:-1])


class _BatchLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient: DeferredGradient) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gradient = gradient
        return linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,), (x, weight) = grad_outputs, ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_product(grad, x)
        return linear(grad, weight.t()) if ctx.needs_input_grad[0] else None, None, None


# What queries are multiplied by: in training with one gradient a batch, in search laid out for oneDNN.
QueryProjection: TypeAlias = BatchLinear | PrepackedLinear
