"""Force decoding, what a model makes of given translations: loss, attention maps and word alignments."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nmt.batch import Batch, collate
from nmt.data.tokenizer import Tokenizers
from nmt.device import Precision, autocast, memory_explained, resolve_precision
from nmt.errors import UserError
from nmt.eval.alignment import AlignConfig, Pool, one_map, word_weights
from nmt.models.seq2seq import AttentionMaps, Seq2Seq

# Padded tokens of a batch, as data.batching.tokens counts them.  No result depends on it but through rounding.
BATCH_TOKENS = 4096
# Sentence pairs whose maps are held while they are put back in order.
ALIGNED_AT_ONCE = 4096


class NoAttentionError(UserError):
    """Attention was asked of a model that has none."""


class SentenceMaps(NamedTuple):
    """Attention of one sentence pair, on the CPU.

    T counts the target's pieces and end-of-sentence, S the model's source positions.
    """

    weights: Tensor  # (layers, heads, T, S) float32
    centre: Tensor | None = None  # (layers, heads, T)
    half_width: int | None = None


class Forced(NamedTuple):
    """One sentence pair under the model."""

    nll: float  # -log p(target, EOS | source) in nats
    tokens: int  # the target's pieces and EOS
    maps: SentenceMaps | None


@torch.no_grad()
def force_decode(
    model: Seq2Seq,
    sources: Sequence[list[int]],
    targets: Sequence[list[int]],
    *,
    device: torch.device,
    precision: Precision = Precision.auto,
    batch_tokens: int = BATCH_TOKENS,
    want_maps: bool = False,
) -> Iterator[tuple[int, Forced]]:
    """Each pair of ids (without BOS and EOS) under the model: yields its index and result, long pairs first.

    The model must be in eval mode.  A pair longer than ``batch_tokens`` makes a batch of its own.
    """
    precision = resolve_precision(precision, device)
    for ids in batches(sources, targets, batch_tokens):
        batch = collate([sources[i] for i in ids], [targets[i] for i in ids], ids)
        with memory_explained(device, partial(explain, batch)), autocast(precision, device):
            output = model(batch.to(device), want_maps=want_maps)
        nll = output.nll.double().sum(1).tolist()
        maps = None if output.maps is None else to_cpu(output.maps)
        for row, i in enumerate(ids):
            size = len(targets[i]) + 1, max(len(sources[i]), 1) + model.source_eos
            yield i, Forced(nll[row], size[0], None if maps is None else sentence_maps(maps, row, size))


def explain(batch: Batch) -> str:
    """What it is that does not fit in memory, and what to do."""
    (B, S), T = batch.source.shape, batch.target_out.size(1)
    return (
        f"{B} x ({S} + {T}) given sentences x (source + target positions); free memory there or leave out the longest"
    )


def batches(sources: Sequence[list[int]], targets: Sequence[list[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of the pairs in batches of like length, the longest first.

    sentences * max(longest source, longest target + 1) is at most ``batch_tokens``, unless the batch is a single pair.
    """
    sizes = [max(len(s), len(t) + 1) for s, t in zip(sources, targets, strict=True)]
    batch: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -len(targets[i]), i)):
        if batch and (len(batch) + 1) * sizes[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def to_cpu(maps: AttentionMaps) -> AttentionMaps:
    """The same maps in main memory, in float32."""
    centre = None if maps.centre is None else maps.centre.float().cpu()
    return AttentionMaps(maps.weights.float().cpu(), centre, maps.half_width)


def sentence_maps(maps: AttentionMaps, row: int, size: tuple[int, int]) -> SentenceMaps:
    """One sentence of a batch's maps, without its padding: ``size`` is (T, S)."""
    centre = None if maps.centre is None else maps.centre[row, :, :, : size[0]]
    return SentenceMaps(maps.weights[row, :, :, : size[0], : size[1]], centre, maps.half_width)


@contextmanager
def evaluating(model: Seq2Seq) -> Iterator[None]:
    """The model in eval mode (no dropout), and afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def align(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    device: torch.device,
    precision: Precision = Precision.auto,
    config: AlignConfig | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[np.ndarray]:
    """Attention between the words of given translations: for each pair, in order, (target words, source words) float64.

    ``config`` chooses the map (its default: the mean over layers and heads); ``alignment.word_weights`` has the formula
    from pieces to words.  Feed the matrices to ``hard_alignment`` or ``soft_line``.  Memory does not grow with the
    number of pairs.  Raises NoAttentionError where there is none.
    """
    config = config or AlignConfig()
    how: Any = {"device": device, "precision": precision, "batch_tokens": batch_tokens}
    for found in pair_maps(model, tokenizers, sources, targets, **how, layer=config.layer, head=config.head):
        yield found.between_words(config.shift, config.pool)


class PairMap(NamedTuple):
    """One map of attention between the pieces of a sentence pair, and the words that the pieces belong to."""

    weights: np.ndarray  # (T + 1, S) float32, the last row end-of-sentence's
    source_words: list[int]  # S
    target_words: list[int]  # T
    size: tuple[int, int]  # words of the target and of the source

    def between_words(self, shift: int, pool: Pool) -> np.ndarray:
        """(target words, source words) float64, by the formula of ``alignment.word_weights``."""
        return word_weights(self.weights, self.source_words, self.target_words, shift, pool, self.size)


def pair_maps(
    model: Seq2Seq,
    tokenizers: Tokenizers,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    device: torch.device,
    precision: Precision = Precision.auto,
    layer: int | None = None,
    head: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[PairMap]:
    """What ``align`` takes from pieces to words, for each pair, in order."""
    for start in range(0, len(sources), ALIGNED_AT_ONCE):
        texts = sources[start : start + ALIGNED_AT_ONCE], targets[start : start + ALIGNED_AT_ONCE]
        ids = tokenizers.source.encode(texts[0]), tokenizers.target.encode(texts[1])
        found: dict[int, PairMap] = {}
        with evaluating(model):
            for i, forced in force_decode(
                model, *ids, device=device, precision=precision, batch_tokens=batch_tokens, want_maps=True
            ):
                if forced.maps is None:
                    raise NoAttentionError("this model has no attention to read alignments from")
                words = tokenizers.source.words(ids[0][i]), tokenizers.target.words(ids[1][i])
                size = word_count(texts[1][i], words[1]), word_count(texts[0][i], words[0])
                # Without end-of-sentence, and without the lone UNK that is read for an empty source.
                weights = one_map(forced.maps.weights.numpy(), layer, head)[:, : len(words[0])]
                found[i] = PairMap(weights, *words, size)
        yield from (found[i] for i in range(len(found)))


def word_count(text: str, words: Sequence[int]) -> int:
    """Words of a text, whose pieces belong to ``words``: a word may have no piece."""
    return max(len(text.split()), max(words, default=-1) + 1)
