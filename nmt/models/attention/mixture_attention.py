"""A window that moves on: a mixture of Gaussians over source positions, which no comparison with them has made."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.attention.base import Attended, Attention, Memory
from nmt.models.attention.config import MixtureForm, MixtureWindowConfig


class MixtureWindowAttention(Attention):
    """a_{t,s} = sum_k g_k(s + 1) for K Gaussians, whose means only move forward: mu_t = mu_{t-1} + d_t, mu_0 = 0.

    With (w', d', r') = V tanh(W q + b), K numbers each, and x = s + 1 - mu_{t,k}:

    form=v2       g = softmax(w')_k / sqrt(2 pi r^2) exp(-x^2 / (2 r^2)),  d = softplus(d'),  r = softplus(r')
                  (V2 of Battenberg et al. 2020, section 2.2)
    form=graves   g = exp(w'_k) exp(-exp(r'_k) x^2),  d = exp(d')
                  (Graves 2013, eqs. 46 to 51, where w', d' and r' are W q + b without a hidden layer)

    Rows are not normalized and sum to any number: the weights of v2 are densities at whole numbers, whose sum is near 1
    only for wide Gaussians inside the sentence, and above it for narrow ones at a word.  The query is the state after
    the step.  All of it is computed in float32 or wider.  The papers could not be read in full here: the formulas, and
    the numbers of sections and equations, are from memory.
    """

    def __init__(self, config: MixtureWindowConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.graves, self.components = config.form is MixtureForm.graves, config.components
        self.hidden = nn.Linear(query_size, config.hidden_size)
        self.parameters_of = nn.Linear(config.hidden_size, 3 * config.components, bias=False)

    def start(self, values: Tensor) -> dict[str, Tensor]:
        dtype = torch.promote_types(values.dtype, torch.float32)
        return {"mean": values.new_zeros(len(values), 1, self.components, dtype=dtype)}

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        assert memory.carried is not None
        with torch.autocast(query.device.type, enabled=False):
            hidden = self.hidden(query.to(self.hidden.weight.dtype)).tanh()
            w, d, r = self.parameters_of(hidden).chunk(3, 2)  # (B, N, K) each
            mean = memory.carried["mean"] + (d.exp() if self.graves else F.softplus(d))
            s = torch.arange(1, memory.values.size(1) + 1, device=query.device, dtype=mean.dtype)
            x = s[:, None] - mean[:, :, None]  # (B, N, S, K)
            if self.graves:
                height, precision = w.exp(), r.exp()
            else:
                width = F.softplus(r)
                height, precision = w.softmax(2) / (math.sqrt(2 * math.pi) * width), 0.5 / width.square()
            gaussians = torch.exp(-precision[:, :, None] * x.square())
            weights = (gaussians @ height[..., None]).squeeze(3).masked_fill(memory.padding, 0.0)
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)
        return Attended(context, weights, carried={"mean": mean})
