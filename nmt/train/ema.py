"""An exponential moving average (EMA) of the weights over training: what is validated, saved and translated with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage:
    """a_t = d_t a_{t-1} + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t)),   a_0 = w_0

    w_t are the weights after update t; a skipped update leaves them as they were.  Polyak and Juditsky 1992 give all
    w_t the same share; here about the last 1 / (1 - decay) of them count most.  d_t starts small and rises to
    ``decay``, so that the first weights are soon forgotten.  With ``decay`` 0 there is no average: nothing is stored,
    and every method uses the weights themselves.

    torch's AveragedModel is not used: it has one decay for all t, and copies a count to the device at each update,
    for which the host would wait.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters) if decay else []
        self.decay = decay
        self.updates = 0  # t
        self.averages = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Add the weights after an update to the average."""
        if not self.parameters:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(self.averages, self.parameters, self.updates)

    @contextmanager
    def in_place(self, model: Model) -> Iterator[Model]:
        """Inside this context the model, whose parameters these are, has the average for its weights."""
        self._exchange()
        try:
            yield model
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for p, average in zip(self.parameters, self.averages, strict=True):
            weight = p.clone()
            p.copy_(average)
            average.copy_(weight)

    def model_state(self, model: nn.Module) -> dict[str, Tensor]:
        """``model.state_dict()`` with the average in place of the trained weights; the tensors are not copied."""
        averages = {id(p): average for p, average in zip(self.parameters, self.averages, strict=True)}
        names = model.named_parameters(remove_duplicate=False)  # tied weights have several names
        return model.state_dict() | {name: averages[id(p)] for name, p in names if id(p) in averages}

    def state_dict(self, model: nn.Module) -> dict[str, Any]:
        """What a checkpoint needs besides ``model_state`` so that training can continue; empty without an average."""
        return {"ema": {"updates": self.updates, "model": model.state_dict()}} if self.parameters else {}

    @torch.no_grad()
    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Load weights and average from a checkpoint: its "model" is ``model_state``, its "ema" from ``state_dict``.

        Where the checkpoint has no average, one begins with its weights.
        """
        model.load_state_dict(state["model"])
        for p, average in zip(self.parameters, self.averages, strict=True):
            average.copy_(p)
        if "ema" in state:
            model.load_state_dict(state["ema"]["model"])
            self.updates = state["ema"]["updates"]
