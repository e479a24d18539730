"""The solution of teaching/local_p.py: the same file with its forward pass written."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig, Memory
from nmt.models.attention.base import masked_softmax
from nmt.settings import setting


@dataclass
class MyLocalPConfig(AttentionConfig):
    """local-p, as an exercise"""

    name: str = "my_local_p"
    half_width: int = setting(10, "D: positions on either side of the centre", least=1)


class MyLocalP(Attention):
    """Shapes: B sentences, N queries a sentence, S positions, Q features of a query, M of a position."""

    def __init__(self, config: MyLocalPConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.D = config.half_width
        self.W_a = nn.Linear(memory_size, query_size, bias=False)
        self.W_p = nn.Linear(query_size, query_size, bias=False)
        self.v_p = nn.Linear(query_size, 1, bias=False)

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor:
        """W_a h_s of values (B, S, M): (B, S, Q), made once a batch; ``memory.keys`` of ``forward``."""
        return self.W_a(values)

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        """Context (B, N, M) and weights (B, N, S) of query (B, N, Q).

        memory.keys (B, S, Q), memory.values (B, S, M) with zeros at padding, memory.lengths (B,) the words of each
        sentence, memory.padding (B, 1, S) True beyond them.  ``memory.value_rows.weighted_sum(weights)`` is the
        context.  ``masked_softmax(scores, outside)`` of nmt.models.attention.base gives exactly 0 where ``outside`` is
        True, and works in float32 where the scores are bfloat16.  ``position`` is not needed.
        """
        D, S = self.D, memory.lengths[:, None]  # (B, 1)
        # In float32 or wider: bfloat16 would put position 257 at 256.
        # The query may be bfloat16, the weights never are.
        with torch.autocast(query.device.type, enabled=False):
            h = query.to(self.W_p.weight.dtype)
            p = S * self.v_p(torch.tanh(self.W_p(h))).squeeze(2).sigmoid()  # (B, N)
        p, s = p[..., None], torch.arange(memory.values.size(1), device=query.device)
        outside = ((s - p.floor()).abs() > D) | memory.padding  # (B, N, S)
        scores = query.to(memory.keys.dtype) @ memory.keys.transpose(1, 2)
        gaussian = torch.exp(-((s - p) ** 2) / (2 * (D / 2) ** 2))
        weights = masked_softmax(scores, outside) * gaussian
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


ATTENTIONS[MyLocalPConfig] = MyLocalP
