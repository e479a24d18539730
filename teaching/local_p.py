"""Assignment: write the forward pass of Luong's local-p attention.

    python teaching/grade.py teaching/local_p.py

gives points for each property, and a sentence for each that does not hold yet.  Luong et al. 2015, section 3.2:

    p_t = S sigmoid(v_p . tanh(W_p h_t))                                       (eq. 9)
    a_t(s) = align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2)),   sigma = D/2    (eq. 10)
    align(h_t, h_s) = softmax of h_t . W_a h_s over the window, floor(p_t) - D to floor(p_t) + D
    c_t = sum_s a_t(s) h_s

S is the number of words of the sentence, and positions s are counted from 0.  Nothing is normalized after the Gaussian.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig, Memory
from nmt.settings import setting


@dataclass
class MyLocalPConfig(AttentionConfig):
    """local-p, as an exercise"""

    name: str = "my_local_p"
    half_width: int = setting(10, "D: positions on either side of the centre", least=1)


class MyLocalP(Attention):
    """See above.  Shapes: B sentences, N queries a sentence, S positions, Q features of a query, M of a position."""

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
        raise NotImplementedError("forward is not written yet")


ATTENTIONS[MyLocalPConfig] = MyLocalP
