"""Rows that the queries of many steps read, all of them or those inside a window, with one gradient a batch.

Autograd's gradient of one read is a dense (B, S, F) tensor, and a decoder reads once a step: a window of 2D+1 rows
would cost O(S) again, and a dense product would write and add T tensors as large as the memory.  Here a read of all
rows contributes the two factors of its gradient, and a read of windows adds its own row by row into one buffer
(``DeferredGradient``), so that a step of local attention costs what its window costs, forward and backward.

Shapes: B sentences, S source positions, N queries a sentence, W window positions, F features.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nmt.models.ops.deferred_gradient import DeferredGradient, defer_gradient
from nmt.models.ops.plain import is_plain

GATHERED_ELEMENTS = 2**19  # elements of gathered rows that exist at a time: 2 MB, about a core's own cache

# What the two ways of local attention cost, in units of reading one source row for nothing: reading all S rows
# for N queries costs S (1 + e N), gathering N windows of W rows a + b N W.  a, b and e by whether gradients are
# wanted and whether the rows have two bytes; measured with benchmarks/attention.py on one CPU thread at B=32,
# M=512, for N from 1 to 50 and W from 3 to 101.
COST = {
    (False, False): (30, 1.3, 0.03),
    (True, False): (60, 1.3, 0.03),
    (False, True): (33, 1.8, 0.02),
    (True, True): (70, 2.3, 0.02),
}


def windows_are_cheaper(rows: Tensor, queries: int, width: int) -> bool:
    """Whether gathering windows of ``width`` rows for so many queries costs less than reading all rows (B, S, F)."""
    a, b, e = COST[torch.is_grad_enabled(), rows.dtype.itemsize == 2]
    return rows.size(1) * (1 + e * queries) > a + b * queries * width


class Rows:
    """Rows (B, S, F) that many queries read: products with them equal those with the plain ``tensor``."""

    def __init__(self, rows: Tensor) -> None:
        self.gradient = DeferredGradient()
        self.tensor = defer_gradient(rows, self.gradient)

    def scores(self, query: Tensor) -> Tensor:
        """query . rows: query (B, N, F) -> (B, N, S)"""
        if is_plain():
            return query @ self.tensor.transpose(1, 2)
        return cast(Tensor, _Scores.apply(query.to(self.tensor.dtype), self.tensor, self.gradient))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """sum_s weights_s rows_s: weights (B, N, S) -> (B, N, F)"""
        if is_plain():
            return weights @ self.tensor
        return cast(Tensor, _WeightedSum.apply(weights.to(self.tensor.dtype), self.tensor, self.gradient))

    def keep(self, sentences: Tensor) -> "Rows":
        """Only these rows (B',) int64 of the batch."""
        return Rows(self.tensor.index_select(0, sentences))


class RowWindow:
    """The rows at the positions s (B, N, W), each within 0..S-1; products with them are in float32 or wider.

    Rows are gathered in chunks over N.  Where there is one chunk, as with input feeding, it is reused from one product
    to the next, forward and backward, but not kept from the forward pass for the backward pass: gathering rows again
    costs less than the memory of T windows.
    """

    def __init__(self, rows: Rows, s: Tensor) -> None:
        B, S, F = rows.tensor.shape
        self.rows = rows
        self.index = s + torch.arange(0, B * S, S, device=s.device)[:, None, None]
        self.wide = torch.promote_types(rows.tensor.dtype, torch.float32)
        some = max(1, GATHERED_ELEMENTS // (B * s.size(2) * F))
        self.chunks = [slice(n, n + some) for n in range(0, max(s.size(1), 1), some)]
        self.latest: Tensor | None = None  # gathered for one product and not yet used by the next
        self.scored = False

    def gathered(self) -> Tensor:
        """(B, N, W, F), for whatever is not a product with a query or with weights."""
        return cast(Tensor, _Gathered.apply(self.rows.tensor, self))

    def scores(self, query: Tensor) -> Tensor:
        """query . rows: query (B, N, F) -> (B, N, W)"""
        self.scored = True
        return cast(Tensor, _WindowScores.apply(query.to(self.wide), self.rows.tensor, self))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """sum_w weights_w rows_w: weights (B, N, W) -> (B, N, F)"""
        return cast(Tensor, _WindowSum.apply(weights.to(self.wide), self.rows.tensor, self))

    def gather(self, n: slice, keep: bool = False) -> Tensor:
        """Rows (B, n, W, F) without their history; ``keep`` where another product with the same rows follows."""
        found = self.latest
        if found is None:
            # index_select over flattened rows: on a CPU, 8 times faster than rows[b, s].
            index, flat = self.index[:, n], self.rows.tensor.detach().flatten(0, 1)
            found = flat.index_select(0, index.flatten()).view(*index.shape, flat.size(1)).to(self.wide)
        self.latest = found if keep and len(self.chunks) == 1 else None
        return found

    def add_gradient(self, n: slice, grad: Tensor) -> None:
        """Contribute the gradient (B, n, W, F) of gathered rows to that of the rows they were gathered from."""
        self.rows.gradient.add_rows(self.rows.tensor.shape, self.index[:, n].flatten(), grad.flatten(0, 2))


class _Scores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, rows: Tensor, gradient: DeferredGradient) -> Tensor:
        ctx.save_for_backward(query, rows)
        ctx.gradient = gradient
        return query @ rows.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, rows = ctx.saved_tensors
        grad = grad.to(rows.dtype)
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_product(grad, query)
        return grad @ rows, None, None


class _WeightedSum(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, gradient: DeferredGradient) -> Tensor:
        ctx.save_for_backward(weights, rows)
        ctx.gradient = gradient
        return weights @ rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        weights, rows = ctx.saved_tensors
        grad = grad.to(rows.dtype)
        if ctx.needs_input_grad[1]:
            ctx.gradient.add_product(weights, grad)
        return grad @ rows.mT, None, None


class _Gathered(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, window: RowWindow) -> Tensor:
        ctx.window = window
        return window.gather(slice(None))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.window.add_gradient(slice(None), grad)
        return None, None


# In the products with windows the rows are always the matrix and the query or the weights a row vector
# on its left, which a CPU multiplies 10 times faster than the matrix by a column.


class _WindowScores(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, rows: Tensor, window: RowWindow) -> Tensor:
        ctx.save_for_backward(query)
        ctx.window = window
        with torch.autocast(query.device.type, enabled=False):
            products = [query[:, n].unsqueeze(2) @ window.gather(n, keep=True).mT for n in window.chunks]
        return torch.cat(products, 1).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (query,) = ctx.saved_tensors
        products = []
        for n in ctx.window.chunks:
            g = grad[:, n]
            products.append(g.unsqueeze(2) @ ctx.window.gather(n))
            if ctx.needs_input_grad[1]:
                ctx.window.add_gradient(n, g[..., None] * query[:, n].unsqueeze(2))
        return torch.cat(products, 1).squeeze(2), None, None


class _WindowSum(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, window: RowWindow) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.window = window
        with torch.autocast(weights.device.type, enabled=False):
            products = [weights[:, n].unsqueeze(2) @ window.gather(n) for n in window.chunks]
        return torch.cat(products, 1).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weights,) = ctx.saved_tensors
        products = []
        for n in ctx.window.chunks:
            g = grad[:, n].unsqueeze(2)
            products.append(g @ ctx.window.gather(n, keep=ctx.window.scored).mT)
            if ctx.needs_input_grad[1]:
                ctx.window.add_gradient(n, weights[:, n].unsqueeze(3) * g)
        return torch.cat(products, 1).squeeze(2), None, None
