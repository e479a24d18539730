"""What of its position enters a token's vector, or turns queries and keys; positions are counted from 0."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from nmt.batch import PAD
from nmt.errors import ConfigError
from nmt.models.ops.dropout import dropout
from nmt.models.transformer.config import Positions, TransformerConfig


class Embedding(nn.Module):
    """sqrt(D) times a token's vector (Vaswani et al. 2017, section 3.4), plus its position's where it has one."""

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.dropout, self.sinusoidal = config.dropout, config.positions is Positions.sinusoidal
        self.words = nn.Embedding(vocabulary, config.hidden_size, padding_idx=PAD)
        learned = config.positions is Positions.learned
        self.places = nn.Embedding(config.max_positions, config.hidden_size) if learned else None

    def forward(self, ids: Tensor, places: range) -> Tensor:
        """ids (B, N) int64 at ``places``, N of them or one for all -> (B, N, D).

        Raises ConfigError for a place that learned positions have no row for.
        """
        D = self.words.embedding_dim
        x = self.words(ids) * D**0.5
        if self.sinusoidal:
            x = x + sinusoids(places, D, x).flatten(1)[:, :D]
        elif self.places is not None:
            if places.stop > self.places.num_embeddings:
                raise ConfigError(
                    f"a sequence of {places.stop} positions: model.positions=learned has rows for "
                    f"model.max_positions={self.places.num_embeddings}"
                )
            x = x + self.places.weight[places.start : places.stop]
        return dropout(x, self.dropout, self.training)


def sinusoids(places: range, width: int, like: Tensor) -> Tensor:
    """sin and cos of p / 10000^(2i / width): (places, ceil(width / 2), 2) in the dtype of ``like``.

    Laid flat, the features of Vaswani et al. 2017, section 3.5: sines at even places, cosines at odd ones.
    """
    rows = 1 << (places.stop - 1).bit_length()  # few different tables, however many lengths there are
    return _sinusoids(rows, width, like.dtype, like.device)[places.start : places.stop]


@lru_cache(maxsize=16)
def _sinusoids(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a table made in search must do for training
        frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = torch.outer(torch.arange(rows, dtype=torch.float64), frequency)
        return torch.stack([angle.sin(), angle.cos()], 2).to(device, dtype)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """x (B, N, ..., F) rotated by ``rotations`` = sinusoids(places, F): R_p x of Su et al. 2021, eq. 34, at place p.

    Features i and i + F/2 make a pair, which is turned by p / 10000^(2i / F); the paper's pairs are neighbours, the
    same up to the order of the weights' rows.  Then (R_p q) . (R_r k) depends on p and r through p - r alone.
    """
    sin, cos = rotations.view(rotations.size(0), *[1] * (x.dim() - 3), -1, 2).unbind(-1)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)
