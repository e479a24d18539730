"""The gradient of what many steps of a decoder read, handed on once a batch.

Autograd adds up the gradients of a tensor that T steps read by making T tensors as large as itself.  Here reads
leave their part in one place, and a node that stands between the tensor and its readers hands on all of it:

    tensor -> hand_over -> reads -> loss
           one gradient <-  two factors, whose product is the gradient of one read, or rows to be added

A read returns no gradient for the tensor, but its edge to the hand-over remains, so autograd runs the hand-over
after every read of the same backward pass.  A sum of products of factors is a single one,
[a_1 ... a_T]^T [x_1 ... x_T].
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function


class LateGradient:
    """What the reads of one backward pass have left so far."""

    def __init__(self) -> None:
        self.task = -1
        self.clear()

    def clear(self) -> None:
        self.total: Tensor | None = None  # like the tensor, in float32 or wider
        self.factors: list[tuple[Tensor, Tensor]] = []  # (..., N, S) and (..., N, F)

    def current(self) -> None:
        """Forget what an earlier pass left that never reached the rows, as when only a query's gradient was asked."""
        task = torch._C._current_graph_task_id()
        if task != self.task:
            self.task = task
            self.clear()

    def add(self, shape: torch.Size, index: Tensor, grad: Tensor) -> None:
        """Add grad (rows, F) at index (rows,) of a tensor (B, S, F), flattened."""
        self.current()
        if self.total is None:
            self.total = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        self.total.flatten(0, 1).index_add_(0, index, grad)

    def add_outer(self, a: Tensor, x: Tensor) -> None:
        """Add a^T x: a (..., N, S), x (..., N, F)."""
        self.current()
        self.factors.append((a, x))

    def take(self) -> Tensor | None:
        """The finished sum; None where nothing was read."""
        self.current()
        total = self.total
        if self.factors:
            a, x = (torch.cat(side, -2) for side in zip(*self.factors, strict=True))
            outer = a.mT @ x
            total = outer if total is None else total.add_(outer)
        self.clear()
        return total


def hand_over(tensor: Tensor, gradient: LateGradient) -> Tensor:
    """The tensor itself, for reads that leave its gradient with ``gradient``."""
    return cast(Tensor, _HandOver.apply(tensor, gradient))


class _HandOver(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gradient: LateGradient) -> Tensor:
        ctx.gradient, ctx.dtype = gradient, tensor.dtype
        ctx.set_materialize_grads(False)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise RuntimeError("the gradient of attention's memory has no derivative: backward with create_graph=False")
        total = ctx.gradient.take()
        if total is not None:
            grad = (total if grad is None else total.add_(grad)).to(ctx.dtype)
        return grad, None
