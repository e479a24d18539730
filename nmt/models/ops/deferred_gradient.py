"""One gradient, made once a batch, for a tensor that every step of a decoder reads.

Autograd adds up the gradients of a tensor that T steps read by making T tensors as large as itself.  Here the steps
return no gradient for the tensor.  They add what would make it up to a ``DeferredGradient``, and a node of the graph
between the tensor and its readers (``defer_gradient``) turns all of it into one gradient:

    forward    tensor -> defer_gradient -> T reads -> loss
    backward   tensor <- one gradient   <- T pairs of factors, or rows to be added

The edges from the reads to the node remain, so that autograd runs the node's backward pass after those of all reads.
A sum of products of factors is a single product,  sum_t a_t^T x_t = [a_1 ... a_T]^T [x_1 ... x_T].
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from nmt.models.ops.matmul import weight_gradient
from nmt.models.ops.plain import is_plain


class DeferredGradient:
    """What the reads of one backward pass have contributed so far to the gradient of one tensor."""

    def __init__(self) -> None:
        self.backward_pass = -1  # autograd's number of the pass that the contributions belong to
        self._clear()

    def add_rows(self, shape: torch.Size, index: Tensor, grad: Tensor) -> None:
        """Contribute grad (R, F) at the rows ``index`` (R,) of a tensor (B, S, F) whose first axes are flattened."""
        self._begin_pass()
        if self.total is None:
            self.total = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        self.total.flatten(0, 1).index_add_(0, index, grad)

    def add_product(self, a: Tensor, x: Tensor) -> None:
        """Contribute a^T x: a (..., N, S), x (..., N, F)."""
        self._begin_pass()
        self.factors.append((a, x))

    def pop(self) -> Tensor | None:
        """The gradient, in float32 or wider where rows were added; None where nothing was contributed.  Starts anew."""
        self._begin_pass()
        total = self.total
        if self.factors:
            a, x = (torch.cat(side, -2) for side in zip(*self.factors, strict=True))
            product = weight_gradient(a, x) if a.dim() == 2 else a.mT @ x
            total = product if total is None else total.add_(product)
        self._clear()
        return total

    def _clear(self) -> None:
        self.total: Tensor | None = None  # of the tensor's shape
        self.factors: list[tuple[Tensor, Tensor]] = []  # (..., N, S) and (..., N, F)

    def _begin_pass(self) -> None:
        """Forget what a pass contributed that never reached the tensor, as when only a query's gradient was asked."""
        current = torch._C._current_graph_task_id()
        if current != self.backward_pass:
            self.backward_pass = current
            self._clear()


def defer_gradient(tensor: Tensor, gradient: DeferredGradient) -> Tensor:
    """The same tensor, for readers that contribute to ``gradient`` and return none themselves.

    Raises RuntimeError in a backward pass with create_graph=True: the deferred gradient has no derivative.
    """
    return tensor if is_plain() else cast(Tensor, _DeferGradient.apply(tensor, gradient))


class _DeferGradient(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gradient: DeferredGradient) -> Tensor:
        ctx.gradient, ctx.dtype = gradient, tensor.dtype
        ctx.set_materialize_grads(False)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise RuntimeError("the gradient of attention's memory has no derivative: backward with create_graph=False")
        total = ctx.gradient.pop()
        if total is not None:
            grad = (total if grad is None else total.add_(grad)).to(ctx.dtype)
        return grad, None
