"""An attention of your own.  Copy this file, rename what is called Mine, and change the score:

    python -m nmt.train plugins=[my_attention.py] model.attention=mine

Shapes: B sentences, S source positions, N queries a sentence, Q features of a query, M features of an encoder state.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig, Memory
from nmt.models.attention.base import masked_softmax
from nmt.settings import setting


@dataclass
class MineConfig(AttentionConfig):
    """the first sentence of --help about this choice"""

    # What is typed: model.attention=mine.  It must be no name that is there already.
    name: str = "mine"
    # Each field is a key, model.attention.scale, with its default, its help and its range; a value outside is refused.
    scale: float = setting(1.0, "what scores are multiplied by before the softmax", above=0)


class MineAttention(Attention):
    """a = softmax_s(scale . q . W h_s), c = sum over s of a_s h_s.  Write your formula and its source here."""

    def __init__(self, config: MineConfig, query_size: int, memory_size: int) -> None:
        """``query_size`` is Q and ``memory_size`` M.  The model draws initial weights; make modules, no numbers."""
        super().__init__()
        self.scale = config.scale
        self.keys = nn.Linear(memory_size, query_size, bias=False)

    def project_keys(self, values: Tensor, queries: int | None, at_once: int) -> Tensor:
        """W h_s for values (B, S, M).  Called once a batch: work that does not depend on the query belongs here.

        Memory: what is returned, (B, S, Q), is kept for the batch; search keeps it once a sentence, not a hypothesis.
        """
        return self.keys(values)

    def forward(self, query: Tensor, memory: Memory, position: Tensor) -> Attended:
        """Attend.  query (B, N, Q); position (N,) or (B, N), the target index of each query, for those that need it.

        N queries: T in teacher forcing without input feeding, 1 with it, the hypotheses in beam search.  No query may
        depend on another, and there is no loop over them.
        """
        keys = memory.keys  # (B, S, Q), what project_keys returned
        # Autocast: keys may be bfloat16 while the query is float32; a product of two types is refused without this.
        scores = self.scale * query.to(keys.dtype) @ keys.transpose(1, 2)  # (B, N, S)
        # Padding: memory.padding (B, 1, S) is True there.  masked_softmax gives it exactly 0 and works in float32;
        # a softmax without it would let the length of other sentences of the batch change the translation.
        weights = masked_softmax(scores, memory.padding)  # (B, N, S)
        # weighted_sum reads the encoder states, whose padding is zero, without a copy for each query.  The result goes
        # on in the query's type.
        context = memory.value_rows.weighted_sum(weights).to(query.dtype)  # (B, N, M)
        # A window of W positions would return weights (B, N, W) and positions=(B, N, W), their places in the source.
        return Attended(context, weights)


# The row that makes it a choice.
ATTENTIONS[MineConfig] = MineAttention

if __name__ == "__main__":  # python my_attention.py
    from nmt.testing import check_attention

    check_attention(MineAttention, MineConfig())
    print("everything that callers rely on holds")
