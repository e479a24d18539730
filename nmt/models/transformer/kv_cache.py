"""The decoder's cache in search: keys and values of all that the hypotheses of a batch have read, each token once.

Hypotheses of a sentence share their beginnings, so what they have read is a tree.  Its tokens take slots in the
order of reading, and a hypothesis is a path through the slots: to reorder hypotheses is to reorder paths, and no key or
value is copied.

    slots   0: <s>   1: a   2: the   3: dog   4: cat        paths of two hypotheses   [0, 1, 3]   <s> a dog
                                                                                      [0, 1, 4]   <s> a cat

Slot 2 is unused from here on: no path leads through it any more.

Shapes: B sentences, K hypotheses a sentence, t tokens of a path, n slots, H heads, F features a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.transformer.head_weights import Places
from nmt.models.transformer.multi_head import Attend, Weigh, attend, mixed

SPARE_STEPS = 32  # steps for which newly made slots have room, at least
# Slots for each token of a path, up to which a query is rather compared with all of them than has its own gathered.
MASKED_SLOTS_PER_TOKEN = 8


class Slots:
    """Keys and values (layers, 2, B, capacity, H, F), of which the first ``used`` slots are taken."""

    def __init__(self, rows: Tensor, used: int) -> None:
        self.rows, self.used = rows, used


@dataclass(frozen=True)
class KVCache:
    """Immutable to its users: appending to a cache that has been appended to before copies its slots first."""

    slots: Slots
    used: int
    paths: Tensor  # (B, K, t) int64, the slots that a hypothesis still sees, oldest first
    reaches: Sequence[int | None]  # of each layer's self-attention: no position sees more than reach + 1

    @classmethod
    def empty(cls, like: Tensor, heads: int, head_size: int, reaches: Sequence[int | None]) -> "KVCache":
        """Before the first token, with K = 1, for the B sentences of ``like`` (B, ...), in its dtype."""
        B = like.size(0)
        rows = like.new_zeros(len(reaches), 2, B, 0, heads, head_size)
        return cls(Slots(rows, 0), 0, torch.zeros(B, 1, 0, dtype=torch.int64, device=like.device), reaches)

    def reorder(self, parent: Tensor) -> "KVCache":
        """parent (B, K') in [0, K)"""
        return replace(self, paths=self.paths.gather(1, parent[..., None].expand(-1, -1, self.paths.size(2))))

    def keep(self, sentences: Tensor) -> "KVCache":
        """sentences (B',) int64"""
        with torch.inference_mode(False):  # see Transformer.step
            slots = Slots(self.slots.rows.index_select(2, sentences), self.used)
        return replace(self, slots=slots, paths=self.paths.index_select(0, sentences))

    def append(self) -> "KVCache":
        """One more slot for each hypothesis, still to be written, at the end of its path."""
        (B, K), slots = self.paths.shape[:2], self.slots
        if slots.used != self.used or self.used + K > slots.rows.size(3):
            return self.copied(SPARE_STEPS * K).append()
        slots.used += K
        new = torch.arange(self.used, slots.used, device=self.paths.device)[None, :, None].expand(B, K, 1)
        paths = torch.cat([self.paths, new], 2)
        if None not in self.reaches:
            paths = paths[:, :, -max(filter(None, self.reaches)) - 1 :]
        return replace(self, used=slots.used, paths=paths)

    def copied(self, spare: int) -> "KVCache":
        """The same in slots of its own, with room for as many again and ``spare`` more.

        On a CPU, slots that no path leads through are left out; on CUDA counting them would stop the queue of kernels.
        """
        rows, used, paths = self.slots.rows[:, :, :, : self.used], self.used, self.paths
        if used and rows.device.type == "cpu":
            alive = paths.new_zeros(len(paths), used).scatter_(1, paths.flatten(1), 1)
            used = int(alive.sum(1).max())
            paths = (alive.cumsum(1) - 1).gather(1, paths.flatten(1)).view_as(paths)
            # The slots in use in their order, then, in sentences that have fewer, some others.
            chosen = alive.sort(dim=1, descending=True, stable=True).indices[:, :used]
            chosen = chosen + torch.arange(0, alive.numel(), alive.size(1))[:, None]
            rows = rows.flatten(2, 3).index_select(2, chosen.flatten()).unflatten(2, chosen.shape)
        rows = F.pad(rows, (0, 0, 0, 0, 0, used + spare))
        return replace(self, slots=Slots(rows, used), used=used, paths=paths)

    def attention(self) -> list[Attend]:
        """The self-attention of each layer at the newest tokens: q, k, v (B, K, H, F) -> (B, K, H, F).

        k and v are written into the newest slots.
        """
        made = {reach: NewestAttention(self, reach) for reach in dict.fromkeys(self.reaches)}
        return [partial(made[reach], rows) for reach, rows in zip(self.reaches, self.slots.rows, strict=True)]


class NewestAttention:
    """Attention of the newest token of each path to the path, or to the ``reach`` tokens before it and itself.

    A query sees the slots of its path: all there are, if none is off it; or out of all slots of its sentence by a mask,
    so that nothing is copied; or, where they are many more than its own (independent samples have nothing in common), a
    copy of its own.
    """

    def __init__(self, cache: KVCache, reach: int | None) -> None:
        rows, paths, n = cache.slots.rows, cache.paths, cache.used
        if reach is not None:
            paths = paths[:, :, -reach - 1 :]
        (B, K, t), capacity = paths.shape, rows.size(3)
        self.paths, self.used, self.mask, self.index = paths, n, None, None
        if n > MASKED_SLOTS_PER_TOKEN * t:
            self.index = (paths + torch.arange(0, B * capacity, capacity, device=paths.device)[:, None, None]).flatten()
        elif n > t:
            self.mask = rows.new_full((B, K, n), float("-inf")).scatter_(2, paths, 0.0)[:, None]

    def __call__(self, rows: Tensor, q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
        """Of a layer whose slots are ``rows`` (2, B, capacity, H, F)."""
        (B, K, t), n = self.paths.shape, self.used
        rows[0, :, n - K : n], rows[1, :, n - K : n] = k, v
        if self.index is None:
            keys, values = rows[0, :, :n], rows[1, :, :n]
            if weigh is None:
                return attend(q, keys, values, self.mask)
            return mixed(weigh(q, keys, self.places()), values, 0.0)
        keys, values = rows.flatten(1, 2).index_select(1, self.index).unflatten(1, (B * K, t))
        q = q.flatten(0, 1)[:, None]
        out = attend(q, keys, values) if weigh is None else mixed(weigh(q, keys, self.places()), values, 0.0)
        return out.reshape(B, K, *q.shape[2:])

    def places(self) -> Places:
        """Of the newest tokens, and of the keys that are compared with them; the first of those seen has place 0.

        Only a distance counts where a layer does not see all, and there the true places are larger.
        """
        B, K, t = self.paths.shape
        places = torch.arange(t, device=self.paths.device)
        if self.mask is None:
            key = places.expand(1, 1, t)
        else:
            key = self.paths.new_zeros(B, K, self.used).scatter_(2, self.paths, places.expand(B, K, t))
        mask = torch.zeros(1, 1, 1, 1, device=self.paths.device) if self.mask is None else self.mask
        query = places[-1].expand(1, 1, 1)
        return Places(mask, key - query, query, query + 1)
