"""Attention between the words of given translations, which the model reads by forced decoding (nmt.search)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nmt.data.pharaoh import split_words
from nmt.data.tokenizer import Tokenizers
from nmt.errors import UserError
from nmt.eval.alignment import AlignConfig, Pool, one_map, word_weights
from nmt.models.seq2seq import AttentionMaps, Seq2Seq
from nmt.search import ForcedOptions, evaluating, force_decode

# Sentence pairs that are read before the first of them is returned: batches need pairs of like length to choose from.
ALIGNED_AT_ONCE = 4096


class NoAttentionError(UserError):
    """Attention was asked of a model that has none."""


class PairMap(NamedTuple):
    """One map of attention between the pieces of a sentence pair, and the words that the pieces belong to."""

    weights: np.ndarray  # (T + 1, S) float32, the last row end-of-sentence's
    source_words: list[int]  # S
    target_words: list[int]  # T
    size: tuple[int, int]  # words of the target and of the source

    @classmethod
    def of(
        cls,
        maps: AttentionMaps,
        tokenizers: Tokenizers,
        texts: tuple[str, str | None],
        ids: tuple[Sequence[int], Sequence[int]],
        config: AlignConfig,
    ) -> "PairMap":
        """The map that ``config`` chooses of a pair's ``maps``; texts and ids (no BOS, no EOS) of source and target.

        The target's text is None where its ids are a translation that the model has found.
        """
        sides = tokenizers.source, tokenizers.target
        source, target = (side.words(list(i), text) for side, i, text in zip(sides, ids, texts, strict=True))
        size = word_count(texts[1] or "", target), word_count(texts[0], source)
        # Without end-of-sentence, and without the lone UNK that is read for an empty source.
        weights = one_map(maps.weights.numpy(), config.layer, config.head)[:, : len(source)]
        return cls(weights, source, target, size)

    def between_words(self, shift: int, pool: Pool) -> np.ndarray:
        """(target words, source words) float64, by the formula of ``alignment.word_weights``."""
        return word_weights(self.weights, self.source_words, self.target_words, shift, pool, self.size)


def align(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    sources: Sequence[str],
    targets: Sequence[str],
    options: ForcedOptions,
    config: AlignConfig | None = None,
) -> Iterator[np.ndarray]:
    """Attention between the words of given translations: for each pair, in order, (target words, source words) float64.

    ``config`` chooses the map (its default: the mean over layers and heads); ``alignment.word_weights`` has the formula
    from pieces to words.  Of a latent alignment it is the posterior, p(s | x, y_t).  Feed the matrices to
    ``hard_alignment`` or ``soft_line``.  Memory does not grow with the number of pairs.  Raises NoAttentionError where
    there is none.
    """
    config = config or AlignConfig()
    for found in pair_maps(model, tokenizers, sources, targets, options, config):
        yield found.between_words(config.steps_later, config.pool)


def pair_maps(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    sources: Sequence[str],
    targets: Sequence[str],
    options: ForcedOptions,
    config: AlignConfig,
) -> Iterator[PairMap]:
    """What ``align`` takes from pieces to words, for each pair, in order."""
    for start in range(0, len(sources), ALIGNED_AT_ONCE):
        texts = sources[start : start + ALIGNED_AT_ONCE], targets[start : start + ALIGNED_AT_ONCE]
        ids = tokenizers.source.encode(texts[0]), tokenizers.target.encode(texts[1])
        found: dict[int, PairMap] = {}
        with evaluating(model):
            for i, forced in force_decode(model, *ids, options, want_maps=True):
                if forced.alignment is None:
                    raise NoAttentionError("this model has no attention to read alignments from")
                pair = (texts[0][i], texts[1][i]), (ids[0][i], ids[1][i])
                found[i] = PairMap.of(forced.alignment, tokenizers, *pair, config)
        yield from (found[i] for i in range(len(found)))


def word_count(text: str, words: Sequence[int]) -> int:
    """Words of a text, whose pieces belong to ``words``: a word may have no piece."""
    return max(len(split_words(text)), max(words, default=-1) + 1)
