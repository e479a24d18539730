"""The additive score, whose hidden layer is never kept, and on a CPU made in chunks.

Shapes: B sentences, N queries per sentence, R rows that a query meets (S or W of them), F features.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nmt.models.ops.plain import is_plain

# Elements of the hidden layer that exist at a time: on a CPU 2 MB, about a core's own cache; on a GPU, where each
# kernel costs a launch, 128 MB, so that a step of a decoder makes all of it at once.
HIDDEN_ELEMENTS, HIDDEN_ELEMENTS_OF_GPU = 2**19, 2**25


def additive_scores(query: Tensor, rows: Tensor, v: Tensor) -> Tensor:
    """v . tanh(query + row): query (B, N, F), rows (B, 1 or N, R, F), v (F,) -> (B, N, R), in float32 or wider.

    Where the hidden layer (B, N, R, F) is large, both passes make it in chunks over N and R, and never the whole.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    if is_plain():
        return torch.tanh(query.to(wide)[:, :, None] + rows) @ v.to(wide)
    return cast(Tensor, _Additive.apply(query.to(wide), rows, v.to(wide)))


class _Additive(Function):
    """tanh(x) is computed as 2 sigmoid(2x) - 1, whose kernel is 6 times as fast on a CPU.

    On a GPU, where the hidden layer fits, tanh is tanh: of Bahdanau's or the concat score a target position launches
    fewer kernels by 16 (tests/models/test_kernel_launches.py).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, rows: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(query, rows, v)
        with torch.autocast(query.device.type, enabled=False):
            if _few_launches(query, rows):
                return torch.tanh(query[:, :, None] + rows) @ v
            scores = query.new_empty(*query.shape[:2], rows.size(2))
            for n, r, own in _chunks(query, rows):
                scores[:, n, r] = _halves(query[:, n], rows[:, own, r]) @ (2 * v)
        return scores.sub_(v.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, rows, v = ctx.saved_tensors
        shared = rows.size(1) < query.size(1)
        if _few_launches(query, rows):
            hidden = torch.tanh(query[:, :, None] + rows)
            inner = torch.ops.aten.tanh_backward(grad[..., None] * v, hidden)
            d_rows = inner.sum(1, keepdim=True) if shared else inner
            return inner.sum(2), d_rows.to(rows.dtype), grad.flatten() @ hidden.flatten(0, 2)
        d_rows = (torch.zeros_like if shared else torch.empty_like)(rows, dtype=query.dtype)
        d_query, d_v = torch.zeros_like(query), -grad.sum()
        for n, r, own in _chunks(query, rows):
            half, g = _halves(query[:, n], rows[:, own, r]), grad[:, n, r]
            d_v = d_v + 2 * (g.flatten() @ half.flatten(0, 2))
            inner = torch.ops.aten.sigmoid_backward(g[..., None] * (4 * v), half)
            d_query[:, n] += inner.sum(2)
            if shared:
                d_rows[:, own, r] += inner.sum(1, keepdim=True)
            else:
                d_rows[:, own, r] = inner
        return d_query, d_rows.to(rows.dtype), d_v.expand_as(v)


def _few_launches(query: Tensor, rows: Tensor) -> bool:
    """Whether the hidden layer is made at once: it fits, and the device is one that launches cost time on."""
    return launches_cost(query.device) and query.numel() * rows.size(2) <= HIDDEN_ELEMENTS_OF_GPU


def launches_cost(device: torch.device) -> bool:
    """Whether a kernel takes longer to launch than a small one to run."""
    return device.type != "cpu"


def _chunks(query: Tensor, rows: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Parts of N, of R, and of the rows' own second axis, which has one entry where all queries share them."""
    B, N, F = query.shape
    R = rows.size(2)
    most = HIDDEN_ELEMENTS_OF_GPU if launches_cost(query.device) else HIDDEN_ELEMENTS
    some_r = max(1, min(R, most // (B * F)))
    some_n = max(1, most // (B * F * some_r))
    for n in range(0, N, some_n):
        queries = slice(n, min(n + some_n, N))
        for r in range(0, R, some_r):
            own = slice(0, 1) if rows.size(1) == 1 else queries
            yield queries, slice(r, min(r + some_r, R)), own


def _halves(query: Tensor, rows: Tensor) -> Tensor:
    """sigmoid(2 (query + rows)), which is (1 + tanh) / 2: (B, N, R, F)."""
    return torch.add(2 * query[:, :, None], rows, alpha=2).sigmoid_()
