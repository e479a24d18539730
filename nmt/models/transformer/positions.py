"""What of its position enters a token's vector, or turns queries and keys; positions are counted from 0."""

import torch
from torch import Tensor, nn

from nmt.batch import PAD
from nmt.errors import ConfigError
from nmt.models.ops.dropout import dropout, word_dropout
from nmt.models.transformer.config import Positions, TransformerConfig


class Embedding(nn.Module):
    """sqrt(D) times a token's vector (Vaswani et al. 2017, section 3.4), plus its position's where it has one."""

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.dropout, self.word_dropout = config.dropout, config.word_dropout
        self.sinusoids = Sinusoids(config.hidden_size) if config.positions is Positions.sinusoidal else None
        self.words = nn.Embedding(vocabulary, config.hidden_size, padding_idx=PAD)
        learned = config.positions is Positions.learned
        self.places = nn.Embedding(config.max_positions, config.hidden_size) if learned else None

    def forward(self, ids: Tensor, positions: range) -> Tensor:
        """ids (B, N) int64 at ``positions``, N of them or one for all -> (B, N, D).

        Raises ConfigError for a position that learned positions have no row for.
        """
        D = self.words.embedding_dim
        x = word_dropout(self.words(ids) * D**0.5, self.word_dropout, self.training)
        if self.sinusoids is not None:
            x = x + self.sinusoids(positions, x).flatten(1)[:, :D]
        elif self.places is not None:
            if positions.stop > self.places.num_embeddings:
                raise ConfigError(
                    f"a sequence of {positions.stop} positions: model.positions=learned has rows for "
                    f"model.max_positions={self.places.num_embeddings}"
                )
            x = x + self.places.weight[positions.start : positions.stop]
        return dropout(x, self.dropout, self.training)


class Sinusoids:
    """sin and cos of p / 10000^(2i / width), kept for the positions met so far.

    Laid flat, the features of Vaswani et al. 2017, section 3.5: sines at even places, cosines at odd ones.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.tables: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, positions: range, like: Tensor) -> Tensor:
        """(positions, ceil(width / 2), 2), on the device and in the dtype of ``like``."""
        rows = 1 << (positions.stop - 1).bit_length()  # few different tables, however many lengths there are
        key = rows, like.dtype, like.device
        if key not in self.tables:
            self.tables[key] = self._table(*key)
        return self.tables[key][positions.start : positions.stop]

    @torch.inference_mode(False)  # a table made in search must do for training
    def _table(self, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        frequency = 10000.0 ** (-torch.arange(0, self.width, 2, dtype=torch.float64) / self.width)
        angle = torch.outer(torch.arange(rows, dtype=torch.float64), frequency)
        return torch.stack([angle.sin(), angle.cos()], 2).to(device, dtype)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """x (B, N, ..., F) rotated by ``rotations``, Sinusoids of width F: R_p x of Su et al. 2021, eq. 34, at position p.

    Features i and i + F/2 make a pair, which is turned by p / 10000^(2i / F); the paper's pairs are neighbours, the
    same up to the order of the weights' rows.  Then (R_p q) . (R_r k) depends on p and r through p - r alone.
    """
    sin, cos = rotations.view(rotations.size(0), *[1] * (x.dim() - 3), -1, 2).unbind(-1)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)
