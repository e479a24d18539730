"""The factor by which the loss is multiplied in fp16, so that small gradients do not become zero."""

from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from nmt.device import Precision


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, section 3.2): gradients of s L in fp16, divided by s in float32.

    Below 6e-8 a number is zero in fp16, and so are many gradients; s L has gradients s times as large.  s is 65,536 at
    first, half as large after an update with a gradient that is not finite, which is skipped, and twice as large after
    2,000 updates in a row without one.  In fp32 and bf16, which have the same exponents, nothing is scaled.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.scaler = GradScaler(device.type, enabled=precision is Precision.fp16)

    def scaled(self, loss: Tensor) -> Tensor:
        """s ``loss``: ()."""
        return self.scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer's parameters by s, once for each update."""
        self.scaler.unscale_(optimizer)

    def update(self) -> None:
        """Make s smaller or larger, after the update."""
        if self.scaler.is_enabled():
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """s and since how many updates it is the same; {} where nothing is scaled."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; {} was saved in another precision, and s is as at first."""
        if state and self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
