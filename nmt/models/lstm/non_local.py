"""The non-local block of Wang et al. 2018 over the positions of a sequence."""

import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import additive_mask, real_positions


class NonLocalBlock(nn.Module):
    """z_i = W_z y_i + x_i,   y_i = sum_j softmax_j(theta(x_i) . phi(x_j)) g(x_j)

    The embedded Gaussian (eq. 1, 3 and 6): theta, phi and g are linear maps to half the features (section 3.3).  W_z is
    zero at first, so that the block starts as the identity and can be put on top of anything (section 3.3).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        inner = max(size // 2, 1)
        self.inputs = nn.Linear(size, 3 * inner)  # theta, phi, g
        self.output = nn.Linear(inner, size)  # W_z
        self.start_as_identity()

    def start_as_identity(self) -> None:
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, S, M), lengths (B,) -> (B, S, M).  Padding is not looked at; what stands there must be finite."""
        theta, phi, g = self.inputs(x)[:, None].chunk(3, -1)  # one head
        mask = additive_mask(real_positions(lengths, x.size(1))[:, None, None], theta.dtype)
        y = F.scaled_dot_product_attention(theta, phi, g, mask, scale=1.0)
        return x + self.output(y[:, 0])
