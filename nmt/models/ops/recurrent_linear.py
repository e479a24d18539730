"""Linear maps used inside a loop, whose weight's gradient is one product after the loop."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt.models.ops.deferred_gradient import LateGradient, hand_over
from nmt.models.ops.matmul import Packed, linear, linear_plus
from nmt.models.ops.prepacked import Holder


class LoopLinear:
    """y_t = a_t + W x_t, where x_t depends on y_{t-1} and a_t does not.

    Plain autograd would add T rank-B updates to dW, each as large as W.  Here the terms a_t, known
    before the loop, go through one node (``terms``): all steps read its output, so it runs backward
    after the last of them, with every dL/dy_t in hand, and

        dW = [dL/dy_1 ... dL/dy_T]^T [x_1 ... x_T].

    The graph is an ordinary one: hooks on W, retain_graph and several backward passes work as usual.
    The loop must call the map once for each term, in order.
    """

    def __init__(self, weight: Tensor) -> None:
        """weight (G, J), already in the dtype of the products."""
        self.weight = weight
        self.inputs: list[Tensor] | None = None

    def terms(self, terms: Tensor) -> Sequence[Tensor]:
        """a (T, B, G) -> one (B, G) for each step."""
        if torch.is_grad_enabled() and (terms.requires_grad or self.weight.requires_grad):
            self.inputs = []
            terms = _Deferred.apply(terms, self.weight, self.inputs)
        return terms.unbind(0)

    def __call__(self, x: Tensor, term: Tensor) -> Tensor:
        """x (B, J), term (B, G) -> (B, G)"""
        if self.inputs is not None:
            self.inputs.append(x.detach())
        return _Product.apply(term, x, self.weight.detach())


class _Product(torch.autograd.Function):
    """term + W x; W gets its gradient elsewhere."""

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


class _Deferred(torch.autograd.Function):
    """The identity on the terms; its backward pass makes W's gradient."""

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
            weight = torch.mm(grad.flatten(0, 1).t(), torch.cat(ctx.inputs))
        return grad, weight, None


class StepLinear(Holder, nn.Linear):
    """W of a y = W x that queries go through, at one step of a loop or at all of them; without bias."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def once_a_batch(self, dtype: torch.dtype, transposed: bool = False) -> Callable[[Tensor], Tensor]:
        """x (..., I) -> W x (..., O), or with ``transposed`` x (..., O) -> W^T x (..., I), in dtype.  The steps of one
        batch share it, and with it one gradient of W."""

        def weight() -> Tensor:
            w = self.weight.to(dtype)
            return w.t() if transposed else w

        if self.held is not None and not torch.is_grad_enabled():
            return self.once(dtype, lambda: Packed(weight().contiguous()))
        with torch.enable_grad():  # steps may want gradients, even if the memory they read wants none
            return _Steps(weight())


class _Steps:
    """x -> x W^T, whose dW = [dL/dy_1 ... dL/dy_T]^T [x_1 ... x_T] waits for the last of the steps."""

    def __init__(self, weight: Tensor) -> None:
        self.gradient = LateGradient()
        self.weight = hand_over(weight, self.gradient)

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).to(self.weight.dtype)
        return cast(Tensor, _Step.apply(rows, self.weight, self.gradient)).unflatten(0, x.shape[:-1])


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient: LateGradient) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gradient = gradient
        return linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,), (x, weight) = grad_outputs, ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_outer(grad, x)
        return linear(grad, weight.t()) if ctx.needs_input_grad[0] else None, None, None
