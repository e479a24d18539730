"""Batches that hold each pair of sentences in both directions, which trainer.agreement compares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from nmt.batch import Batch, collate
from nmt.data.pieces import Tokenizer
from nmt.errors import ConfigError


@dataclass(frozen=True)
class BothDirections:
    """Turns pairs round: source pieces for target pieces, and the tag of one direction for that of the other."""

    tags: tuple[list[int], list[int]]  # the ids that each of two tags is at the start of a source, equally many

    @classmethod
    def of(cls, tokenizer: Tokenizer, tags: Sequence[str]) -> Self:
        """``tags`` are the two of the text that ``tokenizer`` makes ids of.

        Raises ConfigError where one is not a piece of its own, so that no ids can be told to be it.
        """
        first, second = tokenizer.encode(tags)
        for tag, ids in zip(tags, (first, second), strict=True):
            if tokenizer.pieces(ids)[-1:] != [tag]:
                raise ConfigError(
                    f"trainer.agreement turns pairs round by their tags, and {tag} is no piece of this vocabulary: "
                    "data.tokenizer.kind=bpe, unigram or word learns it (data.tokenizer.vocab_size=MORE, if words are "
                    "too few), and init_from=DIR has to be a run that was trained with the same data.pairs"
                )
        return cls((first, second))

    def turned(self, source: list[int], target: list[int]) -> tuple[list[int], list[int]]:
        """The same pair in the other direction; ids without BOS and EOS."""
        length = len(self.tags[0])
        there = self.tags.index(source[:length])
        return self.tags[1 - there] + target, source[length:]

    def collate(
        self, sources: list[list[int]], targets: list[list[int]], ids: list[int], links: list[list[int]] | None = None
    ) -> Batch:
        """A Batch of 2B pairs: B as they are given, then the same pairs turned round, with the same ``ids``."""
        more = [self.turned(source, target) for source, target in zip(sources, targets, strict=True)]
        both = collate(sources + [s for s, _ in more], targets + [t for _, t in more], ids + ids, links)
        return replace(both, tags=torch.full_like(both.ids, len(self.tags[0])))

    def longest(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The longest source and target of batches in both directions, from those of the batches as they are given."""
        length = len(self.tags[0])
        return np.maximum(source, target + length), np.maximum(target, source - length)
