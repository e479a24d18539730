"""Which positions see which in self-attention: all, or W on either side in time and memory linear in the length.

Shapes: B sentences, T positions, H heads, F features a head; L windows a sentence, of C queries each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.attention.base import additive_mask, real_positions
from nmt.models.ops.precision import compute_dtype
from nmt.models.transformer.head_weights import Places, attention_weights
from nmt.models.transformer.multi_head import Attend, Weigh, attend, mixed

LEAST_BLOCK = 32  # queries of a window at least: products of fewer rows do not pay


class FullAttention:
    """Every position sees every word of its sentence or, in the causal one, itself and those before it."""

    def __init__(self, x: Tensor, lengths: Tensor | None, dropout: float = 0.0) -> None:
        """For inputs like x (B, T, D); lengths (B,) of an encoder's, None: causal."""
        self.dropout, self.causal, self.mask, self.lengths = dropout, lengths is None, None, lengths
        if lengths is not None:
            self.mask = additive_mask(real_positions(lengths, x.size(1))[:, None, None], compute_dtype(x))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        if weigh is None:
            return attend(q, k, v, self.mask, self.causal, self.dropout)
        place = torch.arange(q.size(1), device=q.device)
        mask = self.mask
        if mask is None:
            mask = additive_mask(place <= place[:, None], q.dtype)[None, None]
        return mixed(weigh(q, k, places(mask, place[None, :, None], place[None, None], self.lengths)), v, self.dropout)


class BandedAttention:
    """Every position sees itself and those at most W away; in the causal band, itself and the W before it.

    The sequence is cut into blocks of C >= W queries.  The keys of a block's queries lie in a window that sticks out
    by W, so that each window is a small attention of its own:

        queries        |  C  |  C  |  C  |
        window   | W |    C    | W |             (in the causal band without the W on the right)

    A query meets C + 2 W keys, of which 2 W + 1 count, whatever the length.  A sequence hardly longer than a window is
    one block, without neighbours.  Padding sees itself, so that each query has a position to attend to.
    """

    def __init__(
        self, reach: int, x: Tensor, lengths: Tensor | None, dropout: float = 0.0, one_block: bool = False
    ) -> None:
        """W = ``reach``, for inputs like x (B, T, D); lengths (B,) of an encoder's, None: causal."""
        (B, T), ahead = x.shape[:2], 0 if lengths is None else reach
        self.dropout, self.length = dropout, T
        self.block, self.left, self.right = max(reach, LEAST_BLOCK), reach, ahead
        if one_block or self.block + reach + ahead >= T:
            self.block, self.left, self.right = T, 0, 0
        self.count = -(-T // self.block)  # L
        self.lengths = lengths
        first = torch.arange(0, self.count * self.block, self.block, device=x.device)[:, None]
        query = (first + torch.arange(self.block, device=x.device))[:, :, None]  # (L, C, 1)
        key = (first + torch.arange(-self.left, self.block + self.right, device=x.device))[:, None]  # (L, 1, window)
        seen = (key >= 0) & (key >= query - reach) & (key <= query + ahead)
        if lengths is not None:
            seen = (seen & (key < lengths[:, None, None, None])) | (key == query)
        mask = additive_mask(seen, compute_dtype(x)).expand(B, *seen.shape[-3:])
        self.mask = mask.flatten(0, 1)[:, None]  # (B L, 1, C, window)
        self.query, self.key = query, key

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        B, L, C, T = q.size(0), self.count, self.block, self.length
        if L == 1:
            return self.attend(q, k, v, weigh)
        q = F.pad(q, (0, 0, 0, 0, 0, L * C - T)).view(B * L, C, *q.shape[2:])
        out = self.attend(q, self.windows(k), self.windows(v), weigh)
        return out.unflatten(0, (B, L)).flatten(1, 2)[:, :T]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None) -> Tensor:
        """The attention of all windows: q (B L, C, H, F), k and v (B L, window, H, F) -> (B L, C, H, F)"""
        if weigh is None:
            return attend(q, k, v, self.mask, probability=self.dropout)
        return mixed(weigh(q, k, self.places()), v, self.dropout)

    def places(self) -> Places:
        """Of the queries and keys of all windows."""
        B = self.mask.size(0) // self.count
        query, key = (x.expand(B, *x.shape).flatten(0, 1) for x in (self.query, self.key))
        lengths = None if self.lengths is None else self.lengths.repeat_interleave(self.count)
        return places(self.mask, query, key, lengths)

    def windows(self, x: Tensor) -> Tensor:
        """(B, T, H, F) -> (B L, window, H, F), zero outside the sequence."""
        L, C, left, right = self.count, self.block, self.left, self.right
        x = F.pad(x, (0, 0, 0, 0, left, L * C - self.length + right))

        def blocks(start: int) -> Tensor:
            return x[:, start : start + L * C].unflatten(1, (L, C))

        # Three cuts and not x.unfold, whose backward pass adds element by element.
        return torch.cat([blocks(0)[:, :, :left], blocks(left), blocks(left + right)[:, :, C - right :]], 2).flatten(
            0, 1
        )


def places(mask: Tensor, query: Tensor, key: Tensor, lengths: Tensor | None) -> Places:
    """Places from those of queries (B or 1, N, 1) and keys (B or 1, 1, S); lengths (B,) of an encoder, None: causal."""
    size = query + 1 if lengths is None else lengths[:, None, None]
    return Places(mask, key - query, query, size)


def recording(band: BandedAttention, record: list[Tensor]) -> Attend:
    """The same self-attention, which appends its weights (B, H, T, T) to ``record``; ``band`` has one block."""

    def recorded(q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        record.append(attention_weights(q, k, band.mask) if weigh is None else weigh(q, k, band.places()))
        return band(q, k, v, weigh)

    return recorded
