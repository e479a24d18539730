"""A plug-in for the tests: an attention that reads every position alike, times a factor."""

from dataclasses import dataclass

from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig
from nmt.models.attention.base import masked_softmax
from nmt.settings import setting


@dataclass
class EvenConfig(AttentionConfig):
    """every source position alike"""

    name: str = "even"
    factor: float = setting(1.0, "what each context is multiplied by", above=0)


class EvenAttention(Attention):
    """a_s = 1 / S"""

    def __init__(self, config: EvenConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.factor = config.factor

    def forward(self, query, memory, position):
        weights = masked_softmax(query.new_zeros(*query.shape[:2], memory.values.size(1)), memory.padding)
        return Attended(self.factor * memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


ATTENTIONS[EvenConfig] = EvenAttention
