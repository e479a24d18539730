"""What data hands to models: padded id tensors, and the four ids every vocabulary begins with."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# Every tokenizer puts these first, in this order.
PAD, UNK, BOS, EOS = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """B sentence pairs, padded on the right with PAD.

    ``source`` holds the words alone: a model that wants an end-of-sentence in its source adds it.
    ``target_in`` starts with BOS; ``target_out`` is the same shifted by one and ends with EOS.
    """

    source: Tensor  # (B, S) int64
    source_lengths: Tensor  # (B,) int64, at least 1
    target_in: Tensor  # (B, T) int64
    target_out: Tensor  # (B, T) int64
    ids: Tensor  # (B,) int64, the sentences' places in the corpus

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; copies from pinned memory do not block."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to CUDA overlap with work."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


def pad(rows: list[list[int]]) -> Tensor:
    """Ragged ids to a PAD-filled (rows, longest) tensor; at least one column."""
    longest = max((len(r) for r in rows), default=0)
    return torch.tensor([r + [PAD] * (max(longest, 1) - len(r)) for r in rows], dtype=torch.int64)


def collate(sources: list[list[int]], targets: list[list[int]], ids: list[int]) -> Batch:
    """Ragged source and target ids (no BOS, no EOS) to a Batch.

    An empty source becomes the single id UNK, so that every model sees at least one position.
    """
    sources = [s or [UNK] for s in sources]
    return Batch(
        source=pad(sources),
        source_lengths=torch.tensor([len(s) for s in sources], dtype=torch.int64),
        target_in=pad([[BOS, *t] for t in targets]),
        target_out=pad([[*t, EOS] for t in targets]),
        ids=torch.tensor(ids, dtype=torch.int64),
    )
