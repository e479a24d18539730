"""How far a run has come, and how well it did."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nmt.train.config import sign_of


@dataclass
class Standing:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0  # updates, skipped ones included
    seconds: float = 0.0  # spent on them, over all resumptions
    validated: int = 0  # step of the latest validation
    waited: int = 0  # validations since the best one
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)

    def validate(self, metrics: Mapping[str, float], metric: str) -> bool:
        """Take note of a validation at the present step; returns whether it is the best so far, by ``metric``."""
        sign = sign_of(metric)
        value, best = sign * metrics[metric], sign * self.best_metrics.get(metric, -sign * math.inf)
        improved = value > best  # never for NaN
        self.validated = self.step
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best_step, self.best_metrics = self.step, dict(metrics)
        return improved
