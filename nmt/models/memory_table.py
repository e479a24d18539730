"""Rows that many queries read, and whose gradient is summed once a batch.

Autograd's gradient of one read is a dense (B, S, F) tensor, and a decoder reads once a step: a window
of 2D+1 rows would cost O(S) again, and a dense product would write and add T tensors as large as the
memory.  Here reads leave their part with the table, and one node that stands between the rows and
their readers hands on the gradient of all of them:

    rows -> _Handover -> reads of all rows, reads of windows -> loss
            one (B, S, F)  <-  all rows: the two factors of their gradient
                           <-  windows: added into a buffer, row by row

A read returns no gradient for the rows, but its edge to the hand-over remains, so autograd runs the
hand-over after every read of the same backward pass.  The sum of outer products that reads of all rows
leave behind is a single matrix product, [a_1 ... a_T]^T [x_1 ... x_T].

Shapes: B sentences, S source positions, N queries per sentence, W window positions, F features.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

CHUNK = 2**19  # elements of gathered rows that exist at a time: 2 MB, about a core's own cache


class Table:
    """Rows (B, S, F).  Whatever reads them here gets the same numbers as from plain tensors."""

    def __init__(self, rows: Tensor) -> None:
        self.gradient = _Gradient()
        self.rows = cast(Tensor, _Handover.apply(rows, self.gradient))

    def scores(self, query: Tensor) -> Tensor:
        """query . rows: query (B, N, F) -> (B, N, S)"""
        return cast(Tensor, _Scores.apply(query.to(self.rows.dtype), self.rows, self.gradient))

    def sum(self, weights: Tensor) -> Tensor:
        """sum_s weights_s rows_s: weights (B, N, S) -> (B, N, F)"""
        return cast(Tensor, _Sum.apply(weights.to(self.rows.dtype), self.rows, self.gradient))

    def keep(self, sentences: Tensor) -> "Table":
        """Only these rows (B',) int64 of the batch."""
        return Table(self.rows.index_select(0, sentences))


class Window:
    """The rows of a table at s (B, N, W), each within 0..S-1; products with them are in float32 or wider.

    Rows are found in chunks over N.  Where there is one chunk, as with input feeding, it is kept from one
    product to the next, forward and backward, but not from the forward pass to the backward pass: finding
    rows again costs less than the memory of T windows.
    """

    def __init__(self, table: Table, s: Tensor) -> None:
        B, S, F = table.rows.shape
        self.table = table
        self.index = s + torch.arange(0, B * S, S, device=s.device)[:, None, None]
        self.wide = torch.promote_types(table.rows.dtype, torch.float32)
        some = max(1, CHUNK // (B * s.size(2) * F))
        self.chunks = [slice(n, n + some) for n in range(0, max(s.size(1), 1), some)]
        self.found: Tensor | None = None
        self.scored = False

    def rows(self) -> Tensor:
        """(B, N, W, F), for whatever is not a score or a sum."""
        return cast(Tensor, _Rows.apply(self.table.rows, self))

    def scores(self, query: Tensor) -> Tensor:
        """query . rows: query (B, N, F) -> (B, N, W)"""
        self.scored = True
        return cast(Tensor, _WindowScores.apply(query.to(self.wide), self.table.rows, self))

    def sum(self, weights: Tensor) -> Tensor:
        """sum_w weights_w rows_w: weights (B, N, W) -> (B, N, F)"""
        return cast(Tensor, _WindowSum.apply(weights.to(self.wide), self.table.rows, self))

    def find(self, n: slice, keep: bool = False) -> Tensor:
        """Rows (B, n, W, F) without their history; ``keep`` where another product follows."""
        rows = self.found
        if rows is None:
            # index_select over flattened rows: on a CPU, 8 times faster than rows[b, s].
            index, flat = self.index[:, n], self.table.rows.detach().flatten(0, 1)
            rows = flat.index_select(0, index.flatten()).view(*index.shape, flat.size(1)).to(self.wide)
        self.found = rows if keep and len(self.chunks) == 1 else None
        return rows

    def leave(self, n: slice, grad: Tensor) -> None:
        """Add the rows' gradient (B, n, W, F) to the table's."""
        self.table.gradient.add(self.table.rows.shape, self.index[:, n].flatten(), grad.flatten(0, 2))


class _Gradient:
    """What the reads of one backward pass have left so far."""

    def __init__(self) -> None:
        self.task = -1
        self.clear()

    def clear(self) -> None:
        self.total: Tensor | None = None  # (B, S, F) float32 or wider
        self.factors: list[tuple[Tensor, Tensor]] = []  # (B, N, S) and (B, N, F)

    def current(self) -> None:
        """Forget what an earlier pass left that never reached the rows, as when only a query's gradient was asked."""
        task = torch._C._current_graph_task_id()
        if task != self.task:
            self.task = task
            self.clear()

    def add(self, shape: torch.Size, index: Tensor, grad: Tensor) -> None:
        """Add grad (rows, F) at index (rows,) of the flattened table."""
        self.current()
        if self.total is None:
            self.total = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        self.total.flatten(0, 1).index_add_(0, index, grad)

    def add_outer(self, a: Tensor, x: Tensor) -> None:
        """Add a^T x: a (B, N, S), x (B, N, F)."""
        self.current()
        self.factors.append((a, x))

    def take(self) -> Tensor | None:
        """The finished sum (B, S, F); None where nothing was read."""
        self.current()
        total = self.total
        if self.factors:
            a, x = (torch.cat(side, 1) for side in zip(*self.factors, strict=True))
            outer = a.mT @ x
            total = outer if total is None else total.add_(outer)
        self.clear()
        return total


class _Handover(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, gradient: _Gradient) -> Tensor:
        ctx.gradient, ctx.dtype = gradient, rows.dtype
        ctx.set_materialize_grads(False)
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise RuntimeError("the gradient of attention's memory has no derivative: backward with create_graph=False")
        total = ctx.gradient.take()
        if total is not None:
            grad = (total if grad is None else total.add_(grad)).to(ctx.dtype)
        return grad, None


class _Scores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, rows: Tensor, gradient: _Gradient) -> Tensor:
        ctx.save_for_backward(query, rows)
        ctx.gradient = gradient
        return query @ rows.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, rows = ctx.saved_tensors
        grad = grad.to(rows.dtype)
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_outer(grad, query)
        return grad @ rows, None, None


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, gradient: _Gradient) -> Tensor:
        ctx.save_for_backward(weights, rows)
        ctx.gradient = gradient
        return weights @ rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        weights, rows = ctx.saved_tensors
        grad = grad.to(rows.dtype)
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_outer(weights, grad)
        return grad @ rows.mT, None, None


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, window: Window) -> Tensor:
        ctx.window = window
        return window.find(slice(None))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.window.leave(slice(None), grad)
        return None, None


# In the products with windows the rows are always the matrix and the query or the weights a row vector
# on its left, which a CPU multiplies 10 times faster than the matrix by a column.


class _WindowScores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, table: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(query)
        ctx.window = window
        with torch.autocast(query.device.type, enabled=False):
            found = [query[:, n].unsqueeze(2) @ window.find(n, keep=True).mT for n in window.chunks]
        return torch.cat(found, 1).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (query,) = ctx.saved_tensors
        found = []
        for n in ctx.window.chunks:
            g = grad[:, n]
            found.append(g.unsqueeze(2) @ ctx.window.find(n))
            if ctx.needs_input_grad[1]:
                ctx.window.leave(n, g[..., None] * query[:, n].unsqueeze(2))
        return torch.cat(found, 1).squeeze(2), None, None


class _WindowSum(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, table: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.window = window
        with torch.autocast(weights.device.type, enabled=False):
            found = [weights[:, n].unsqueeze(2) @ window.find(n) for n in window.chunks]
        return torch.cat(found, 1).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weights,) = ctx.saved_tensors
        found = []
        for n in ctx.window.chunks:
            g = grad[:, n].unsqueeze(2)
            found.append(g @ ctx.window.find(n, keep=ctx.window.scored).mT)
            if ctx.needs_input_grad[1]:
                ctx.window.leave(n, weights[:, n].unsqueeze(3) * g)
        return torch.cat(found, 1).squeeze(2), None, None
