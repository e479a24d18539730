"""A switch that puts plain torch code in the place of this package's kernels: for exporters, which trace operators.

What they cannot see through are autograd functions, oneDNN's own operators, and results that are written in place.
Within ``plain_operations`` nothing of that runs, and no gradient is made; results are the same up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_switch = {"on": False}


def is_plain() -> bool:
    """Whether ``plain_operations`` is on."""
    return _switch["on"]


@contextmanager
def plain_operations() -> Iterator[None]:
    """Within, whatever thread asks, the functions of this package are plain torch code, without gradients."""
    before = _switch["on"]
    _switch["on"] = True
    try:
        with torch.no_grad():
            yield
    finally:
        _switch["on"] = before
