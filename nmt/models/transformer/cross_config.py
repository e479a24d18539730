"""What a user can choose about the Transformer's attention to the source: the keys under ``model.cross_attention``."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import cast

from nmt.models.attention import ATTENTIONS, Attention
from nmt.models.attention.config import AttentionConfig, SourceAttentionConfig

KEY = "model.cross_attention"


@dataclass
class MultiHeadConfig(SourceAttentionConfig):
    """model.heads heads, each with queries, keys and values of its own   (Vaswani et al. 2017)"""

    name: str = "multi_head"


def reads_all_positions_at_once(config: type[SourceAttentionConfig]) -> bool:
    """Whether the row of ATTENTIONS knows nothing of the target positions before, as ``Attention.start`` tells."""
    module = ATTENTIONS.get(cast(type[AttentionConfig], config))
    return module is not None and module.start is Attention.start


class CrossAttentions(Collection[type[SourceAttentionConfig]]):
    """multi_head, and the rows of ATTENTIONS that can serve; a row that is added later is among them."""

    def __iter__(self) -> Iterator[type[SourceAttentionConfig]]:
        yield MultiHeadConfig
        yield from filter(reads_all_positions_at_once, ATTENTIONS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, config: object) -> bool:
        return any(row is config for row in self)


def why_not(name: str) -> str | None:
    """Why the row of ATTENTIONS of this name is no cross-attention, as a message; None where there is no such row."""
    config = next((row for row in ATTENTIONS if row.name == name), None)
    if config is None or reads_all_positions_at_once(config):
        return None
    if ATTENTIONS[config] is None:
        reason = "the Transformer's decoder sees the source through its cross-attention alone"
    else:
        reason = (
            "what it attends to depends on the target positions before, in turn, and the Transformer's decoder reads "
            "all of them at once"
        )
    return f"{KEY}={name}: {reason}; choose one of {', '.join(row.name for row in CrossAttentions())}"
