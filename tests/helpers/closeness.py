"""What equal means in float64."""

import torch


def assert_close(found, expected, atol=1e-10):
    """Tensors, or several of them in order, whatever their size: an absolute difference of at most ``atol``."""
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
