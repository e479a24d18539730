"""The LSTM encoder: source embeddings to states in natural order."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from nmt.models.attention import Memory
from nmt.models.lstm.config import EncoderBlock, EncoderKind, LSTMConfig
from nmt.models.lstm.deep_fusion import SourceTapes
from nmt.models.lstm.lstmn import LSTMNLayer, remember_padded
from nmt.models.lstm.non_local import NonLocalBlock
from nmt.models.ops.dropout import dropout
from nmt.models.ops.lstm_layer import LSTMLayer, LSTMState, read_padded


class Encoded(NamedTuple):
    """What the decoder needs of a batch of sources."""

    memory: Memory | None  # None without attention
    start: list[LSTMState]  # of each decoder layer
    tapes: SourceTapes | None = None  # where the decoder's cell reads them
    words: Tensor | None = None  # (B, S, E) word vectors in natural order, where each predicts alone


class Read(NamedTuple):
    """What the encoder makes of a batch of sources."""

    values: Tensor  # (S, B, H) top outputs
    final: list[LSTMState]  # of each layer, (B, H)
    maps: list[Tensor]  # of lstmn, if asked, what each word remembers in each layer: (B, directions, S, S) float32
    memories: Tensor | None  # (S, B, H) c of the top layer, of lstmn


class LSTMEncoder(nn.Module):
    """Stacked LSTM layers, in one direction or both.

    Bidirectional: a layer's output is [forward; backward], each of half the width, so that memory and
    decoder are equally wide.  Residual: x^l = LSTM(x^{l-1}) + x^{l-1} above the first layer
    (Wu et al. 2016, eq. 6).  A non-local block may stand above the last layer; the
    decoder's first state is made without it.  The layers are LSTMs or, with model.encoder=lstmn, those of lstmn.py.
    """

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.dropout, self.shared, self.residual = config.dropout, config.dropout_axis, config.residual
        self.directions = 2 if config.bidirectional else 1
        sizes = [config.embedding_width] + [config.hidden_size] * ((config.encoder_layers or config.num_layers) - 1)
        kind = LSTMNLayer if config.encoder is EncoderKind.lstmn else LSTMLayer
        layers = nn.ModuleList(
            kind(size, config.hidden_size // self.directions, config.bias)
            for size in sizes
            for _ in range(self.directions)
        )
        self.layers = cast(Sequence[Any], layers)
        self.remembers = kind is LSTMNLayer
        self.block = NonLocalBlock(config.hidden_size) if config.encoder_block is EncoderBlock.non_local else None

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[LSTMState]]:
        """x (S, B, E), lengths (B,) -> top outputs (S, B, H) and each layer's final state (B, H).

        The final state is the forward direction's at the last word, beside the backward direction's at the first.
        """
        x, final, *_ = self.read(x, lengths, want_maps=False)
        return x, final

    def read(self, x: Tensor, lengths: Tensor, want_maps: bool) -> Read:
        """The same, and what lstmn remembers, if asked in maps."""
        final, maps, memories = [], [], None
        for depth in range(0, len(self.layers), self.directions):
            if depth:
                x = dropout(x, self.dropout, self.training, self.shared)
            layers = self.layers[depth : depth + self.directions]
            if self.remembers:
                (h, memories), state, remembered = remember_padded(layers, x, lengths, want_maps)
                maps += remembered
            else:
                h, state = read_padded(layers, x, lengths)
            final.append(state)
            x = h + x if self.residual and depth else h
        if self.block is not None:
            x = self.block(x.transpose(0, 1), lengths).transpose(0, 1)
        return Read(x, final, maps, memories)


def reversed_places(words: Tensor, size: int) -> Tensor:
    """Places (B, size) that read each sentence's first ``words`` (B,) positions last to first, the rest as it is.

    Its own inverse.  An end-of-sentence after the words stays after them.
    """
    s = torch.arange(size, device=words.device)
    return torch.where(s < words[:, None], words[:, None] - 1 - s, s)
