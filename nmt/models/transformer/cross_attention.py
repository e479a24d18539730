"""A mechanism of nmt/models/attention as the Transformer's attention to the source (``model.cross_attention``).

Shapes: B sentences, S source positions, N queries a sentence, D features, H heads.
"""

import torch
from torch import Tensor, nn

from nmt.errors import naming
from nmt.models.attention import Memory, build_attention
from nmt.models.attention.config import AttentionConfig
from nmt.models.attention.local_attention import CentrePredictor
from nmt.models.attention.scores import GeneralScore
from nmt.models.ops.prepacked import Linear
from nmt.models.seq2seq import AttentionMaps
from nmt.models.transformer.cross_config import KEY


class MechanismCrossAttention(nn.Module):
    """W_O attend(x_t; h_1 ... h_S) + b: the query is the sublayer's input at t, the memory is the encoder's output.

    ``attend`` is a row of ATTENTIONS with its own formula, one of its own in each layer; all of its options count
    from the same t and S as in an LSTM.  Of the rows that are described with another query, as bahdanau with the state
    before the step, x_t takes its place: it knows the words up to y_{t-1}, as that state does.

    ``heads`` are those of ``model.cross_attention.heads`` (nmt/models/attention/several_heads.py).  Attention weights
    are not dropped.
    """

    def __init__(self, config: AttentionConfig, hidden_size: int) -> None:
        """``hidden_size`` D of both sides.  Raises ConfigError where the mechanism cannot be made for it."""
        super().__init__()
        with naming(KEY, instead="model.attention"):
            mechanism = build_attention(config, hidden_size, hidden_size)
        assert mechanism is not None  # TransformerConfig has refused none
        self.mechanism = mechanism
        self.output = Linear(hidden_size, hidden_size)

    def initialize(self) -> None:
        """Change what ``layers.initialize`` did where layer-normalized vectors ask for something else.

        Their features have variance 1.  With it x . W h has variance 1 for W N(0, 1/D^2), and D times that with W as
        Glorot has it, whose softmax is one word for long.  v of local_p begins at 0, so that p begins in the middle of
        the sentence or, with centre=diagonal, at t.
        """
        for part in self.mechanism.modules():
            if isinstance(part, GeneralScore):
                nn.init.normal_(part.project.weight, std=part.project.weight.numel() ** -0.5)
            elif isinstance(part, CentrePredictor):
                nn.init.zeros_(part.energy.weight)

    def prepare(self, source: Tensor, lengths: Tensor, queries: int | None, at_once: int) -> Memory:
        """The encoder's output (B, S, D) with lengths (B,) as ``Attention.prepare`` takes it, once a batch.

        Raises UserError for a source that is too long for the mechanism.
        """
        with naming(KEY, instead="model.attention"):
            return self.mechanism.prepare(source, lengths, queries, at_once)

    def forward(self, x: Tensor, memory: Memory, position: Tensor, record: list[AttentionMaps] | None) -> Tensor:
        """x (B, N, D), target positions (N,) -> (B, N, D); ``record`` gets the maps of this layer, if there is one."""
        attended = self.mechanism(x, memory, position)
        if record is not None:
            weights = attended.by_head(attended.dense_weights(memory.padding.size(2)))[:, None]
            centre = None if attended.centre is None else attended.by_head(attended.centre)[:, None]
            record.append(AttentionMaps(weights, centre, self.mechanism.half_width))
        return self.output(attended.context)


def target_positions(positions: range, like: Tensor) -> Tensor:
    """The place of each query as a mechanism takes it, (N,), for x (B, N, D) ``like`` these.

    ``positions`` are N or, where all queries are hypotheses of one target position, one.
    """
    return torch.arange(positions.start, positions.stop, device=like.device).expand(like.size(1))
