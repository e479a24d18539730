"""Which weights stay beside last.pt and best.pt, to be averaged later (Vaswani et al. 2017, section 6.1)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmt.runs import checkpoint
from nmt.train.config import sign_of

FILE = "checkpoints/step-{:08d}.pt"  # inside a run directory; sorted by name they are sorted by step


def retained_checkpoints(directory: Path) -> list[Path]:
    """The files of retained weights in a run directory, the earliest first."""
    return sorted(directory.glob("checkpoints/step-*.pt"))


def best_checkpoints(paths: Sequence[Path], count: int, metric: str) -> list[Path]:
    """The ``count`` best by the validation at which each was written, the best first; the earlier of equals."""

    if not count:  # and none need be read
        return []

    def goodness(path: Path) -> float:
        value = sign_of(metric) * checkpoint.load(path, mmap=True).get("metrics", {}).get(metric, math.nan)
        return -math.inf if math.isnan(value) else value

    return sorted(paths, key=goodness, reverse=True)[:count]


def retain(directory: Path, state: dict[str, Any], last: int, most: int, metric: str) -> None:
    """Write ``state`` (model, step, metrics); delete what is neither of the ``last`` latest nor of the ``most`` best.

    With both 0 nothing is written and nothing deleted.
    """
    if not (last or most):
        return
    checkpoint.save(directory / FILE.format(state["step"]), state)
    paths = retained_checkpoints(directory)
    wanted = {*paths[max(len(paths) - last, 0) :], *best_checkpoints(paths, most, metric)}
    for path in paths:
        if path not in wanted:
            path.unlink(missing_ok=True)
