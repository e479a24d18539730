"""Rows that many queries read, and whose gradient is summed once a batch (``late_gradient``).

Autograd's gradient of one read is a dense (B, S, F) tensor, and a decoder reads once a step: a window
of 2D+1 rows would cost O(S) again, and a dense product would write and add T tensors as large as the
memory.  Here a read of all rows leaves the two factors of its gradient, and a read of windows adds its
own into one buffer, row by row.

Shapes: B sentences, S source positions, N queries per sentence, W window positions, F features.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nmt.models.ops.deferred_gradient import LateGradient, hand_over

CHUNK = 2**19  # elements of gathered rows that exist at a time: 2 MB, about a core's own cache


class Table:
    """Rows (B, S, F).  Whatever reads them here gets the same numbers as from plain tensors."""

    def __init__(self, rows: Tensor) -> None:
        self.gradient = LateGradient()
        self.rows = hand_over(rows, self.gradient)

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


class _Scores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, rows: Tensor, gradient: LateGradient) -> Tensor:
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
    def forward(ctx: Any, weights: Tensor, rows: Tensor, gradient: LateGradient) -> Tensor:
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
