"""What search makes of weights once, while nothing changes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nmt.models.ops.matmul import Packed
from nmt.models.ops.precision import compute_dtype

T = TypeVar("T")
MAKING = RLock()  # batches searched at once need the same things at the same time


class Holder:
    """A module that makes something of its weights, in the dtype of the products, before they can be used."""

    held: dict[torch.dtype, Any] | None = None  # what is made already, within ``hold_weights``

    def once(self, dtype: torch.dtype, make: Callable[[], T]) -> T:
        """What ``make`` made the first time within ``hold_weights``; outside, what it makes now."""
        held = self.held
        if held is None:
            return make()
        with MAKING:
            if dtype not in held:
                held[dtype] = make()
        return held[dtype]


@contextmanager
def hold_weights(model: nn.Module) -> Iterator[None]:
    """Within, no weight of the model changes, and what its Holders make is kept; for search, without gradients."""
    holders = [module for module in model.modules() if isinstance(module, Holder) and module.held is None]
    for holder in holders:
        holder.held = {}
    try:
        yield
    finally:
        for holder in holders:
            holder.held = None


class Linear(Holder, nn.Linear):
    """nn.Linear; within ``hold_weights`` its weight is cast and laid out once (``Packed``)."""

    def forward(self, input: Tensor) -> Tensor:  # as in nn.Linear
        if self.held is None or torch.is_grad_enabled():
            return super().forward(input)
        dtype = compute_dtype(input)
        return self.once(dtype, lambda: Packed.of(self, dtype))(input)
