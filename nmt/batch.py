"""A batch of sentence pairs as padded tensors of ids, and the four ids that every vocabulary begins with."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

# Every tokenizer puts these first, in this order.
PAD, UNK, BOS, EOS = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """B sentence pairs, padded on the right with PAD.

    ``source`` has no end-of-sentence; a model that reads one adds it.
    ``target_in`` starts with BOS; ``target_out`` is the same shifted by one and ends with EOS.
    """

    source: Tensor  # (B, S) int64
    source_lengths: Tensor  # (B,) int64, at least 1
    target_in: Tensor  # (B, T) int64
    target_out: Tensor  # (B, T) int64
    ids: Tensor  # (B,) int64, the index of each pair in the corpus
    links: Tensor | None = None  # (L, 3) int64, word alignment: sentence, position in target_out, in source
    # (B,) int64, of batches whose second half is the first half turned round: how many ids the tag of each source has.
    tags: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; copies from pinned memory do not block."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to CUDA overlap with work."""
        return self._each(Tensor.pin_memory)

    def doubled(self) -> "Batch":
        """Each sentence twice, one after the other: 2B sentences."""
        twice = self._each(lambda x: x.repeat_interleave(2, 0))
        if twice.links is not None:  # sentence b is now sentences 2b and 2b + 1
            twice.links[:, 0] *= 2
            twice.links[1::2, 0] += 1
        return twice

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """A batch with ``change`` applied to every tensor."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: None if x is None else change(x) for name, x in given.items()}
        return Batch(**changed)


def pad(rows: list[list[int]]) -> Tensor:
    """Lists of ids as a tensor (rows, longest), filled up with PAD; it has at least one column."""
    longest = max((len(r) for r in rows), default=0)
    return torch.tensor([r + [PAD] * (max(longest, 1) - len(r)) for r in rows], dtype=torch.int64)


def collate(
    sources: list[list[int]], targets: list[list[int]], ids: list[int], links: list[list[int]] | None = None
) -> Batch:
    """A Batch of source and target ids, without BOS and EOS; ``links`` of a sentence are [t, s, t, s, ...].

    An empty source becomes the single id UNK, so that every model sees at least one position.
    """
    sources = [s or [UNK] for s in sources]
    return Batch(
        source=pad(sources),
        source_lengths=torch.tensor([len(s) for s in sources], dtype=torch.int64),
        target_in=pad([[BOS, *t] for t in targets]),
        target_out=pad([[*t, EOS] for t in targets]),
        ids=torch.tensor(ids, dtype=torch.int64),
        links=None if links is None else link_rows(links),
    )


def link_rows(links: list[list[int]]) -> Tensor:
    """The links [t, s, t, s, ...] of each sentence as a tensor (L, 3) of sentence, t, s."""
    rows = [(b, t, s) for b, flat in enumerate(links) for t, s in zip(flat[::2], flat[1::2], strict=True)]
    return torch.tensor(rows, dtype=torch.int64).view(-1, 3)
