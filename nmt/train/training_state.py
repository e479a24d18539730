"""How far training has come, and the state of the random number generators: what a checkpoint needs to resume from."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch

from nmt.train.config import sign_of


@dataclass
class TrainingState:
    """How many updates were made, and what the validations so far have found."""

    step: int = 0  # updates, skipped ones included
    seconds: float = 0.0  # spent on updates, over all resumptions; validations are not counted
    validated_step: int = 0  # the step of the latest validation
    validations_since_best: int = 0
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)

    def record_validation(self, metrics: Mapping[str, float], metric: str) -> bool:
        """Count a validation at the present step; returns whether it is the best so far, by ``metric``."""
        sign = sign_of(metric)
        value, best = sign * metrics[metric], sign * self.best_metrics.get(metric, -sign * math.inf)
        improved = value > best  # never for NaN
        self.validated_step = self.step
        self.validations_since_best = 0 if improved else self.validations_since_best + 1
        if improved:
            self.best_step, self.best_metrics = self.step, dict(metrics)
        return improved

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint.  The keys never change, so that runs of earlier versions can be resumed."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "validated": self.validated_step,
            "waited": self.validations_since_best,
            "best_step": self.best_step,
            "best_metrics": dict(self.best_metrics),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """What ``state_dict`` wrote; raises KeyError where something is missing."""
        return cls(
            step=state["step"],
            seconds=state["seconds"],
            validated_step=state["validated"],
            validations_since_best=state["waited"],
            best_step=state["best_step"],
            best_metrics=state["best_metrics"],
        )


def capture_rng(device: torch.device) -> dict[str, Any]:
    """The state of every random number generator in use, as tensors and plain values."""
    version, words, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    state = {
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(numpy["state"]["key"].astype(np.int64)), numpy["state"]["pos"]],
        "numpy_gauss": [numpy["has_gauss"], numpy["gauss"]],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng(state: dict[str, Any], device: torch.device) -> None:
    """Undo everything drawn since ``capture_rng``; a state from another kind of device restores what it can."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    key, position = state["numpy"]
    np.random.set_state(("MT19937", key.numpy().astype(np.uint32), position, *state["numpy_gauss"]))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
